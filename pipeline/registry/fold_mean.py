"""A subtype's trained folds as one model. An image's score is the probability at the mean of the folds' calibrated logits; a
patient's is the probability at the mean of the images'.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.pooling import probabilities

_CERTAIN = 1e-9  # a threshold of 0 or 1 has no finite logit


def operating_point(thresholds: Sequence[float]) -> float:
    """The patient score above which the mean of the folds calls the subtype, from the folds' own thresholds.

    It is the probability at the mean of their logits: a patient who stands at the threshold of every fold stands at it. Each
    fold's threshold was chosen on its own validation patients; what specificity their mean has is not measured.
    """
    if len(set(thresholds)) == 1:
        return float(thresholds[0])
    p = np.clip(np.asarray(thresholds, dtype=np.float64), _CERTAIN, 1 - _CERTAIN)
    return float(probabilities(np.log(p / (1 - p)).mean()))
