"""How sure a figure of merit is: intervals that hold for other patients, not for other images of the same ones.

All are conditional on the trained networks. `docs/evaluation.md` has their measured coverage and what was tried besides.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, t

from pipeline.evaluation import figures, resampling
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.resampling import Floats, Sample

_TINY = 1e-9  # rates are sums of weights and rounded
_LEAST = 1e-6  # a smaller share, or loss, is none


def measure(
    images: pd.DataFrame | None, patients: pd.DataFrame, *, threshold: float, draws: int, seed: int, confidence: float
) -> dict[str, Interval]:
    """All figures of `resampling.figures`, as image_<figure> and patient_<figure>.

    Args:
        images: fold, patient, label, logit, a row an image; None where only patients have a score.
        patients: the same columns, a row a patient.
        threshold: a probability above it is called the subtype, at both levels.
        draws: of the bootstrap.
        seed: of the draws.
        confidence: that the interval holds the figure, .95 for example.
    """
    found: dict[str, Interval] = {}
    for level, rows in zip(figures.LEVELS, (images, patients), strict=True):
        if rows is None:
            continue
        sample = resampling.summarise(rows, threshold)
        of_these = of_level(sample, level, draws=draws, seed=seed, confidence=confidence)
        found |= {f"{level}_{name}": interval for name, interval in of_these.items()}
    return found


def of_level(sample: Sample, level: str, *, draws: int, seed: int, confidence: float) -> dict[str, Interval]:
    """All figures of `resampling.figures` of one level, image or patient."""
    values = {name: float(value[0]) for name, value in resampling.figures(sample, resampling.unweighted(sample)).items()}
    drawn = resampling.figures(sample, resampling.draw(sample, draws, seed))
    exact = _of_patients(sample, values, confidence) if level == "patient" else {}
    return {name: exact.get(name) or _resampled(name, value, drawn[name], sample, confidence) for name, value in values.items()}


def _resampled(figure: str, value: float, drawn: Floats, sample: Sample, confidence: float) -> Interval:
    """`bootstrap` of a figure of `resampling.figures`, with the patients of the class on which it rests, or of the smaller."""
    counts = [int((sample.labels == label).sum()) for label in (0, 1)]
    patients = {"specificity": counts[0], "sensitivity": counts[1]}.get(figure, min(counts))
    if figure == "brier" and value <= _LEAST:  # its mean is at most the share of patients who add to it
        return Interval(value, 0.0, proportion(0, patients, confidence).high)
    if figure == "mcc":  # from -1 to 1
        half = bootstrap((value + 1) / 2, (drawn + 1) / 2, patients, confidence, share=True)
        return Interval(value, 2 * half.low - 1, 2 * half.high - 1)
    return bootstrap(value, drawn, patients, confidence, share=figures.ALL[figure].share)


def bootstrap(value: float, drawn: Floats, patients: int, confidence: float, *, share: bool) -> Interval:
    """The interval by the figure's values `(draws,)` under resampling: Student's t with `patients` - 1 degrees of freedom.

    On the logit scale for a share, which lies between 0 and 1, on the logarithmic for a loss, which lies above 0. A share of
    exactly 1 (or 0) has no spread there and gets the exact bounds of `patients` out of `patients` (or none). Of a loss of 0
    nothing is known but that it is not below: the upper bound is NaN.
    """
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(drawn) < 2:
        return Interval(value, float("nan"), float("nan"))
    if share and not 0 < value < 1:
        bounds = proportion(patients if value == 1 else 0, patients, confidence)
        return Interval(value, bounds.low, bounds.high)
    if not share and value <= _LEAST:
        return Interval(value, 0.0, float("nan"))
    forth, back = (logit, expit) if share else (np.log, np.exp)
    spread = np.std(forth(np.clip(drawn, _LEAST, 1 - _LEAST if share else None)), ddof=1)
    reach = t.ppf((1 + confidence) / 2, max(patients - 1, 1)) * spread
    low, high = back(forth(value) + np.array([-reach, reach]))
    return Interval(value, float(low), float(high))


def proportion(right: int, total: int, confidence: float) -> Interval:
    """The share `right` of `total`, with exact binomial bounds (Clopper & Pearson 1934, Biometrika 26:404); NaN of none."""
    if not total:
        return Interval(float("nan"), float("nan"), float("nan"))
    bounds = binomtest(right, total).proportion_ci(confidence, method="exact")
    return Interval(right / total, float(bounds.low), float(bounds.high))


def auroc(value: float, pairs: NDArray[np.int64], confidence: float) -> Interval:
    """Bounds of an AUROC that do not collapse at 1: those values A for which |value - A| is z standard errors at A.

    The variance is Hanley & McNeil's (1982, Radiology 143:29) with Newcombe's common number of patients (2006, Statistics in
    Medicine 25:559, method 5), summed over folds by their share of the pairs.

    Args:
        value: over pairs within a fold.
        pairs: `(folds, 2)` controls and subtype patients of each fold.
        confidence: for example .95.
    """
    m, n = pairs.T.astype(np.float64)
    shares = m * n / (m * n).sum()
    z = norm.ppf((1 + confidence) / 2)

    def variance(a: float) -> float:
        common = (m + n) / 2 - 1
        each = a * (1 - a) * (1 + common * ((1 - a) / (2 - a) + a / (1 + a))) / np.maximum(m * n, 1)
        return float((shares**2 * each).sum())

    def beyond(a: float) -> float:
        return abs(value - a) - float(z * np.sqrt(variance(a)))

    inside = min(max(value, 1e-9), 1 - 1e-9)  # at 0 and at 1 themselves the variance is 0
    low = 0.0 if value <= 0 else float(brentq(beyond, 0.0, inside))
    high = 1.0 if value >= 1 else float(brentq(beyond, inside, 1.0))
    return Interval(value, low, high)


def auprc(value: float, positives: int, confidence: float) -> Interval:
    """Bounds of an average precision over `positives` patients of the subtype.

    The logit interval of Boyd, Eng & Page (2013, ECML PKDD, LNCS 8190:451); exact binomial where the value is 0 or 1.
    """
    if not 0 < value < 1:
        return proportion(positives if value == 1 else 0, positives, confidence)
    reach = norm.ppf((1 + confidence) / 2) / np.sqrt(positives * value * (1 - value))
    return Interval(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))


def patient_auroc(patients: pd.DataFrame, confidence: float) -> Interval:
    """AUROC over pairs within a fold, of rows fold, patient, label, logit that are one a patient, with `auroc`'s bounds."""
    sample = resampling.summarise(patients, 0.5)
    value = float(resampling.figures(sample, resampling.unweighted(sample))["auroc"][0])
    return auroc(value, _pairs(sample), confidence) if np.isfinite(value) else Interval(value, value, value)


