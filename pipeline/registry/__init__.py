"""MLflow: the server, runs, versions of models and who is champion; the gate, model cards, the served model's code.

May import `common`, `images`, `networks` (code that travels) and `evaluation`.
"""
