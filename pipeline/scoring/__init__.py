"""New patients' images, looked at and scored by frozen models: what `predict` and whatever else meets strangers share.

Nothing here trains. May import `common`, `names`, `images`, `evaluation` and `registry`.
"""
