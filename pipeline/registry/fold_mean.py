"""A subtype's trained folds as one model. An image's score is the probability at the mean of the folds' calibrated logits; a
patient's follows from the mean of the images' by the folds' calibration of patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.evaluation.pooling import probabilities

_CERTAIN = 1e-9  # a threshold of 0 or 1 has no finite logit


def patient_calibration(folds: pd.DataFrame) -> dict[str, float]:
    """Intercept and slope that make a patient's logit of the mean of the images', from those of the folds: their means.

    Each fold's were fitted to patients whom one network scored; a mean of several networks varies less between patients, and
    its scores are rather too timid. Empty where `folds` are of an earlier version, which calibrated images alone.
    """
    return {key: float(folds[key].mean()) for key in ("intercept", "slope")} if "slope" in folds else {}


def operating_point(thresholds: Sequence[float]) -> float:
    """The patient score above which the mean of the folds calls the subtype, from the folds' own thresholds.

    It is the probability at the mean of their logits: a patient who stands at the threshold of every fold stands at it. Each
    fold's threshold was chosen on the controls of others; what specificity their mean has is not measured.
    """
    if len(set(thresholds)) == 1:
        return float(thresholds[0])
    p = np.clip(np.asarray(thresholds, dtype=np.float64), _CERTAIN, 1 - _CERTAIN)
    return float(probabilities(np.log(p / (1 - p)).mean()))
