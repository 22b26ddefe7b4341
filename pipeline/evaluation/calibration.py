"""What a score is worth: a temperature of images, a calibration and a threshold of patients, and how well all that agrees.

Temperature, calibration and threshold are fixed by patients other than those whom they are used on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.stats import beta, chi2

from pipeline.evaluation import intervals
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.pooling import probabilities

_TEMPERATURES = (0.05, 20.0)
_LOG_SLOPE_SD = 0.5  # of the prior: a slope is thought to lie between 1/2.7 and 2.7
_TOLERANCE = 0.95
_STEEPEST = 50.0  # a calibration slope beyond is none that can be told


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, chosen before the test patients were looked at."""

    threshold: float  # a patient's score above it is called the subtype
    chosen: bool  # on these controls; else it is the usual threshold
    validation_controls: int  # of other folds, or of the validation fold where no other was tested
    reason: str  # in one sentence


def temperature(images: pd.DataFrame) -> float:
    """The number by which logits are divided so that the log loss is least (Guo et al. 2017, ICML); between .05 and 20.

    `images` has columns patient, label, logit. Every patient of a class weighs the same, and so do the classes.
    """
    labels, logits = images["label"].to_numpy(), images["logit"].to_numpy(np.float64)
    per_patient = images.groupby("patient")["logit"].transform("size").to_numpy()
    per_class = images.groupby("label")["patient"].nunique()
    weights = 1 / per_patient / images["label"].map(per_class).to_numpy()

    def loss(log_temperature: float) -> float:
        x = logits / np.exp(log_temperature)
        return float((weights * np.logaddexp(0, np.where(labels == 1, -x, x))).sum())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded").x))


@dataclass(frozen=True)
class PatientCalibration:
    """What makes a patient's score of the mean logit of the images: `intercept` + `slope` times it is a calibrated logit."""

    intercept: float = 0.0
    slope: float = 1.0


def other_patients(scored: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The rows of `scored` (fold, split, patient, label, logit) of all but the test patients of a fold.

    Each was scored by a network that had not trained on him or her: in test, and by the network before in validation.
    """
    tested = scored.loc[(scored["fold"] == fold) & (scored["split"] == "test"), "patient"]
    others: pd.DataFrame = scored[~scored["patient"].isin(tested)]
    return others


def patient_calibration(patients: pd.DataFrame) -> PatientCalibration:
    """Intercept and slope by which the log loss is least (Platt 2000), the slope held near 1 by a prior on its logarithm.

    Without the prior few patients whom a logit happens to separate would make everybody certain. `patients` has columns
    patient, label, logit; a patient with several rows weighs as one, and so do the classes.
    """
    y, x = patients["label"].to_numpy(), patients["logit"].to_numpy(np.float64)
    if not 0 < y.sum() < len(y):
        return PatientCalibration()
    rows = patients.groupby("patient")["logit"].transform("size").to_numpy()
    per_class = patients.groupby("label")["patient"].nunique()
    return platt(y, x, per_class.sum() / 2 / rows / patients["label"].map(per_class).to_numpy())


def platt(y: NDArray[np.int64], x: NDArray[np.float64], weights: NDArray[np.float64]) -> PatientCalibration:
    """The calibration of labels and logits, each row with its weight."""
    sign = np.where(y == 1, 1.0, -1.0)

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = np.exp(at[1])
        margins = sign * (at[0] + slope * x)
        pull = -weights * sign * probabilities(-margins)
        value = float((weights * np.logaddexp(0, -margins)).sum() + (at[1] / _LOG_SLOPE_SD) ** 2 / 2)
        return value, np.array([pull.sum(), (pull * slope * x).sum() + at[1] / _LOG_SLOPE_SD**2])

    edge = float(np.abs(x).max()) * 20 + 20
    found = minimize(loss, [0.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(-edge, edge), (-3, 3)], options={"ftol": 1e-13})
    return PatientCalibration(float(found.x[0]), float(np.exp(found.x[1])))


def operating_point(patients: pd.DataFrame, target_specificity: float, fewest_controls: int, usual: float) -> OperatingPoint:
    """The lowest threshold at which another control is not called the subtype with a chance of `target_specificity` or more.

    Of n controls whom it is not used on, target (n + 1) must lie at or below it (split conformal prediction: Vovk, Gammerman &
    Shafer 2005, Algorithmic Learning in a Random World; Lei et al. 2018, JASA 113:1094), or all where there are not so many.
    What specificity it really has varies with the controls: were all scored by one network, as Beta(kept, n + 1 - kept).
    `patients` has columns label and score. With fewer than `fewest_controls` controls the threshold is `usual`.
    """
    controls = np.sort(patients.loc[patients["label"] == 0, "score"].to_numpy(np.float64))
    if len(controls) < fewest_controls:
        reason = f"{len(controls)} controls of other folds are too few ({fewest_controls} needed) to aim at a specificity"
        return OperatingPoint(usual, False, len(controls), f"{reason}: the usual threshold")
    kept = min(len(controls), int(np.ceil(target_specificity * (len(controls) + 1) - 1e-9)))
    threshold = float(controls[kept - 1]) if kept else 0.0
    least = beta.ppf(1 - _TOLERANCE, kept, len(controls) + 1 - kept) if kept else 0.0
    reason = (
        f"{kept} of {len(controls)} controls of other folds lie at or below it, to aim at {target_specificity:g} of others; "
        f"with {_TOLERANCE:.0%} confidence at least {least:.3f} of them do"
    )
    return OperatingPoint(threshold, True, len(controls), reason)


def at_class_mix(labels: ArrayLike, logits: ArrayLike) -> NDArray[np.float64]:
    """The logits that the patients' scores would have if they were made for the classes' shares among these patients.

    Training and temperature give either class the same weight, so a score is a probability where every second patient has the
    subtype. Where the shares are others, honest logits are off by the logarithm of their ratio (Elkan 2001, IJCAI, theorem 2),
    which says nothing about the network.
    """
    y, x = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    positives = int(y.sum())
    return x + np.log(positives / (len(y) - positives)) if 0 < positives < len(y) else x


def reliability(labels: ArrayLike, scores: ArrayLike, bins: int, confidence: float) -> pd.DataFrame:
    """Patients in bins of as equal numbers as can be, by rising score: n, mean score, share of the subtype, its exact bounds.

    At most `bins`, and fewer where a bin would hold less than five.
    """
    table = pd.DataFrame({"label": np.asarray(labels), "score": np.asarray(scores, dtype=np.float64)}).sort_values("score")
    rows = []
    for part in _binned(len(table), bins):
        inside = table.iloc[part]
        share = intervals.proportion(int(inside["label"].sum()), len(inside), confidence)
        rows.append((len(inside), inside["score"].mean(), share.value, share.low, share.high))
    return pd.DataFrame(rows, columns=["n", "mean_score", "share", "low", "high"])


def _binned(rows: int, bins: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.arange(rows), max(1, min(bins, rows // 5)))


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance of share and mean score over the bins of `reliability`, weighted by their rows."""
    return float((table["n"] * (table["share"] - table["mean_score"]).abs()).sum() / table["n"].sum())


def calibrated_error(scores: ArrayLike, bins: int, draws: int, seed: int, confidence: float) -> Interval:
    """What the expected calibration error of perfectly calibrated scores is like: its mean and the range of labels drawn anew.

    It is far from 0 with few patients, and an error within that range is no finding.
    """
    p = np.sort(np.asarray(scores, dtype=np.float64))
    off = (np.random.default_rng(seed).random((draws, len(p))) < p) - p
    found = np.sum([np.abs(off[:, part].sum(axis=1)) for part in _binned(len(p), bins)], axis=0) / len(p)
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(np.mean(found)), float(low), float(high))


