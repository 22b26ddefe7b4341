"""MLflow: the server, runs, versions of models and who is champion; the gate, model cards, the served model's code.

May import `common`, `images`, `evaluation`, `drift` (what is known of patients) and `encoders` (names of their files). What
travels with a model of `networks`, `bags`, `encoders`, `calling` and `images` is copied as files, and not imported here.
"""
