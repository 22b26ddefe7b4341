"""A learner that looks at cells: its recipe, the network, augmentation, the training loop and the device it runs on.

A change here trains networks again. `model` travels with registered models. May import `common` and `folds`.
"""
