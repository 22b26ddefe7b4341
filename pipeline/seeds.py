"""A network's figures when it was trained with several seeds: their mean, with bounds for other patients and seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline import intervals, metrics, resampling
from pipeline.intervals import Interval
from pipeline.resampling import Floats

FIGURES = (
    ("image", "accuracy"),
    ("image", "auroc"),
    ("patient", "auroc"),
    ("patient", "brier"),
    ("patient", "sensitivity"),
    ("patient", "specificity"),
)
_LOSSES = ("brier", "log_loss")


def drawn(scored: Sequence[pd.DataFrame], threshold: float, draws: int, seed: int) -> dict[str, tuple[float, Floats, int]]:
    """Of each figure the mean over seeds, its values `(draws,)` under resampling, and the patients of the smaller class.

    `scored` has a table a seed: fold, patient, label, logit, a row an image, of the same patients. The patients drawn are the
    same for all networks that are asked with one `seed`; of S seeds S - 1 are drawn, so that the spread of their mean is right.
    """
    found = {}
    rng = np.random.default_rng([seed, 1])
    chosen = rng.integers(len(scored), size=(draws, max(len(scored) - 1, 1)))
    for level in ("image", "patient"):
        samples = [
            resampling.summarise(images if level == "image" else metrics.patient_scores(images), threshold) for images in scored
        ]
        weights = resampling.draw(samples[0], draws, seed)
        values = [resampling.figures(sample, resampling.unweighted(sample)) for sample in samples]
        spreads = [resampling.figures(sample, weights) for sample in samples]
        fewest = min(int((samples[0].labels == label).sum()) for label in (0, 1))
        for name in (figure for of, figure in FIGURES if of == level):
            by_seed = np.stack([spread[name] for spread in spreads])  # (seeds, draws)
            mean = np.take_along_axis(by_seed, chosen.T, axis=0).mean(axis=0)
            found[f"{level}_{name}"] = (float(np.mean([value[name][0] for value in values])), mean, fewest)
    return found


def measure(of: dict[str, tuple[float, Floats, int]], confidence: float) -> dict[str, Interval]:
    """What `drawn` gave, with bounds."""
    return {
        name: intervals.bootstrap(value, spread, fewest, confidence, share=name.split("_")[1] not in _LOSSES)
        for name, (value, spread, fewest) in of.items()
    }


def gains(
    ours: dict[str, tuple[float, Floats, int]], theirs: dict[str, tuple[float, Floats, int]], confidence: float
) -> dict[str, Interval]:
    """By how much `ours` are higher on the same patients, with percentile bounds."""
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    found = {}
    for name, (value, spread, _) in ours.items():
        other, other_spread, _ = theirs[name]
        low, high = np.nanquantile(spread - other_spread, tails)
        found[name] = Interval(value - other, float(low), float(high))
    return found
