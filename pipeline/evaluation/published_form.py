"""Our results in the form of the published ones: precision, recall, F1 and accuracy over images of each class.

Both tables have a row a class (control, subtype): support, and each of `figures.PUBLISHED` with bounds over other patients,
<figure>_low and <figure>_high; accuracy is the same in both rows. Patients of training and of test stay apart as they are in
the folds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.evaluation import figures, intervals, resampling
from pipeline.evaluation.resampling import Floats, Sample

CLASSES = ("control", "subtype")


def as_tested(sample: Sample, draws: int, seed: int, confidence: float) -> pd.DataFrame:
    """The table of all images that were tested, however many there are of each class."""
    found = _right_and_all(sample, resampling.unweighted(sample))
    drawn = _right_and_all(sample, resampling.draw(sample, draws, seed))
    return _table(found, drawn, sample, confidence)


def balanced_draws(sample: Sample, per_class: int, draws: int, seed: int, confidence: float) -> pd.DataFrame:
    """The table that `per_class` + `per_class` test images would show, with the spread over other images too.

    Every draw resamples the patients, then draws images of theirs with replacement.
    """
    right, all_ = _right_and_all(sample, resampling.unweighted(sample))
    drawn_right, drawn_all = _right_and_all(sample, resampling.draw(sample, draws, seed))
    rng = np.random.default_rng([seed, 1])  # other numbers than those that drew the patients
    shown = rng.binomial(per_class, np.clip(drawn_right / drawn_all, 0, 1)).astype(np.float64)
    found = per_class * right / all_, np.full_like(all_, per_class)
    return _table(found, (shown, np.full_like(drawn_all, per_class)), sample, confidence)


def _right_and_all(sample: Sample, weights: Floats) -> tuple[Floats, Floats]:
    """Images called right, and all images, of each of `CLASSES`: `(2, draws)`."""
    own = np.stack([weights * (sample.labels == label) for label in (0, 1)])
    all_, called = own @ sample.sums["rows"], own @ sample.sums["called"]
    return np.stack([all_[0] - called[0], called[1]]), all_


def _table(found: tuple[Floats, Floats], drawn: tuple[Floats, Floats], sample: Sample, confidence: float) -> pd.DataFrame:
    patients = [intervals.kish(sample.sums["rows"][sample.labels == label]) for label in (0, 1)]
    rows = []
    for number, name in enumerate(CLASSES):
        values, spreads = _of_class(*found, number), _of_class(*drawn, number)
        row: dict[str, object] = {"class": name, "support": round(float(found[1][number, 0]))}
        for figure in figures.PUBLISHED:
            own = figure == "recall"
            rests_on, rows_ = (patients[number], found[1][number, 0]) if own else (min(patients), found[1][:, 0].sum())
            bounds = intervals.bootstrap(float(values[figure][0]), spreads[figure], rests_on, confidence, rows=float(rows_))
            row |= figures.flat(figure, bounds)
        rows.append(row)
    return pd.DataFrame(rows).set_index("class")


def _of_class(right: Floats, all_: Floats, number: int) -> dict[str, Floats]:
    own, other = right[number], 1 - number
    called = own + all_[other] - right[other]
    return {
        "precision": np.divide(own, called, out=np.zeros_like(own), where=called > 0),
        "recall": own / all_[number],
        "f1": 2 * own / (all_[number] + called),
        "accuracy": right.sum(axis=0) / all_.sum(axis=0),
    }
