"""Out-of-fold scores of patients as the gate reads them, drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd


def scores(distance: float, seed: int = 0, controls: int = 30, patients: int = 24, folds: int = 5) -> pd.DataFrame:
    """Calibrated logits; errors of all seeds are partly the same, as of networks that learned from the same images."""
    labels = np.repeat([0, 1], [controls, patients])
    common = np.random.default_rng(99).normal(size=len(labels))
    own = np.random.default_rng(seed).normal(size=len(labels))
    number = np.arange(len(labels))
    logits = distance * (0.8 * common + 0.6 * own + distance * (labels - 0.5))
    return pd.DataFrame({"patient": [f"p{n}" for n in number], "fold": number % folds, "label": labels, "logit": logits})
