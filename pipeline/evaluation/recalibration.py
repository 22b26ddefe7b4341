"""What it would bring to calibrate a frozen model's scores anew on some of another hospital's patients. No file is read here.

Of k patients, half of either class, intercept and slope of the logits are fitted, or the intercept alone; the patients who were
not drawn say what that is worth. Losses are the means of the classes' means, as the scores are for classes of equal size
(`calibration.at_class_mix`), so a higher share of the subtype is no fault of theirs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq

from pipeline.evaluation import calibration
from pipeline.evaluation.pooling import probabilities

Floats = NDArray[np.float64]

AS_REGISTERED, INTERCEPT, BOTH = WAYS = ("as registered", "intercept", "intercept and slope")
LOSSES = ("log_loss", "brier")
FIGURES = (*LOSSES, "sensitivity", "specificity")
COLUMNS = ["patients", "way", "draws", "better", *(f"{name}{side}" for name in FIGURES for side in ("", "_low", "_high"))]
_FEWEST_LEFT = 4  # of either class, to measure on
_SPREAD = (0.05, 0.95)  # of the draws: what one such sample of patients may bring


def sizes(labels: pd.Series) -> list[int]:
    """4, 8, 16 ... patients, as far as half of them can be of either class and some of either are left."""
    fewest = int(labels.value_counts().reindex([0, 1], fill_value=0).min())
    found = []
    k = 4
    while k // 2 <= fewest - _FEWEST_LEFT:
        found.append(k)
        k *= 2
    return found


def curve(patients: pd.DataFrame, point: float, draws: int, seed: int) -> pd.DataFrame:
    """A row a number of patients and way, `COLUMNS`: the means of the others over the draws, and 5 to 95 % of the draws.

    `better` is the share of draws whose log loss is lower than that of the scores as registered; sensitivity and specificity
    are those at the score `point`. `patients` has label, logit.
    """
    labels, logits = patients["label"].to_numpy(), patients["logit"].to_numpy(np.float64)
    rng, rows = np.random.default_rng(seed), []
    of_class = [np.flatnonzero(labels == label) for label in (0, 1)]
    for k in sizes(patients["label"]):
        found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(draws):
            learn = np.concatenate([rng.permutation(own)[: k // 2] for own in of_class])
            rest = np.setdiff1d(np.arange(len(labels)), learn)
            for way in WAYS:
                intercept, slope = fitted(way, labels[learn], logits[learn])
                found[way].append(_worth(labels[rest], intercept + slope * logits[rest], point))
        usual = np.array(found[AS_REGISTERED])
        for way in WAYS:
            values = np.array(found[way])
            low, high = np.quantile(values, _SPREAD, axis=0)
            numbers = [number for at in range(len(FIGURES)) for number in (values[:, at].mean(), low[at], high[at])]
            rows.append((k, way, draws, float((values[:, 0] < usual[:, 0]).mean()), *map(float, numbers)))
    return pd.DataFrame(rows, columns=COLUMNS)


def fitted(way: str, labels: NDArray[np.int64], logits: Floats) -> tuple[float, float]:
    """Intercept and slope by which the log loss is least, of classes that weigh the same; 0 and 1 as registered."""
    if way == AS_REGISTERED:
        return 0.0, 1.0
    weights = len(labels) / 2 / np.bincount(labels, minlength=2)[labels]
    if way == BOTH:
        found = calibration.platt(labels, logits, weights)
        return found.intercept, found.slope
    edge = float(np.abs(logits).max()) + 50

    def pull(intercept: float) -> float:
        return float((weights * (probabilities(logits + intercept) - labels)).sum())

    return float(brentq(pull, -edge, edge)), 1.0


def _worth(labels: NDArray[np.int64], logits: Floats, point: float) -> list[float]:
    """As `FIGURES` has it."""
    scores = probabilities(logits)
    cost, called = np.logaddexp(0, np.where(labels == 1, -logits, logits)), scores > point
    losses = [float(np.mean([each[labels == label].mean() for label in (0, 1)])) for each in (cost, (scores - labels) ** 2)]
    return [*losses, float(called[labels == 1].mean()), float((~called[labels == 0]).mean())]
