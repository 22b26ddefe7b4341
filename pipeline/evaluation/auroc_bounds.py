"""How sure the AUROC of patients is, over any pairs of them, and by how much one score is better than another.

`in_order` `(P0, P1)` says of every pair of a control and a subtype's patient whether the control's score is the lower (1; of a
tie a half); `weights` `(P0, P1)` how much the pair counts, 0 for one that doesn't (of two folds, of two sexes). Patients who
stand in no pair don't count. No image is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, t

from pipeline.evaluation.figures import Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Components:
    """What every patient adds to the distance of an AUROC from its value: controls `(P0,)`, the subtype's `(P1,)`."""

    controls: Floats
    others: Floats

    def covariances(self, other: _Components) -> Floats:
        """The covariance of two AUROCs, by class `(2,)` (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837)."""
        both = ((self.controls, other.controls), (self.others, other.others))
        return np.array([len(ours) / (len(ours) - 1) * float(ours @ theirs) for ours, theirs in both])


def value(in_order: ArrayLike, weights: ArrayLike) -> float:
    """The weighted share of the pairs that are in order; NaN of no pair."""
    w = np.asarray(weights, dtype=np.float64)
    return float((np.asarray(in_order) * w).sum() / w.sum()) if w.any() else float("nan")


def interval(in_order: ArrayLike, weights: ArrayLike, confidence: float) -> Interval:
    """The AUROC with the outer of two bounds at either side: `hanley_mcneil`'s, and DeLong's on the logit scale.

    The first do not collapse where all pairs are in order, and are too narrow where one class spreads more than the other; the
    second see how the scores spread, and collapse. The second have Student's t with Satterthwaite's degrees of freedom (1946,
    Biometrics Bulletin 2:110), since one class may have most of the spread and few patients.
    """
    w = np.asarray(weights, dtype=np.float64)
    found = value(in_order, w)
    if not np.isfinite(found):
        return Interval(found, found, found)
    bounds = hanley_mcneil(found, w, confidence)
    parts = _components(in_order, w)
    variances = parts.covariances(parts) if min(len(parts.controls), len(parts.others)) > 1 else np.zeros(2)
    if not 0 < found < 1 or not variances.any():
        return bounds
    freedom = variances.sum() ** 2 / (variances**2 / (np.array([len(parts.controls), len(parts.others)]) - 1)).sum()
    reach = t.ppf((1 + confidence) / 2, freedom) * np.sqrt(variances.sum()) / (found * (1 - found))
    low, high = expit(logit(found) + np.array([-reach, reach]))
    return Interval(found, min(bounds.low, float(low)), max(bounds.high, float(high)))


def hanley_mcneil(found: float, weights: ArrayLike, confidence: float) -> Interval:
    """Bounds of an AUROC that do not collapse at 1: those values A for which |found - A| is z standard errors at A.

    The variance is Hanley & McNeil's (1982, Radiology 143:29): how often two pairs are both in order when they share a patient.
    As Newcombe has it (2006, Statistics in Medicine 25:559, method 5), pairs count alike whether they share a control or a
    patient of the subtype.
    """
    w = np.asarray(weights, dtype=np.float64)
    squares = (w**2).sum()
    shared = ((w.sum(axis=0) ** 2).sum() + (w.sum(axis=1) ** 2).sum()) / 2 - squares
    return _bounds(found, squares / w.sum() ** 2, shared / w.sum() ** 2, confidence)


def all_in_order(patients: ArrayLike, confidence: float) -> float:
    """`hanley_mcneil`'s lower bound of an AUROC of 1, of so many patients of either class in each fold `(folds, 2)`.

    The numbers need not be whole: several images of a patient count for more than one and less than as many patients.
    """
    m, n = np.asarray(patients, dtype=np.float64).T
    pairs = float((m * n).sum())
    return _bounds(1.0, 1 / pairs, float((m * n * np.maximum((m + n) / 2 - 1, 0)).sum()) / pairs**2, confidence).low


def gain(ours: ArrayLike, theirs: ArrayLike, weights: ArrayLike, confidence: float) -> Interval:
    """By how much our score's AUROC is above theirs on the same pairs; `ours` and `theirs` are their `in_order`.

    From the bounds of both by squares that are added (Newcombe 1998, Statistics in Medicine 17:2635; Zou & Donner 2008, ibid.
    27:1693), with the correlation of the two by DeLong: it does not collapse where one of them is 1, and two scores that are
    right of the same patients are compared more sharply than two samples would be.
    """
    w = np.asarray(weights, dtype=np.float64)
    a, b = interval(ours, w, confidence), interval(theirs, w, confidence)
    together = _correlation(_components(ours, w), _components(theirs, w)) if w.any() else 0.0
    reach = [_added(a.value - a.low, b.high - b.value, together), _added(a.high - a.value, b.value - b.low, together)]
    return Interval(a.value - b.value, a.value - b.value - reach[0], a.value - b.value + reach[1])


def _bounds(found: float, alone: float, shared: float, confidence: float) -> Interval:
    z = norm.ppf((1 + confidence) / 2)

    def beyond(a: float) -> float:
        spread = a * (1 - a) * (alone + shared * ((1 - a) / (2 - a) + a / (1 + a)))
        return abs(found - a) - float(z * np.sqrt(spread))

    inside = min(max(found, 1e-9), 1 - 1e-9)  # at 0 and at 1 themselves the variance is 0
    low = 0.0 if found <= 0 else float(brentq(beyond, 0.0, inside))
    high = 1.0 if found >= 1 else float(brentq(beyond, inside, 1.0))
    return Interval(found, low, high)


def _components(in_order: ArrayLike, weights: Floats) -> _Components:
    off = (np.asarray(in_order) - value(in_order, weights)) * weights / weights.sum()
    return _Components(off.sum(axis=1)[weights.any(axis=1)], off.sum(axis=0)[weights.any(axis=0)])


def _correlation(ours: _Components, theirs: _Components) -> float:
    """Of two AUROCs over the same patients; 0 where one of them does not spread, or there are too few to tell."""
    if min(len(ours.controls), len(ours.others)) < 2:
        return 0.0
    spread = np.sqrt(ours.covariances(ours).sum() * theirs.covariances(theirs).sum())
    return float(np.clip(ours.covariances(theirs).sum() / spread, -1, 1)) if spread > 0 else 0.0


def _added(one: float, other: float, correlation: float) -> float:
    return float(np.sqrt(max(one**2 + other**2 - 2 * correlation * one * other, 0.0)))
