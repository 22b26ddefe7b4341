"""How sure a figure of merit is: intervals that hold for other patients, not for other images of the same ones.

All are conditional on the trained networks. `docs/evaluation.md` has their measured coverage and what was tried besides.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, t

from pipeline.evaluation import auroc_bounds, figures, resampling
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.resampling import Floats, Sample

_TINY = 1e-9  # rates are sums of weights and rounded
_LEAST = 1e-6  # a smaller loss is none


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
    return {name: exact.get(name) or resampled(name, value, drawn[name], sample, confidence) for name, value in values.items()}


def resampled(figure: str, value: float, drawn: Floats, sample: Sample, confidence: float) -> Interval:
    """`bootstrap` of a figure of `resampling.figures`, by the effective patients of the class that it rests on."""
    rows = [sample.sums["rows"][sample.labels == label] for label in (0, 1)]
    own = {"specificity": rows[:1], "sensitivity": rows[1:]}.get(figure, rows)
    patients, images = min(map(kish, own)), float(sum(of_class.sum() for of_class in own))
    if figures.ALL[figure].loss:
        return _loss(figure, value, drawn, sample, patients, confidence)
    if figure == "mcc":  # from -1 to 1
        half = bootstrap((value + 1) / 2, (drawn + 1) / 2, patients, confidence, rows=images)
        return Interval(value, 2 * half.low - 1, 2 * half.high - 1)
    certain = _all_in_order(sample, figure, confidence) if figure in ("auroc", "auroc_pooled") else None
    return bootstrap(value, drawn, patients, confidence, rows=images, certain=certain)


def _loss(figure: str, value: float, drawn: Floats, sample: Sample, patients: float, confidence: float) -> Interval:
    """The interval of a loss by its values `(draws,)` under resampling: Student's t on the logarithmic scale.

    A few patients may cause most of it: the degrees of freedom are Satterthwaite's (1946, Biometrics Bulletin 2:110) over the
    classes, each with Kish's number of those who add to the loss, and `patients` - 1 at most. And who costs most may not have
    been seen: the upper bound leaves room for as many as may have been missed, as surely wrong as the surest is right
    (`Sample.if_wrong`), and for no more than if all were.
    """
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(drawn) < 2:
        return Interval(value, float("nan"), float("nan"))
    unseen = (1 - all_right(2 * patients, confidence)) * sample.if_wrong[figure]  # a loss is the mean of the classes' means
    if value <= _LEAST:
        return Interval(value, 0.0, max(value, unseen))
    freedom = max(min(patients - 1, _freedom(sample, figure)), 1)
    reach = t.ppf((1 + confidence) / 2, freedom) * np.std(np.log(np.maximum(drawn, _LEAST)), ddof=1)
    high, most = max(float(value * np.exp(reach)), unseen), 1.0 if figure == "brier" else max(value, sample.if_wrong[figure])
    return Interval(value, float(value * np.exp(-reach)), min(high, most))


def _freedom(sample: Sample, loss: str) -> float:
    """Satterthwaite's degrees of freedom of a loss, each class with Kish's number of those who add to it."""
    variances, freedoms = [], []
    for label in (0, 1):
        rows, costs = (sample.sums[name][sample.labels == label] for name in ("rows", loss))
        variances.append(float(((costs - rows * costs.sum() / rows.sum()) ** 2).sum() / rows.sum() ** 2))
        freedoms.append(max(kish(costs) - 1, 1))
    squares = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    return sum(variances) ** 2 / squares if squares else np.inf


def bootstrap(
    value: float, drawn: Floats, patients: float, confidence: float, *, rows: float, certain: float | None = None
) -> Interval:
    """The interval of a share by its values `(draws,)` under resampling: Student's t with `patients` - 1 degrees of freedom.

    On the logit scale, since it lies between 0 and 1. Draws are kept half a row from 0 and from 1, and spread as much as rows
    of one patient would. A share is never surer than if everything were right: its lower bound is at most `certain` (without it
    that of `all_right`), and the upper at least as far from 0.

    Args:
        value: the figure itself.
        drawn: NaN where a draw has none.
        patients: on whom it rests; fewer where some weigh more (`kish`).
        confidence: for example .95.
        rows: the images of which it is a share.
        certain: the lower bound of a share of 1.
    """
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(drawn) < 2:
        return Interval(value, float("nan"), float("nan"))
    certain = all_right(patients, confidence) if certain is None else certain
    if not 0 < value < 1:
        return Interval(value, certain if value == 1 else 0.0, 1.0 if value == 1 else 1 - certain)
    half = 0.5 / rows
    spread = np.std(logit(np.clip(drawn, half, 1 - half)), ddof=1)
    reach = t.ppf((1 + confidence) / 2, max(patients - 1, 1)) * max(float(spread), 1 / np.sqrt(rows * value * (1 - value)))
    low, high = expit(logit(value) + np.array([-reach, reach]))
    return Interval(value, min(float(low), certain), max(float(high), 1 - certain))


def kish(weights: ArrayLike) -> float:
    """As how many who weigh the same those count who have these weights (Kish 1965, Survey Sampling, 8.2); 0 of none."""
    w = np.asarray(weights, dtype=np.float64)
    return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0


def all_right(patients: float, confidence: float) -> float:
    """The exact lower bound of a share when all of `patients`, not necessarily a whole number, are right."""
    return float(((1 - confidence) / 2) ** (1 / patients)) if patients else 0.0


def _all_in_order(sample: Sample, figure: str, confidence: float) -> float:
    """The lower bound of an AUROC of rows that are all in order, by the effective numbers of each fold, or of all as one."""
    folds = sample.folds if figure == "auroc" else np.zeros_like(sample.folds)
    rows = sample.sums["rows"]
    by_fold = [[kish(rows[(folds == fold) & (sample.labels == label)]) for label in (0, 1)] for fold in np.unique(folds)]
    return auroc_bounds.all_in_order(by_fold, confidence)


@cache  # decision curves and sample sizes ask for the same shares by the thousand, milliseconds each
def proportion(right: int, total: int, confidence: float) -> Interval:
    """The share `right` of `total`, with exact binomial bounds (Clopper & Pearson 1934, Biometrika 26:404); NaN of none."""
    if not total:
        return Interval(float("nan"), float("nan"), float("nan"))
    bounds = binomtest(right, total).proportion_ci(confidence, method="exact")
    return Interval(float(right / total), float(bounds.low), float(bounds.high))


def auprc(value: float, positives: int, confidence: float) -> Interval:
    """Bounds of an average precision over `positives` patients of the subtype.

    The logit interval of Boyd, Eng & Page (2013, ECML PKDD, LNCS 8190:451); exact binomial where the value is 0 or 1.
    """
    if not 0 < value < 1:
        return proportion(positives if value == 1 else 0, positives, confidence)
    reach = norm.ppf((1 + confidence) / 2) / np.sqrt(positives * value * (1 - value))
    return Interval(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))


def patient_auroc(patients: pd.DataFrame, confidence: float) -> Interval:
    """AUROC over pairs within a fold, of rows fold, patient, label, logit that are one a patient."""
    return auroc(resampling.summarise(patients, 0.5), confidence)


def auroc(sample: Sample, confidence: float) -> Interval:
    """AUROC over pairs within a fold, of a sample that has one row a patient."""
    return auroc_bounds.interval(sample.in_order, sample.same_fold, confidence)


def gain(ours: pd.DataFrame, theirs: pd.DataFrame, confidence: float) -> Interval:
    """By how much our patients' AUROC within folds is above theirs, over the patients of both: fold, patient, label, logit."""
    key = ["fold", "patient", "label"]
    both = ours[[*key, "logit"]].merge(theirs[[*key, "logit"]], on=key, suffixes=("", "_theirs"))
    one, other = (resampling.summarise(both[key].assign(logit=both[column]), 0.5) for column in ("logit", "logit_theirs"))
    return auroc_bounds.gain(one.in_order, other.in_order, one.same_fold, confidence)


