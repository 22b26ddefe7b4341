"""The search for a better network: its space, Optuna, trials, the comparison of the finalists, its report.

May import `common`, `folds`, `networks`, `evaluation` and `registry`.
"""