def intercept_and_slope(labels: ArrayLike, logits: ArrayLike, confidence: float = 0.95) -> tuple[Interval, Interval]:
    """Intercept and slope of a logistic regression on the logits: 0 and 1 where the scores are calibrated.

    As in Van Calster et al. 2019 (BMC Medicine 17:230) the intercept is that with a slope of 1 ("calibration in the large"),
    the slope that with an intercept of its own. The bounds are those of the profile likelihood. NaN where there is no finite
    value: a class is missing, or a logit separates the classes, of whose slope only the lower bound can be told.
    """
    y, x = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    if not 0 < y.sum() < len(y):
        return nothing, nothing
    allowed = float(chi2.ppf(confidence, 1)) / 2
    at = _offset(y, x)
    offset = _bounded(lambda value: _loss(y, x + value), at, float(np.abs(x).max()) + 50, allowed)

    def of_slope(value: float) -> float:
        return _loss(y, value * x + _offset(y, value * x))

    if x[y == 1].min() >= x[y == 0].max():
        low = _crossing(of_slope, _STEEPEST, -_STEEPEST, of_slope(_STEEPEST) + allowed)
        return offset, Interval(float("nan"), low, float("nan"))
    if x[y == 1].max() <= x[y == 0].min():
        return offset, nothing
    best = float(minimize_scalar(of_slope, bounds=(-_STEEPEST, _STEEPEST), method="bounded", options={"xatol": 1e-7}).x)
    return offset, _bounded(of_slope, best, 2 * _STEEPEST, allowed)


def _loss(y: NDArray[np.int64], x: NDArray[np.float64]) -> float:
    return float(np.logaddexp(0, np.where(y == 1, -x, x)).sum())


def _bounded(loss: Callable[[float], float], at: float, reach: float, allowed: float) -> Interval:
    """The least of a convex `loss`, at `at`, and where it is `allowed` higher on either side."""
    highest = loss(at) + allowed
    return Interval(at, *(_crossing(loss, at, at + way, highest) for way in (-reach, reach)))


def _crossing(loss: Callable[[float], float], inside: float, outside: float, highest: float) -> float:
    """Between `inside` and `outside`, where the loss reaches `highest`; NaN where it does not."""
    if loss(outside) <= highest:
        return float("nan")
    return float(brentq(lambda value: loss(value) - highest, inside, outside))


def _offset(y: NDArray[np.int64], x: NDArray[np.float64]) -> float:
    """The number that, added to the logits, makes the mean score the share of the subtype."""
    edge = float(np.abs(x).max()) + 50
    return float(brentq(lambda offset: probabilities(x + offset).mean() - y.mean(), -edge, edge))