def _of_patients(sample: Sample, values: dict[str, float], confidence: float) -> dict[str, Interval]:
    """The figures of patients that have bounds of their own, which never collapse."""
    if len(set(sample.labels)) < 2:  # a class is missing
        return {}
    found = of_calls(sample.labels, sample.sums["called"], confidence)
    found["auroc_pooled"] = auroc_bounds.interval(sample.in_order, np.ones_like(sample.same_fold), confidence)
    found["auprc"] = auprc(values["auprc"], int(sample.labels.sum()), confidence)
    if sample.same_fold.any():
        found["auroc"] = auroc(sample, confidence)
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
    """Pointwise bounds of the ROC and precision-recall curves, pooled over folds: `bootstrap` of each point.

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

    middle, drawn = on_grid(resampling.unweighted(sample)), on_grid(resampling.draw(sample, draws, seed))
    own = [sample.sums["rows"][sample.labels == label] for label in (0, 1)]
    patients, rows = min(map(kish, own)), {"roc": own[1].sum(), "pr": sum(of_class.sum() for of_class in own)}
    table = {"at": grid}
    for name, value, many in zip(("roc", "pr"), middle, drawn, strict=True):
        points_ = [
            bootstrap(*point, patients, confidence, rows=float(rows[name])) for point in zip(value[0], many.T, strict=True)
        ]
        table |= {name: value[0]} | {
            f"{name}_{side}": np.array([getattr(p, side) for p in points_]) for side in ("low", "high")
        }
    table["roc_low"][-1] = 1.0  # where everybody is called, every patient of the subtype is
    return pd.DataFrame(table)
