"""What a training is judged by while it runs; all other figures of merit are in `evaluation`, on which no network depends.

`labels` are 0 (control) or 1 (subtype) `(n,)`, `logits` float `(n,)`, `called` bool `(n,)`: whether the subtype was called.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import balanced_accuracy_score


def balanced_log_loss(labels: ArrayLike, logits: ArrayLike) -> float:
    """Mean of the two classes' mean cross-entropy, from logits, so that a large class does not drown the other."""
    y, x = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    losses = np.logaddexp(0, np.where(y == 1, -x, x))
    return float((losses[y == 0].mean() + losses[y == 1].mean()) / 2)


def balanced_accuracy(labels: ArrayLike, called: ArrayLike) -> float:
    """Mean of sensitivity and specificity."""
    return float(balanced_accuracy_score(labels, np.asarray(called).astype(int)))