def _pairs(sample: Sample) -> NDArray[np.int64]:
    """The numbers of controls and subtype patients of each fold, `(folds, 2)`."""
    return pd.crosstab(sample.folds, sample.labels).to_numpy(np.int64)


def _of_patients(sample: Sample, values: dict[str, float], confidence: float) -> dict[str, Interval]:
    """The figures of patients that have bounds of their own, which never collapse."""
    pairs = _pairs(sample)
    if pairs.shape[1] < 2:  # a class is missing
        return {}
    found = of_calls(sample.labels, sample.sums["called"], confidence)
    found["auroc_pooled"] = auroc(values["auroc_pooled"], pairs.sum(axis=0, keepdims=True), confidence)
    found["auprc"] = auprc(values["auprc"], int(sample.labels.sum()), confidence)
    if (pairs.prod(axis=1) > 0).any():
        found["auroc"] = auroc(values["auroc"], pairs, confidence)
    return found


def of_calls(labels: ArrayLike, called: ArrayLike, confidence: float) -> dict[str, Interval]:
    """Figures of patients that follow from who was called the subtype; `labels` and `called` are `(patients,)`, 0 or 1.

    Rates have their exact bounds. Balanced accuracy, F1 and Matthews correlation rise with sensitivity and with specificity,
    and stand at the lower and at the upper bounds of both, each of the two at half the error (Bonferroni), so that the pair
    is right as often as `confidence` at least.
    """
    y, calls = np.asarray(labels).astype(bool), np.asarray(called).astype(bool)
    n = {label: int((y == label).sum()) for label in (True, False)}
    right = {label: int((calls[y == label] == label).sum()) for label in n}
    sides = {label: proportion(right[label], n[label], (1 + confidence) / 2) for label in n}
    at = {side: _of_rates({label: getattr(sides[label], side) for label in n}, n) for side in figures.SIDES}
    return {
        "accuracy": proportion(sum(right.values()), sum(n.values()), confidence),
        "sensitivity": proportion(right[True], n[True], confidence),
        "specificity": proportion(right[False], n[False], confidence),
        **{name: Interval(at["value"][name], *sorted((at["low"][name], at["high"][name]))) for name in at["value"]},
    }


def _of_rates(rates: dict[bool, float], n: dict[bool, int]) -> dict[str, float]:
    """The figures that follow from shares called right and numbers of the subtype's patients (True) and controls (False)."""
    tp, tn = np.array(rates[True] * n[True]), np.array(rates[False] * n[False])
    return {
        "balanced_accuracy": (rates[True] + rates[False]) / 2,
        "f1": float(resampling.f1(tp, n[False] - tn, n[True] - tp)),
        "mcc": float(resampling.mcc(tp, n[False] - tn, n[True] - tp, tn)),
    }


def bands(sample: Sample, draws: int, seed: int, confidence: float, points: int = 51) -> pd.DataFrame:
    """Pointwise bounds of the ROC and precision-recall curves, pooled over folds.

    Columns at (the grid, from 0 to 1: false positive rate of one, recall of the other), roc, roc_low, roc_high (sensitivity),
    pr, pr_low, pr_high (precision).
    """
    grid = np.linspace(0, 1, points)

    def on_grid(weights: Floats) -> tuple[Floats, Floats]:
        roc, pr = [], []
        for fpr, tpr, precision in resampling.curves(sample, weights):
            roc.append(tpr[np.searchsorted(fpr, grid + _TINY, "right") - 1])  # the highest at this rate or a lower one
            pr.append(precision[np.searchsorted(tpr, grid - _TINY, "left")])  # where this recall is first reached
        return np.array(roc), np.array(pr)

    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    table = {"at": grid}
    middle, drawn = on_grid(resampling.unweighted(sample)), on_grid(resampling.draw(sample, draws, seed))
    for name, value, many in zip(("roc", "pr"), middle, drawn, strict=True):
        low, high = np.nanquantile(many, tails, axis=0)
        table |= {name: value[0], f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(table)
