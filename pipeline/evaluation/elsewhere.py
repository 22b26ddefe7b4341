"""What a frozen model is worth on another hospital's patients, beside what it was at home. No file is read here.

Patients of control and subtype are rows patient, label (0, 1), score, logit, images; all in one "fold", since one model scored
them all. Home and elsewhere have no patient in common: differences are those of two samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.common.params_judging import Evaluate
from pipeline.evaluation import calibration, figures, intervals
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.pooling import probabilities

_LEAST = 1e-9  # of a score, before its logarithm


@dataclass(frozen=True)
class Calibrated:
    """Calibration in the large and in the small, at the class mix of the patients (`calibration.at_class_mix`)."""

    predicted: float  # mean score
    observed: Interval  # share of the subtype
    intercept: Interval
    slope: Interval
    ece: float
    ece_if_calibrated: Interval
    reliability: pd.DataFrame


@dataclass(frozen=True)
class Found:
    """Figures there, at home and their differences; the same at the operating point as it was registered; calibration."""

    there: dict[str, Interval]
    home: dict[str, Interval]
    difference: dict[str, Interval]
    point: float
    at_point: dict[str, Interval]
    at_point_home: dict[str, Interval]
    at_point_difference: dict[str, Interval]
    calibration: Calibrated
    calibration_home: Calibrated | None

    def told(self) -> dict[str, Any]:
        """For metrics.json: the headline figures under the keys that they have at home, and the others beside; NaN is null."""
        numbers = {key: value for key, value in vars(self.calibration).items() if key != "reliability"}
        return {
            **_as_json({key: self.there[key] for key in figures.keys(figures.HEADLINE) if key in self.there}),
            "operating_point": {"threshold": self.point, **_as_json(self.at_point)},
            "calibration": _as_json(numbers),
            "home": _as_json(self.home),
            "difference": _as_json(self.difference),
        }


def logits(scores: pd.Series) -> pd.Series:
    """Of scores of patients."""
    clipped = scores.clip(_LEAST, 1 - _LEAST)
    return pd.Series(np.log(clipped / (1 - clipped)), index=scores.index)


def measure(images: pd.DataFrame | None, patients: pd.DataFrame, settings: Evaluate, seed: int) -> dict[str, Interval]:
    """All figures that a candidate has at home, by the same code; `images` are rows fold, patient, label, logit, if any."""
    return intervals.measure(
        images, patients, threshold=settings.threshold, draws=settings.draws, seed=seed, confidence=settings.confidence
    )


def at_point(patients: pd.DataFrame, point: float, confidence: float) -> dict[str, Interval]:
    """Sensitivity and specificity at a threshold that was fixed before."""
    found = intervals.of_calls(patients["label"], patients["score"] > point, confidence)
    return {name: found[name] for name in ("sensitivity", "specificity")}


def calibrated(patients: pd.DataFrame, settings: Evaluate, seed: int) -> Calibrated:
    """Of rows label, logit."""
    mixed = calibration.at_class_mix(patients["label"], patients["logit"])
    scores = probabilities(mixed)
    intercept, slope = calibration.intercept_and_slope(patients["label"], mixed, settings.confidence)
    table = calibration.reliability(patients["label"], scores, settings.bins, settings.confidence)
    return Calibrated(
        float(scores.mean()),
        intervals.proportion(int(patients["label"].sum()), len(patients), settings.confidence),
        intercept,
        slope,
        calibration.expected_calibration_error(table),
        calibration.calibrated_error(scores, settings.bins, settings.draws, seed, settings.confidence),
        table,
    )


def difference(there: Interval, home: Interval) -> Interval:
    """By how much a figure is higher elsewhere than at home, of two samples that have nobody in common.

    From the bounds of both, by squares that are added (Newcombe 1998, Statistics in Medicine 17:873; Zou & Donner 2008, ibid.
    27:1693).
    """
    value = there.value - home.value
    low = np.hypot(there.value - there.low, home.high - home.value)
    high = np.hypot(there.high - there.value, home.value - home.low)
    return Interval(value, value - float(low), value + float(high))


def differences(there: Mapping[str, Interval], home: Mapping[str, Interval]) -> dict[str, Interval]:
    """Of the figures that both have with bounds."""
    return {
        name: difference(there[name], theirs)
        for name, theirs in home.items()
        if name in there and there[name].known and theirs.known
    }


def found(
    images: pd.DataFrame | None,
    patients: pd.DataFrame,
    tested: pd.DataFrame,
    point: float,
    home: Mapping[str, Interval],
    settings: Evaluate,
    seed: int,
) -> Found:
    """Everything there, beside the figures of `home` and those of the patients `tested` there (label, logit; out of fold)."""
    there = measure(images, patients, settings, seed)
    at_home = tested.assign(score=probabilities(tested["logit"]))
    known = tested["label"].nunique() == 2
    here, then = at_point(patients, point, settings.confidence), at_point(at_home, point, settings.confidence) if known else {}
    return Found(
        there,
        dict(home),
        differences(there, home),
        point,
        here,
        then,
        differences(here, then),
        calibrated(patients, settings, seed),
        calibrated(at_home, settings, seed) if known else None,
    )


def _as_json(values: Mapping[str, Interval | float]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Interval | float) -> Any:
    if isinstance(value, Interval):
        return {side: _plain(getattr(value, side)) for side in figures.SIDES}
    return value if np.isfinite(value) else None
