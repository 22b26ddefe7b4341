"""What a call is worth to those who are asked: predictive values and net benefit at a prevalence.

A cohort of cases and controls has no prevalence of its own, so every figure here is at one that the reader names. Scores are
made for as many of either class and are moved to it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.evaluation import figures, intervals
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.pooling import probabilities


@dataclass(frozen=True)
class PredictiveValues:
    """Of those called the subtype, the share that has it (`ppv`); of those who are not, the share that has it not (`npv`)."""

    prevalence: float
    ppv: Interval
    npv: Interval


@dataclass(frozen=True)
class Benefit:
    """Net benefit per patient asked of acting above a risk: of the scores, and of acting on everybody; on nobody it is 0."""

    threshold: float
    scores: Interval
    everybody: float


def predictive_values(labels: ArrayLike, called: ArrayLike, prevalence: float, confidence: float) -> PredictiveValues:
    """Bayes' rule at the measured sensitivity and specificity.

    Both values rise with both rates, and stand at the exact bounds of both, each at half the error (Bonferroni). NaN where a
    class is missing, or where nobody was called so. `labels` and `called` are `(patients,)`, 0 or 1.
    """
    sensitivity, specificity = _rates(labels, called, confidence)
    sides = [
        (_share(prevalence * se, (1 - prevalence) * (1 - sp)), _share((1 - prevalence) * sp, prevalence * (1 - se)))
        for se, sp in zip(_sides(sensitivity), _sides(specificity), strict=True)
    ]
    return PredictiveValues(prevalence, *(Interval(*values) for values in zip(*sides, strict=True)))


def decision_curve(
    labels: ArrayLike, logits: ArrayLike, prevalence: float, thresholds: Sequence[float], confidence: float
) -> list[Benefit]:
    """Net benefit (Vickers & Elkin 2006, Medical Decision Making 26:565) at each threshold of risk, 0 < threshold < 1.

    Sensitivity times prevalence, less 1 - specificity times 1 - prevalence times the odds of the threshold: false alarms are
    weighed as whoever acts at that risk weighs them. Bounds as those of `predictive_values`.

    Args:
        labels: `(patients,)`, 0 or 1.
        logits: `(patients,)`, for as many of either class.
        prevalence: to which the logits are moved by its log odds (Elkan 2001, IJCAI, theorem 2).
        thresholds: a patient whose risk lies above is acted on.
        confidence: for example .95.
    """
    risks = probabilities(np.asarray(logits, dtype=np.float64) + np.log(prevalence / (1 - prevalence)))
    curve = []
    for threshold in thresholds:
        harm = (1 - prevalence) * threshold / (1 - threshold)
        rates = _rates(labels, risks > threshold, confidence)
        sides = zip(*(_sides(rate) for rate in rates), strict=True)
        benefit = Interval(*(prevalence * se - harm * (1 - sp) for se, sp in sides))
        curve.append(Benefit(threshold, benefit, prevalence - harm))
    return curve


def _rates(labels: ArrayLike, called: ArrayLike, confidence: float) -> tuple[Interval, Interval]:
    """Sensitivity and specificity, whose bounds hold together as often as `confidence` at least."""
    y, calls = np.asarray(labels).astype(bool), np.asarray(called).astype(bool)
    each = (1 + confidence) / 2
    right = [int((calls[y == label] == label).sum()) for label in (True, False)]
    sensitivity, specificity = (
        intervals.proportion(hits, int((y == label).sum()), each) for hits, label in zip(right, (True, False), strict=True)
    )
    return sensitivity, specificity


def _sides(rate: Interval) -> list[float]:
    return [getattr(rate, side) for side in figures.SIDES]


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else float("nan")
