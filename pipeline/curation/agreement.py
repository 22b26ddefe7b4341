"""How far two reviewers agree beyond chance, over the images that both decided about."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t
from sklearn.metrics import cohen_kappa_score

from pipeline.curation import review
from pipeline.evaluation import intervals
from pipeline.evaluation.figures import Interval
from pipeline.names import image_paths

_LEAST = 1e-9  # a smaller spread is none


@dataclass(frozen=True)
class Agreement:
    """Two reviewers, the images and patients both looked at, how many images they decided alike, and Cohen's kappa."""

    reviewers: tuple[str, str]
    images: int
    patients: int
    alike: int
    kappa: Interval

    @property
    def shown(self) -> str:
        """Kappa and its bounds, or which of them cannot be told."""
        if math.isnan(self.kappa.value):
            return "cannot be told: both always said one and the same"
        return f"{self.kappa:.2f}" if self.kappa.known else f"{self.kappa.value:.2f}, without bounds: too few patients"


def of_all(decisions: Mapping[str, Mapping[str, str]], confidence: float) -> list[Agreement]:
    """Every two reviewers who have an image in common; `decisions` as `review.latest` has them."""
    found = []
    for first, second in itertools.combinations(review.counts(decisions), 2):
        both = {path: (own[first], own[second]) for path, own in decisions.items() if first in own and second in own}
        if both:
            found.append(_of_two((first, second), both, confidence))
    return found


def _of_two(reviewers: tuple[str, str], both: Mapping[str, tuple[str, str]], confidence: float) -> Agreement:
    patients = np.array([image_paths.place(path)[1] for path in both])
    said = np.array(list(both.values()))
    alike, names = said[:, 0] == said[:, 1], np.unique(patients)
    kappa = interval(_kappa(said), [_kappa(said[patients != name]) for name in names], confidence)
    if alike.all() and not math.isnan(kappa.value):  # no spread over patients, and yet not certain
        chance, least = _chance(said), intervals.all_right(len(names), confidence)
        kappa = Interval(1.0, max(-1.0, (least - chance) / (1 - chance)), 1.0)
    return Agreement(reviewers, len(both), len(names), int(alike.sum()), kappa)


def interval(value: float, without_one: list[float], confidence: float) -> Interval:
    """Bounds by the jackknife over patients and Student's t: images of one patient are decided alike more often than others.

    NaN with one patient, where a patient's absence leaves no kappa, and where it changes none, as of few who are alike.
    """
    n = len(without_one)
    pseudo = n * value - (n - 1) * np.array(without_one)
    if n < 2 or not np.isfinite(pseudo).all() or (spread := float(pseudo.std(ddof=1))) < _LEAST:
        return Interval(value, float("nan"), float("nan"))
    reach = float(t.ppf((1 + confidence) / 2, n - 1)) * spread / math.sqrt(n)
    return Interval(value, max(-1.0, value - reach), min(1.0, value + reach))


def _kappa(said: np.ndarray) -> float:
    """Cohen (1960, Educational and Psychological Measurement 20:37); NaN where both always say one same thing."""
    if not len(said) or len(np.unique(said)) < 2:
        return float("nan")
    return float(cohen_kappa_score(said[:, 0], said[:, 1]))


def _chance(said: np.ndarray) -> float:
    """How often two agree who say each thing as often as these do, and do not look."""
    return float(sum((said[:, 0] == name).mean() * (said[:, 1] == name).mean() for name in np.unique(said)))
