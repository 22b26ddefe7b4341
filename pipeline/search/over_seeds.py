"""A network's figures when it was trained with several seeds: their mean, with bounds for other patients and seeds.

The bounds of image figures and of the Brier score are those of a bootstrap over patients and seeds. Shares of patients, and the
AUROC of so few, have bounds over patients alone, which don't collapse: those of one network that is as good as the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import t

from pipeline.evaluation import figures, intervals, metrics, resampling
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.resampling import Floats, Sample

_LEAST = 1e-9  # a smaller spread is none


@dataclass(frozen=True)
class Drawn:
    """One figure: its mean over the seeds, that under resampling `(draws,)`, and the patients, with the mean's pairs."""

    mean: float
    spread: Floats
    sample: Sample


def drawn(scored: Sequence[pd.DataFrame], threshold: float, draws: int, seed: int) -> dict[str, Drawn]:
    """Draw every figure that `measure` gives.

    `scored` has a table a seed: fold, patient, label, logit, a row an image, of the same patients. The patients drawn are the
    same for all networks that are asked with one `seed`. Of S seeds S - 1 are drawn, so that the spread of their mean is right.
    """
    found = {}
    rng = np.random.default_rng([seed, 1])
    chosen = rng.integers(len(scored), size=(max(len(scored) - 1, 1), draws))
    for level, names in figures.COMPARED.items():
        rows = scored if level == "image" else [metrics.patient_scores(images) for images in scored]
        samples = [resampling.summarise(table, threshold) for table in rows]
        both = replace(
            samples[0],
            in_order=np.mean([sample.in_order for sample in samples], axis=0),
            sums={name: np.mean([sample.sums[name] for sample in samples], axis=0) for name in samples[0].sums},
            if_wrong={loss: max(sample.if_wrong[loss] for sample in samples) for loss in samples[0].if_wrong},
        )
        weights = resampling.draw(samples[0], draws, seed)
        values = [resampling.figures(sample, resampling.unweighted(sample)) for sample in samples]
        spreads = [resampling.figures(sample, weights) for sample in samples]
        for name in names:
            by_seed = np.stack([spread[name] for spread in spreads])  # (seeds, draws)
            mean = float(np.mean([value[name][0] for value in values]))
            found[f"{level}_{name}"] = Drawn(mean, np.take_along_axis(by_seed, chosen, axis=0).mean(axis=0), both)
    return found


def measure(drawn: Mapping[str, Drawn], confidence: float) -> dict[str, Interval]:
    """The figures of `figures.COMPARED`, by key, with bounds."""
    return {name: _bounds(name, figure, confidence) for name, figure in drawn.items()}


def _bounds(name: str, figure: Drawn, confidence: float) -> Interval:
    of = name.split("_", 1)[1]
    match name:
        case "patient_auroc":
            return intervals.auroc(figure.sample, confidence)
        case "patient_sensitivity" | "patient_specificity":
            n = int((figure.sample.labels == int(of == "sensitivity")).sum())
            bounds = intervals.proportion(round(figure.mean * n), n, confidence)
            return Interval(figure.mean, min(bounds.low, figure.mean), max(bounds.high, figure.mean))
        case _:
            bounds = intervals.resampled(of, figure.mean, figure.spread, figure.sample, confidence)
            return Interval(bounds.value, bounds.low, min(bounds.high, 1.0))


def gains(ours: Mapping[str, Drawn], theirs: Mapping[str, Drawn], confidence: float) -> dict[str, Interval]:
    """The differences by which `ours` are higher on the same patients: Student's t with their spread over patients and seeds.

    Percentiles collapse where few patients differ. A difference without any spread is not certain either: as many patients as
    there are may yet differ, and its bounds are those of none out of so many.
    """
    found = {}
    for name, figure in ours.items():
        controls, others = (int(count) for count in np.bincount(figure.sample.labels, minlength=2))
        fewest = {"patient_specificity": controls, "patient_sensitivity": others}.get(name, min(controls, others))
        spread = float(np.nanstd(figure.spread - theirs[name].spread, ddof=1))
        reach = float(t.ppf((1 + confidence) / 2, max(fewest - 1, 1))) * spread
        if spread < _LEAST:
            reach = intervals.proportion(0, fewest, confidence).high
        gain = figure.mean - theirs[name].mean
        found[name] = Interval(gain, max(gain - reach, -1.0), min(gain + reach, 1.0))
    return found
