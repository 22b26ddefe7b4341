"""Two candidates of a subtype compared over the patients whom both were tested on.

A table of patients has a row a patient: patient, label (0 control, 1 subtype), score, called. What they were trained on is not
looked at here: each score is out of fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t

from pipeline.evaluation.figures import Interval


@dataclass(frozen=True)
class Difference:
    """The candidate less the other: patients whom it alone, and whom the other alone, called right; difference in Brier score.

    Below 0 the candidate's Brier score (mean of the two classes) is the better.
    """

    patients: int
    right_alone: int
    wrong_alone: int
    brier: Interval


def compare(candidate: pd.DataFrame, other: pd.DataFrame, confidence: float) -> Difference:
    """The difference over the patients of both; its bounds by Student's t over patients, of a class with one patient NaN."""
    both = candidate.merge(other, on=["patient", "label"], suffixes=("", "_other"))
    right, right_other = (both[f"called{end}"] == (both["label"] == 1) for end in ("", "_other"))
    losses = (both["score"] - both["label"]) ** 2 - (both["score_other"] - both["label"]) ** 2
    return Difference(
        len(both),
        int((right & ~right_other).sum()),
        int((~right & right_other).sum()),
        _mean_of_classes(losses, both, confidence),
    )


def _mean_of_classes(losses: pd.Series, both: pd.DataFrame, confidence: float) -> Interval:
    of_classes = [losses[both["label"] == label].to_numpy(np.float64) for label in (0, 1)]
    if min(map(len, of_classes)) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = float(np.mean([own.mean() for own in of_classes]))
    fewest = min(map(len, of_classes))
    if fewest == 1:
        return Interval(value, float("nan"), float("nan"))
    error = float(np.sqrt(sum(own.var(ddof=1) / len(own) for own in of_classes))) / 2
    reach = float(t.ppf((1 + confidence) / 2, fewest - 1)) * error
    return Interval(value, value - reach, value + reach)
