"""What else than the look of the cells could explain a result: baselines, groups, twins, and the checks made of them.

May import `common`, `folds` and `evaluation`.
"""
