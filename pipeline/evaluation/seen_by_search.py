"""What may be claimed of a network that a search found: nothing of the patients whom that search saw.

They leave the figures. Where nobody of a class would be left, the figures are still measured and shown, under names that say
what they are, and none of them is claimed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import pandas as pd

from pipeline.names import patient_names

LEAKED = "leaked_"  # before the name of every figure of patients whom the search saw

T = TypeVar("T")


def are_leaked(tested: pd.DataFrame, seen: Collection[str]) -> bool:
    """Whether the search saw all tested patients of a class; `tested` has columns patient, label."""
    left = _without(tested, seen)
    return bool(len(seen)) and set(left["label"]) != set(tested["label"])


def claimed(tested: pd.DataFrame, seen: Collection[str]) -> pd.DataFrame:
    """The rows of `tested` that figures are measured on: without the patients seen; all, where that would leave no figure."""
    if are_leaked(tested, seen):
        return tested
    return _without(tested, seen).reset_index(drop=True)


def _without(tested: pd.DataFrame, seen: Collection[str]) -> pd.DataFrame:
    return tested[[not among for among in patient_names.are_among(tested["patient"], seen)]]


def named(figures: Mapping[str, T], leaked: bool) -> dict[str, T]:
    """Figures under the names they have in metrics.json."""
    return {f"{LEAKED if leaked else ''}{name}": figure for name, figure in figures.items()}


def read(metrics: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """What metrics.json holds, under the plain names, and whether its figures are leaked."""
    leaked = any(name.startswith(LEAKED) for name in metrics)
    return {name.removeprefix(LEAKED): figure for name, figure in metrics.items()}, leaked
