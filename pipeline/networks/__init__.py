"""A learner that looks at cells: its recipe, the network, augmentation and the training loop.

A change here trains networks again. `model` travels with registered models. May import `common`, `folds` and `machine`.
"""
