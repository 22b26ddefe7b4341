"""What a score is worth: a temperature and a threshold from validation patients, and how well the scores of others agree.

Nothing in here sees a test patient before temperature and threshold are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation import intervals
from pipeline.evaluation.pooling import probabilities

_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, chosen before the test patients were looked at."""

    threshold: float  # a patient's score above it is called the subtype
    chosen: bool  # on the validation controls; else it is the usual threshold
    validation_controls: int
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


def operating_point(patients: pd.DataFrame, target_specificity: float, fewest_controls: int, usual: float) -> OperatingPoint:
    """The lowest threshold at which another control is not called the subtype with a chance of `target_specificity` or more.

    Of n validation controls, target (n + 1) must lie at or below it (split conformal prediction: Vovk, Gammerman & Shafer
    2005, Algorithmic Learning in a Random World; Lei et al. 2018, JASA 113:1094), or all where there are not so many.
    `patients` has columns label and score. With fewer than `fewest_controls` controls the threshold is `usual`.
    """
    controls = np.sort(patients.loc[patients["label"] == 0, "score"].to_numpy(np.float64))
    if len(controls) < fewest_controls:
        reason = f"{len(controls)} validation controls are too few ({fewest_controls} needed) to aim at a specificity"
        return OperatingPoint(usual, False, len(controls), f"{reason}: the usual threshold")
    kept = min(len(controls), int(np.ceil(target_specificity * (len(controls) + 1) - 1e-9)))
    threshold = float(controls[kept - 1]) if kept else 0.0
    reason = f"{kept} of {len(controls)} validation controls lie at or below it, to aim at {target_specificity:g} of others"
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
    for part in np.array_split(np.arange(len(table)), max(1, min(bins, len(table) // 5))):
        inside = table.iloc[part]
        share = intervals.proportion(int(inside["label"].sum()), len(inside), confidence)
        rows.append((len(inside), inside["score"].mean(), share.value, share.low, share.high))
    return pd.DataFrame(rows, columns=["n", "mean_score", "share", "low", "high"])


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance of share and mean score over the bins of `reliability`, weighted by their rows."""
    return float((table["n"] * (table["share"] - table["mean_score"]).abs()).sum() / table["n"].sum())


def intercept_and_slope(labels: ArrayLike, logits: ArrayLike) -> tuple[float, float]:
    """Intercept and slope of a logistic regression on the logits: 0 and 1 where the scores are calibrated.

    As in Van Calster et al. 2019 (BMC Medicine 17:230) the intercept is that with a slope of 1 ("calibration in the large"),
    the slope that with an intercept of its own. NaN where there is no finite value: a class is missing, or a logit separates
    the classes.
    """
    y, x = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    if not 0 < y.sum() < len(y):
        return float("nan"), float("nan")
    fit = LogisticRegression(C=np.inf, max_iter=10_000).fit(x[:, None], y)
    separated = x[y == 1].min() >= x[y == 0].max() or x[y == 1].max() <= x[y == 0].min()
    slope = float("nan") if separated else float(fit.coef_[0, 0])
    return _offset(y, x), slope


def _offset(y: NDArray[np.int64], x: NDArray[np.float64]) -> float:
    """The number that, added to the logits, makes the mean score the share of the subtype."""
    edge = float(np.abs(x).max()) + 50
    return float(brentq(lambda offset: probabilities(x + offset).mean() - y.mean(), -edge, edge))
