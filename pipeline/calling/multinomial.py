"""A multinomial logistic regression with an L2 penalty, in which every class weighs the same."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from pipeline.bags import inner_folds
from pipeline.calling import answer
from pipeline.calling.answer import Floats, Ints
from pipeline.common.params_judging import Call


def fit(table: Floats, labels: Ints, classes: int, settings: Call, seed: int) -> dict[str, Floats]:
    """Weights `(features, classes)` and intercept `(classes,)` for `answer.logits`, from features `(patients, features)`.

    The penalty has the lowest log loss on patients held out in turn.
    """
    loss = dict.fromkeys(sorted(settings.penalties, reverse=True), 0.0)
    if len(loss) > 1:
        for rows, held_out in inner_folds.deal(labels, settings.inner_folds, seed):
            for penalty, found in _path(table[rows], labels[rows], classes, list(loss)):
                loss[penalty] += log_loss(labels[held_out], answer.logits(found, table[held_out]))
    best = min(loss, key=loss.__getitem__)  # of equals the strongest
    return _path(table, labels, classes, [best])[0][1]


def weights(labels: Ints) -> Floats:
    """A weight for each patient, such that all classes that are there weigh the same, and all patients together 1."""
    counts = np.bincount(labels)
    return np.asarray(1 / counts[labels] / np.count_nonzero(counts))


def log_loss(labels: Ints, logits: Floats, temperature: float = 1.0) -> float:
    """Mean over the classes of their mean log losses."""
    p = answer.probabilities(logits, temperature)[np.arange(len(labels)), labels]
    return float(-(weights(labels) * np.log(np.maximum(p, 1e-300))).sum())


def _path(table: Floats, labels: Ints, classes: int, penalties: list[float]) -> list[tuple[float, dict[str, Floats]]]:
    """The regression for each penalty.

    Weights lie among the patients' own directions, so it is fitted in as many dimensions as there are patients, which is the
    same and takes a fraction of the time where features are many.
    """
    mean = table.mean(axis=0)
    # One scale for all: by its own, a feature that hardly varies among those learned from could outweigh all in a new patient.
    scale = float(np.sqrt(((table - mean) ** 2).sum(axis=1).mean())) or 1.0  # a patient's squared length is about 1
    u, s, directions = np.linalg.svd((table - mean) / scale, full_matrices=False)
    found = []
    for penalty in penalties:
        model = LogisticRegression(C=1 / penalty, max_iter=1000, tol=1e-6).fit(u * s, labels, sample_weight=weights(labels))
        coefficients, intercept = np.zeros((classes, len(s))), np.full(classes, -np.inf)
        if len(model.classes_) == 2:  # of two classes it has one row, for the second
            coefficients[model.classes_] = np.outer([-0.5, 0.5], model.coef_[0])
            intercept[model.classes_] = np.array([-0.5, 0.5]) * model.intercept_[0]
        else:
            coefficients[model.classes_], intercept[model.classes_] = model.coef_, model.intercept_
        w = (coefficients @ directions / scale).T
        found.append((penalty, {"weights": w, "intercept": intercept - mean @ w}))
    return found
