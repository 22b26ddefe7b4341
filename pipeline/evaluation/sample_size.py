"""What a number of patients can show, and how many it takes to show something.

n are patients of the subtype and m are controls, independent of each other; nothing here looks at a result.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from pipeline.evaluation import intervals


def bound_if_all_right(patients: int, confidence: float) -> float:
    """The lower bound of a rate of a class of whom all are called right: the most that so many can show; NaN of none."""
    return intervals.proportion(patients, patients, confidence).low


def least_shown_auroc(n: int, m: int, confidence: float, power: float) -> float:
    """The least true AUROC that n + m patients tell from .5 with a chance of `power`; NaN where none is told.

    Normal approximation with the variance of Hanley & McNeil (1982, Radiology 143:29): of .5 for the interval, of the AUROC
    itself for the chance.
    """
    if min(n, m) < 1:
        return float("nan")
    reach = norm.ppf((1 + confidence) / 2) * np.sqrt(auroc_variance(0.5, n, m))

    def short_by(auroc: float) -> float:
        return float(0.5 + reach + norm.ppf(power) * np.sqrt(auroc_variance(auroc, n, m)) - auroc)

    return float(brentq(short_by, 0.5, 1.0)) if short_by(1.0) < 0 else float("nan")


def auroc_variance(auroc: float, n: ArrayLike, m: ArrayLike) -> NDArray[np.float64]:
    """Variance of an AUROC of n patients of the subtype and m controls (Hanley & McNeil 1982, of exponential scores)."""
    cases, controls = np.asarray(n, dtype=np.float64), np.asarray(m, dtype=np.float64)
    both, one = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc) + (cases - 1) * (both - auroc**2) + (controls - 1) * (one - auroc**2)
    return np.asarray(spread / (cases * controls))


def patients_for_rate(rate: float, half_width: float, confidence: float) -> int:
    """From how many patients of a class on the exact interval of a `rate` is at most 2 `half_width` wide."""
    z = float(norm.ppf((1 + confidence) / 2))
    enough = math.ceil(z**2 * rate * (1 - rate) / half_width**2 + 2 * z**2 / half_width)  # the normal interval's, and an excess
    for patients in range(enough, 0, -1):
        bounds = intervals.proportion(round(rate * patients), patients, confidence)
        if bounds.high - bounds.low > 2 * half_width:
            return patients + 1
    return 1


def patients_for_auroc(auroc: float, half_width: float, ratio: float, confidence: float) -> int:
    """The patients of the subtype, with `ratio` controls each, for an interval of `auroc` plus or minus `half_width`."""
    z = float(norm.ppf((1 + confidence) / 2))
    enough = math.ceil(z**2 / (4 * half_width**2 * min(ratio, 1))) + 2  # no variance is above a quarter of the smaller class
    patients = np.arange(1, enough + 1)
    controls = np.maximum(1, np.round(ratio * patients))
    narrow = z * np.sqrt(auroc_variance(auroc, patients, controls)) <= half_width
    return int(patients[narrow.argmax()])
