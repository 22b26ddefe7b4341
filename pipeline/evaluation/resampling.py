"""Patients resampled: figures of merit under any weights of the patients, thousands of draws at a time.

A draw is a weight for every patient, who keeps all images. Rows are images or patients: columns fold, patient, label, logit
(of which the sign calls the subtype where the threshold is .5). What depends on pairs needs only how many pairs of every two
patients are in order, so that a draw costs two matrix products and no sorting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.pooling import probabilities

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROWS_AT_A_TIME = 2_000_000  # weights of rows held at once: 16 MB


@dataclass(frozen=True)
class Sample:
    """What of the rows the figures need; P patients, of whom P0 are controls and P1 are not."""

    labels: Ints  # (P,)
    folds: Ints  # (P,)
    sums: dict[str, Floats]  # (P,) each: rows, called, brier, log_loss, summed over a patient's rows
    if_wrong: dict[str, float]  # of each loss: the mean of the surest patient's rows, were they as sure of the other class
    in_order: Floats  # (P0, P1): pairs of rows in which the control's logit is the lower one; ties count half
    same_fold: NDArray[np.bool_]  # (P0, P1)
    ranked: Ints  # (rows,) patient of each row, highest logit first
    ends: Ints  # last row in `ranked` of each distinct logit


def summarise(rows: pd.DataFrame, threshold: float) -> Sample:
    """`rows` as a `Sample`; a probability above `threshold` is called the subtype."""
    groups = rows.groupby(["fold", "patient", "label"], sort=True)
    keys = groups.ngroups
    patient = np.asarray(groups.ngroup(), dtype=np.int64)
    table = groups.size().index.to_frame(index=False)
    logits, labels = rows["logit"].to_numpy(np.float64), rows["label"].to_numpy()
    scores = probabilities(logits)
    per_row = {"rows": np.ones(len(rows)), "called": scores > threshold, **_losses(logits, labels)}
    order = np.argsort(-logits, kind="stable")
    last = np.append(np.diff(logits[order]) != 0, True)
    own, folds = table["label"].to_numpy(np.int64), table["fold"].to_numpy(np.int64)
    sums = {name: np.bincount(patient, values, keys).astype(np.float64) for name, values in per_row.items()}
    wrong = {name: np.bincount(patient, values, keys) for name, values in _losses(logits, 1 - labels).items()}
    return Sample(
        labels=own,
        folds=folds,
        sums=sums,
        if_wrong={name: float((values / sums["rows"]).max()) for name, values in wrong.items()},
        in_order=_in_order(logits, patient, own),
        same_fold=folds[own == 0][:, None] == folds[own == 1][None, :],
        ranked=patient[order],
        ends=np.flatnonzero(last),
    )


def _losses(logits: Floats, labels: NDArray[Any]) -> dict[str, Floats]:
    return {
        "brier": (probabilities(logits) - labels) ** 2,
        "log_loss": np.logaddexp(0, np.where(labels == 1, -logits, logits)),
    }


def _in_order(logits: Floats, patient: Ints, labels: Ints) -> Floats:
    controls, others = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    own = labels[patient] == 1
    queries = np.sort(logits[own])  # in order, which is several times faster to look up
    column = np.searchsorted(others, patient[own])[np.argsort(logits[own])]
    counts = np.zeros((len(controls), len(others)))
    for row, control in enumerate(controls):
        theirs = np.sort(logits[patient == control])
        below = np.searchsorted(theirs, queries, "left") + np.searchsorted(theirs, queries, "right")
        counts[row] = np.bincount(column, below / 2, len(others))
    return counts


def unweighted(sample: Sample) -> Floats:
    """The weights `(1, P)` that give the figures themselves."""
    return np.ones((1, len(sample.labels)))


def draw(sample: Sample, draws: int, seed: int) -> Floats:
    """Weights `(draws, P)` of a bootstrap over patients, stratified by label and fold.

    Of m patients m - 1 are drawn with replacement and weighted by m / (m - 1), which makes the spread of a mean right in small
    strata too (Rao, Wu & Yue 1992, Survey Methodology 18:209); fewer where some have many more rows (`_drawn_of`). Where a
    label has but one patient in a fold, there is nothing to draw from, and all folds of that label are one stratum.
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((draws, len(sample.labels)))
    for stratum in _strata(sample):
        m = len(stratum)
        if m > 1:
            drawn = _drawn_of(sample.sums["rows"][stratum])
            weights[:, stratum] = rng.multinomial(drawn, np.full(m, 1 / m), size=draws) * (m / drawn)
    return weights


