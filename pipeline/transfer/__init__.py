"""A leukaemia of few patients, learned on what was learned from others.

May import `networks`, `bags`, `encoders`, `evaluation`, `folds`, `machine`, `names` and `common`.
"""
