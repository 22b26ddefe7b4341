"""Scored cohorts of invented patients: how far apart the classes are is known."""

from __future__ import annotations

import numpy as np
import pandas as pd


def scored(
    controls: int, others: int, *, images: int = 6, folds: int = 1, apart: float = 1.5, seed: int = 0, ties: bool = False
) -> pd.DataFrame:
    """Columns fold, patient, label, path, logit; images of a patient are alike, and some patients have more than others."""
    rng = np.random.default_rng(seed)
    parts = []
    for label, count in ((0, controls), (1, others)):
        for number in range(count):
            n = int(rng.integers(1, 2 * images))
            logits = rng.normal(apart * (label - 0.5), 1) + rng.normal(0, 1, n)
            patient = f"{'CS'[label]}{number:03}"
            parts.append(
                pd.DataFrame(
                    {
                        "fold": number % folds,
                        "patient": patient,
                        "label": label,
                        "path": [f"{patient}/{i}" for i in range(n)],
                        "logit": np.round(logits, 1) if ties else logits,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)
