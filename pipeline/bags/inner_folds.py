"""What the learners share: patients dealt to inner folds, and how good logits of patients are.

Either class weighs the same in everything here, whatever their numbers: a logit is that of a score made for as many of either.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from pipeline.bags.scoring import Floats

Ints = NDArray[np.int64]


def deal(labels: Ints, folds: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Rows of patients to learn from and rows held out, fold by fold; fewer folds where a class has fewer patients."""
    most = min(folds, int(np.bincount(labels, minlength=2).min()))
    yield from StratifiedKFold(max(most, 2), shuffle=True, random_state=seed).split(labels, labels)


def class_weights(labels: Ints) -> Floats:
    """A weight for each patient, such that either class weighs half and all together 1."""
    return 0.5 / np.bincount(labels, minlength=2)[labels]


def log_loss(labels: Ints, logits: Floats) -> float:
    """Mean of the two classes' mean log losses."""
    return float((class_weights(labels) * np.logaddexp(0, np.where(labels == 1, -logits, logits))).sum())


def logistic(features: Floats, labels: Ints, weights: Floats, penalty: float) -> tuple[Floats, float]:
    """Weights and intercept of a logistic regression with an L2 penalty of `penalty` / 2 times the squared length.

    `weights` of the rows sum to 1: the same penalty means the same, whatever the number of rows.
    """
    fit = LogisticRegression(C=1 / penalty, max_iter=500, tol=1e-5).fit(features, labels, sample_weight=weights)
    return fit.coef_[0].astype(np.float64), float(fit.intercept_[0])
