"""From logits to probabilities, and from the images of a patient to the patient's one score.

This file travels with every registered model, so that a patient is scored by it as the figures were measured; it imports
nothing of this package.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


def probabilities(logits: ArrayLike) -> NDArray[np.float64]:
    """Logistic function `(n,)` of logits `(n,)`, without overflow for large logits of either sign."""
    x = np.asarray(logits, dtype=np.float64)
    tail = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + tail), tail / (1 + tail))


def patient_scores(images: pd.DataFrame, keys: Sequence[str], intercept: float = 0.0, slope: float = 1.0) -> pd.DataFrame:
    """One row for each patient, whom the columns `keys` tell apart: the score is the probability at the patient's logit.

    That is the mean of the images' logits, times `slope`, plus `intercept`: what calibrates images does not calibrate patients.
    `images` has a row an image: `keys`, logit. Returns `keys`, images (their number), logit, score, sorted by `keys`.
    """
    patients = images.groupby(list(keys), sort=True)["logit"].agg(["size", "mean"]).reset_index()
    patients = patients.rename(columns={"size": "images", "mean": "logit"})
    calibrated = intercept + slope * patients["logit"]
    return patients.assign(logit=calibrated, score=probabilities(calibrated))
