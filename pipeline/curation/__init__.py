"""What persons decided about images, and which images they had best look at.

May import `bags`, `evaluation`, `folds`, `names` and `common`.
"""
