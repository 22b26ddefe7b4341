"""Published results on this cohort with the dealing of patients behind them, to stand beside ours over the same patients.

A protocol is found by the name of its file, data/protocols/<name>.csv: what is published beside a dealing is quoted only where
that dealing is used. Figures are of patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Figure:
    """A published figure: in words, as a number, with the spread that is published beside it.

    `ours`: the subtype and the name of our figure of patients that comes next to it; no subtype: the call among all classes.
    """

    words: str
    value: float
    ours: tuple[str, str]
    spread: float | None = None


@dataclass(frozen=True)
class Protocol:
    """Who published what, by which dealing; `tested`: test patients of each class, where they are one fixed set."""

    title: str
    source: str
    dealing: str
    figures: tuple[Figure, ...]
    tested: Mapping[str, int] = field(default_factory=dict)


_ALL = ("", "balanced_accuracy")
PROTOCOLS = {
    "scemila": Protocol(
        "SCEMILA",
        "Hehr et al. 2023, data: doi 10.7937/6PPE-4020",
        "five folds, patients apart; five classes told apart at once",
        (Figure("F1 of APL (PML::RARA)", 0.86, ("PML_RARA", "f1"), spread=0.05),),
    ),
    "genbloom": Protocol(
        "GenBloom",
        "2026",
        "43 fixed test patients; five classes told apart at once",
        (
            Figure("Balanced accuracy of five classes", 0.83, _ALL),
            Figure("The same, mean of DinoBloom's vectors", 0.78, _ALL),
            Figure("The same, 5 nearest neighbours", 0.77, _ALL),
        ),
        {"control": 13, "CBFB_MYH11": 9, "NPM1": 8, "RUNX1_RUNX1T1": 7, "PML_RARA": 6},
    ),
}


def half_width(share: float, patients: int, confidence: float) -> float:
    """How far an interval about a share of so many patients reaches to either side (normal approximation)."""
    z = float(stats.norm.ppf((1 + confidence) / 2))
    return z * float(np.sqrt(share * (1 - share) / patients))
