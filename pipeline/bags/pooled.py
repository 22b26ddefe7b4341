"""Learner `pooled`: a penalised logistic regression on statistics over a patient's vectors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pipeline.bags import inner_folds, scoring
from pipeline.bags.inner_folds import Ints
from pipeline.bags.scoring import Bag, Floats
from pipeline.common.params_learning import PooledLearner

_SCALINGS = ("each", "common")  # of a statistic by its own spread over patients, or by that of all of its kind


def fit(bags: Sequence[Bag], labels: Ints, settings: PooledLearner, seed: int) -> dict[str, Floats]:
    """Coefficients for `scoring.pooled`; scaling and penalty have the lowest log loss on patients held out in turn."""
    quantiles = np.array(settings.quantiles)
    table = np.stack([scoring.statistics(bag, quantiles) for bag in bags])
    kinds = 2 + len(quantiles)
    loss = {
        (scaling, penalty): _held_out_loss(table, labels, kinds, scaling, penalty, settings.inner_folds, seed)
        for scaling, penalty in itertools.product(_SCALINGS, sorted(settings.penalties, reverse=True))
    }
    best = min(loss, key=loss.__getitem__)  # of equals the strongest penalty
    mean, weights, intercept = _fit(table, labels, kinds, *best)
    return {"quantiles": quantiles, "mean": mean, "weights": weights, "intercept": np.array(intercept)}


def _held_out_loss(table: Floats, labels: Ints, kinds: int, scaling: str, penalty: float, folds: int, seed: int) -> float:
    logits = np.empty(len(labels))
    for rows, held_out in inner_folds.deal(labels, folds, seed):
        mean, weights, intercept = _fit(table[rows], labels[rows], kinds, scaling, penalty)
        logits[held_out] = (table[held_out] - mean) @ weights + intercept
    return inner_folds.log_loss(labels, logits)


def _fit(table: Floats, labels: Ints, kinds: int, scaling: str, penalty: float) -> tuple[Floats, Floats, float]:
    """Mean of the statistics, weights in their own units, intercept."""
    mean, spread = table.mean(axis=0), table.std(axis=0)
    if scaling == "common":
        of_kind = np.sqrt((spread.reshape(kinds, -1) ** 2).mean(axis=1))
        spread = np.repeat(of_kind, table.shape[1] // kinds)
    scale = np.where(spread > 0, spread, 1.0) * np.sqrt(table.shape[1])  # a patient's squared length is about 1
    weights, intercept = inner_folds.logistic((table - mean) / scale, labels, inner_folds.class_weights(labels), penalty)
    return mean, weights / scale, intercept