def _drawn_of(rows: Floats) -> int:
    """How many of the patients who have so many `rows` to draw, so that the spread of a share of rows is right on average.

    Who weighs much pulls the share along and lies too near to it: with weights w that add up to 1, and patients who differ
    alike, the squares w^2 (x - mean)^2 add up to sum w^2 - 2 sum w^3 + (sum w^2)^2 of a patient's variance instead of sum w^2.
    """
    w = rows / rows.sum()
    squares = float((w**2).sum())
    found = 1 - 2 * float((w**3).sum()) / squares + squares  # 1 - 1 / m where all weigh the same
    return max(round(len(rows) * found), 1)


def _strata(sample: Sample) -> Iterator[Ints]:
    for label in (0, 1):
        own = np.flatnonzero(sample.labels == label)
        by_fold = [own[sample.folds[own] == fold] for fold in np.unique(sample.folds[own])]
        yield from by_fold if min(map(len, by_fold), default=0) > 1 else [own]


def figures(sample: Sample, weights: Floats, *, auprc: bool = True) -> dict[str, Floats]:
    """Every figure under every draw, `(draws,)` each; NaN where a draw leaves none of a class.

    Without `auprc`, which takes most of the time, all but that.

    auroc compares rows of the same fold only, auroc_pooled all rows; auprc, the average precision, is over all rows. brier and
    log_loss are the mean of the two classes' means, since scores are made for as many of either.
    """
    positive = sample.labels == 1
    total = {name: weights @ (values * positive) for name, values in sample.sums.items()}
    rest = {name: weights @ (values * ~positive) for name, values in sample.sums.items()}
    tp, fp = total["called"], rest["called"]
    fn, tn = total["rows"] - tp, rest["rows"] - fp
    n = total["rows"] + rest["rows"]
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        return {
            "auroc": _concordance(sample, weights, sample.same_fold),
            "auroc_pooled": _concordance(sample, weights, np.ones_like(sample.same_fold)),
            **({"auprc": _average_precision(sample, weights)} if auprc else {}),
            "accuracy": (tp + tn) / n,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "f1": f1(tp, fp, fn),
            "mcc": mcc(tp, fp, fn, tn),
            "brier": (total["brier"] / total["rows"] + rest["brier"] / rest["rows"]) / 2,
            "log_loss": (total["log_loss"] / total["rows"] + rest["log_loss"] / rest["rows"]) / 2,
        }


def f1(tp: Floats, fp: Floats, fn: Floats) -> Floats:
    """The F1 of the subtype, `(draws,)`, from counts; 0 when nothing is called and nothing was to be called right."""
    return np.asarray(np.divide(2 * tp, 2 * tp + fp + fn, out=np.zeros_like(tp), where=2 * tp + fp + fn > 0))


def mcc(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """Matthews' correlation coefficient, 0 where a row or column of the table is empty."""
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.asarray(np.divide(tp * tn - fp * fn, below, out=np.zeros_like(below), where=below > 0))


def _concordance(sample: Sample, weights: Floats, wanted: NDArray[np.bool_]) -> Floats:
    """The weighted share that is in order, `(draws,)`, of the pairs `wanted` `(P0, P1)`."""
    controls, others = weights[:, sample.labels == 0], weights[:, sample.labels == 1]
    rows = sample.sums["rows"]
    possible = np.outer(rows[sample.labels == 0], rows[sample.labels == 1])
    in_order, all_ = ((controls @ (pairs * wanted) * others).sum(axis=1) for pairs in (sample.in_order, possible))
    return np.asarray(in_order / all_)


def _average_precision(sample: Sample, weights: Floats) -> Floats:
    positive = sample.labels[sample.ranked] == 1
    step = max(1, _ROWS_AT_A_TIME // len(sample.ranked))
    parts = []
    for start in range(0, len(weights), step):
        by_row = weights[start : start + step][:, sample.ranked]
        called = np.cumsum(by_row, axis=1)[:, sample.ends]
        tp = np.cumsum(by_row * positive, axis=1)[:, sample.ends]
        precision = np.divide(tp, called, out=np.zeros_like(tp), where=called > 0)
        parts.append((np.diff(tp, prepend=0.0) * precision).sum(axis=1) / tp[:, -1])
    return np.concatenate(parts)


def curves(sample: Sample, weights: Floats) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield false positive rate, sensitivity and precision of each draw, from the strictest threshold to the laxest."""
    positive = sample.labels[sample.ranked] == 1
    for draw_ in weights:
        by_row = draw_[sample.ranked]
        tp, fp = (np.append(0.0, np.cumsum(by_row * chosen)[sample.ends]) for chosen in (positive, ~positive))
        precision = np.divide(tp, tp + fp, out=np.ones_like(tp), where=tp + fp > 0)
        yield fp / fp[-1], tp / tp[-1], precision
