"""Learner `instances`: a logistic regression on single images, and one on mean and spread of a patient's image logits.

The second is learned from patients whom the first had not seen, held out in turn: so it is a calibrator too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.bags import inner_folds, scoring
from pipeline.bags.inner_folds import Ints
from pipeline.bags.scoring import Bag, Floats
from pipeline.common.params_learning import InstancesLearner

_POOLING_PENALTY = 0.01  # keeps it finite where patients are apart; of mean and spread in units of their own spread


def fit(bags: Sequence[Bag], labels: Ints, settings: InstancesLearner, seed: int) -> dict[str, Floats]:
    """Coefficients for `scoring.instances`; the penalty has the lowest log loss on patients held out in turn."""
    shown = [evenly(bag, settings.images_per_patient) for bag in bags]
    found = {}
    for penalty in sorted(settings.penalties, reverse=True):
        pairs = held_out(bags, shown, labels, penalty, settings.inner_folds, seed)
        pooling, intercept = learn_pooling(pairs, labels)
        found[penalty] = inner_folds.log_loss(labels, pairs @ pooling + intercept), pooling, intercept
    best = min(found, key=lambda penalty: found[penalty][0])  # of equals the strongest
    _, pooling, intercept = found[best]
    return {**of_images(shown, labels, best), "pooling": pooling, "pooling_intercept": np.array(intercept)}


def held_out(bags: Sequence[Bag], shown: Sequence[Bag], labels: Ints, penalty: float, folds: int, seed: int) -> Floats:
    """Mean and spread of each patient's image logits `(patients, 2)`, by a regression that had not seen the patient."""
    pairs = np.empty((len(labels), 2))
    for rows, others in inner_folds.deal(labels, folds, seed):
        learned = of_images([shown[row] for row in rows], labels[rows], penalty)
        for row in others:
            pairs[row] = scoring.mean_and_spread(scoring.image_logits(learned, bags[row]))
    return pairs


def of_images(bags: Sequence[Bag], labels: Ints, penalty: float, weights: Sequence[Floats] | None = None) -> dict[str, Floats]:
    """The logistic regression on images; patients of a class weigh the same, and so do the classes.

    `weights`, a bag each, say how much an image counts among its patient's; None: all the same.
    """
    counts = np.array([len(bag) for bag in bags])
    x = np.concatenate([np.asarray(bag, dtype=np.float64) for bag in bags])
    row_weights = np.repeat(inner_folds.class_weights(labels) / counts, counts)
    if weights is not None:
        row_weights *= np.concatenate([own / own.mean() for own in weights])
    mean = row_weights @ x
    spread = np.sqrt(row_weights @ (x - mean) ** 2)
    scale = np.where(spread > 0, spread, 1.0) * np.sqrt(x.shape[1])
    slopes, intercept = inner_folds.logistic((x - mean) / scale, np.repeat(labels, counts), row_weights, penalty)
    return {"mean": mean, "weights": slopes / scale, "intercept": np.array(intercept)}


def learn_pooling(pairs: Floats, labels: Ints) -> tuple[Floats, float]:
    """Weights of mean and spread, and an intercept."""
    mean, spread = pairs.mean(axis=0), pairs.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    weights, intercept = inner_folds.logistic(
        (pairs - mean) / scale, labels, inner_folds.class_weights(labels), _POOLING_PENALTY
    )
    weights = weights / scale
    return weights, intercept - float(mean @ weights)


def evenly(bag: Bag, most: int) -> Bag:
    """At most so many of a bag's vectors, evenly over their order."""
    return bag if len(bag) <= most else bag[np.linspace(0, len(bag) - 1, most).round().astype(int)]
