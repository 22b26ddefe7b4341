"""One look: the newest new patients against the training cohort, and whether that is an alarm. No file is read here.

How often a look may be wrong follows from how many there are: a year's false alarms are, on average, the number of looks
times the chance of each, however much their windows overlap. So the level of a look is what params.yaml allows a year by the
looks a year.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common.params_judging import Drift
from pipeline.drift import comparison, summaries
from pipeline.drift.comparison import Floats, Found

DRIFT, SAME, FEW, NOBODY = "drift", "no drift", "too few patients", "nothing to compare with"


@dataclass(frozen=True)
class Look:
    """What was seen: `state` is one of the above; `level` is below what the chance must lie for an alarm.

    `within` is by what patients were held apart: "class", "call", or "" where they are of any class and another mix of
    classes is a difference too.
    """

    state: str
    level: float
    new: int
    known: int
    within: str
    found: Found | None
    not_seen: dict[str, str]  # views that could not be looked at, and why
    calls: dict[str, tuple[float, float]]  # share of the known and of the new patients in each class

    @property
    def alarm(self) -> bool:
        """Whether the new patients look otherwise, by more than the schedule's chance explains."""
        return self.state == DRIFT

    def in_words(self) -> str:
        """One line."""
        if self.found is None:
            return f"{self.new} new and {self.known} known patients: {self.state}"
        views = self.found.views
        farthest = min(views, key=lambda name: views[name].p_value)
        return (
            f"{self.found.new} new patients against {self.found.known} of training: {self.state}, p {self.found.p_value:.4f} "
            f"(alarm below {self.level:.4f}); farthest apart in {farthest}"
        )

    def rows(self) -> list[list[Any]]:
        """A row a view: name, distance, p alone, p among all views."""
        views = self.found.views if self.found else {}
        return [[name, f"{one.times:.2f}", f"{one.p_value:.4f}", f"{one.p_of_all:.4f}"] for name, one in views.items()]


@dataclass(frozen=True)
class Watched:
    """A look by the training cohort of a model, and where every patient stands: see `standing`."""

    look: Look
    model: str
    standing: dict[str, tuple[list[float], list[float]]]


def level(rules: Drift) -> float:
    """Below what the chance of a look must lie for an alarm."""
    return rules.false_alarms_per_year / rules.looks_per_year


def look(known: pd.DataFrame, new: pd.DataFrame, rules: Drift, seed: int) -> Look:
    """Compare the new patients, the newest last, with the known; of the new ones the last `window` alone count."""
    within, known, new = _comparable(known, new, rules)
    here, there = _strata(known, within), _strata(new, within)
    mixes = _mix(here, there) if within else {}
    old, fresh = _views(known, new, within)
    not_seen = {name: _why_not(name) for name in summaries.VIEWS if name not in old}
    nothing = Look(NOBODY, level(rules), len(new), len(known), within, None, not_seen, mixes)
    if known.empty:
        return nothing
    if len(new) < rules.fewest:
        return replace(nothing, state=FEW)
    found = comparison.compare(old, fresh, here, there, rules.permutations, seed)
    if found is None:
        return nothing
    if found.new < rules.fewest:  # the others are of classes that nobody knows
        return replace(nothing, state=FEW, new=found.new)
    state = DRIFT if found.p_value < level(rules) else FEW if found.least_p >= level(rules) else SAME
    return replace(nothing, state=state, found=found)


def standing(known: pd.DataFrame, new: pd.DataFrame, rules: Drift) -> dict[str, tuple[list[float], list[float]]]:
    """By view, how far every known and every new patient is from the known ones of the same class; 1 is their median."""
    within, known, new = _comparable(known, new, rules)
    if known.empty or new.empty:
        return {}
    old, fresh = _views(known, new, within)
    here, there = _strata(known, within), _strata(new, within)
    return {name: comparison.distances(old[name], fresh[name], here, there) for name in old}


def _comparable(known: pd.DataFrame, new: pd.DataFrame, rules: Drift) -> tuple[str, pd.DataFrame, pd.DataFrame]:
    """By what patients are held apart, and those of either group who can be."""
    new = new.tail(rules.window)
    within = next((column for column in ("class", "call") if (new[column] != "").all() and (known[column] != "").any()), "")
    return within, known[known[within] != ""] if within else known, new


def _strata(patients: pd.DataFrame, within: str) -> NDArray[np.object_]:
    return np.array([str(one) for one in patients[within]] if within else [""] * len(patients), dtype=object)


def _views(known: pd.DataFrame, new: pd.DataFrame, within: str) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """What can be looked at in both; scores only by class, since of another mix they are others."""
    old, fresh = summaries.views(known), summaries.views(new)
    seen = [name for name in old if name in fresh and old[name].shape[1] == fresh[name].shape[1]]
    seen = [name for name in seen if within or name != "scores"]
    return {name: old[name] for name in seen}, {name: fresh[name] for name in seen}


def _mix(known: NDArray[np.object_], new: NDArray[np.object_]) -> dict[str, tuple[float, float]]:
    names = sorted(set(known) | set(new))
    return {name: (_part(known == name), _part(new == name)) for name in names}


def _part(chosen: NDArray[np.bool_]) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0


def _why_not(view: str) -> str:
    return {
        "vectors": "the model makes none of a new patient's images, or the training cohort's are not kept",
        "scores": "one answer of all classes is needed, of the training patients by models that never saw them",
    }.get(view, "not known of everybody")
