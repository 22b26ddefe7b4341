"""Pages that stand alone: templates, contact sheets, the steps from delivered files to tested patients.

May import `common`, `images`, `names`, `folds`, `evaluation` and `registry`.
"""
