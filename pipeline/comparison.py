"""Our results in the form of the published ones: precision, recall, F1 and accuracy of as many images of each class."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline import resampling
from pipeline.resampling import Floats, Sample

FIGURES = ("precision", "recall", "f1", "accuracy")


def balanced_draws(sample: Sample, per_class: int, draws: int, seed: int, confidence: float) -> pd.DataFrame:
    """What `per_class` + `per_class` test images would show, with the spread over other patients and other images.

    Every draw resamples the patients, then draws images of theirs with replacement. Patients of training and of test stay
    apart as they are in the folds. Returns a row a class (control, subtype): support, and each of `FIGURES` with its
    percentile bounds, <figure>_low and <figure>_high; accuracy is the same in both rows.
    """
    right = {}
    weights = resampling.draw(sample, draws, seed)
    rng = np.random.default_rng(seed)
    value, drawn = (resampling.figures(sample, w) for w in (resampling.unweighted(sample), weights))
    for figure in ("sensitivity", "specificity"):
        shown = rng.binomial(per_class, np.clip(drawn[figure], 0, 1)) / per_class
        right[figure] = value[figure], shown
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    rows = []
    for name, own, other in (("control", "specificity", "sensitivity"), ("subtype", "sensitivity", "specificity")):
        points = _of_class(right[own][0], right[other][0])
        spreads = _of_class(right[own][1], right[other][1])
        row: dict[str, object] = {"class": name, "support": per_class}
        for figure in FIGURES:
            low, high = np.quantile(spreads[figure], tails)
            row |= {figure: float(points[figure][0]), f"{figure}_low": float(low), f"{figure}_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows).set_index("class")


def _of_class(own: Floats, other: Floats) -> dict[str, Floats]:
    """Of a class of which the share `own` is called right, beside another of the same size."""
    called = own + 1 - other
    precision = np.divide(own, called, out=np.zeros_like(own), where=called > 0)
    below = precision + own
    f1 = np.divide(2 * precision * own, below, out=np.zeros_like(own), where=below > 0)
    return {"precision": precision, "recall": own, "f1": f1, "accuracy": (own + other) / 2}
