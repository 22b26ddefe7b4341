"""The learning curve: what each way of learning reaches with so many patients, and whether transfer helped or harmed.

Scores have a row a tested patient: way, size, fold, patient, label, logit. A comparison is over the same patients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation import intervals
from pipeline.evaluation.figures import Interval

WAYS = {
    "scratch": "from scratch",
    "general": "on general vectors",
    "own": "on vectors of the other subtypes' networks",
    "general_all": "on general vectors, with all other controls too",
}
_COMPARED = (("own", "scratch"), ("own", "general"), ("general", "scratch"))


@dataclass(frozen=True)
class Comparison:
    """By how much one way's patient AUROC is above another's with `size` patients of the subtype, and that in a word."""

    way: str
    other: str
    size: int
    gain: Interval
    verdict: str


def reached(scores: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """A row a way and size: way, size, controls, patients, patient_auroc, low, high; pairs within a fold."""
    rows = []
    for (way, size), own in scores.groupby(["way", "size"], sort=False):
        found = intervals.patient_auroc(own, confidence)
        counts = own["label"].value_counts()
        rows.append((way, size, int(counts.get(0, 0)), int(counts.get(1, 0)), found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["way", "size", "controls", "patients", "patient_auroc", "low", "high"])


def comparisons(scores: pd.DataFrame, confidence: float) -> list[Comparison]:
    """Each pair of ways that were both tried, at every size."""
    tables = {(str(way), int(str(size))): own for (way, size), own in scores.groupby(["way", "size"], sort=False)}
    found = []
    for way, other in _COMPARED:
        for size in sorted({size for tried, size in tables if tried == way}):
            if (other, size) in tables:
                gain = intervals.gain(tables[way, size], tables[other, size], confidence)
                found.append(Comparison(way, other, size, gain, verdict(gain, other)))
    return found


def verdict(gain: Interval, other: str) -> str:
    """A gain in words; what was learned elsewhere and does worse than nothing learned elsewhere is negative transfer."""
    if gain.high < 0:
        return "negative transfer" if other == "scratch" else "worse"
    if gain.low > 0:
        return "transfer helps" if other == "scratch" else "better"
    return "not told apart"


def shown(table: pd.DataFrame, size: int, ways: Iterable[str]) -> dict[str, Any]:
    """A line of the table: the number of patients who learned, and what each way reaches."""
    own = table[table["size"] == size].set_index("way")
    return {"size": size, "figures": [Interval(*own.loc[way, ["patient_auroc", "low", "high"]]) for way in ways]}


def metrics(table: pd.DataFrame) -> list[tuple[str, float, int]]:
    """For MLflow: name, value, and the number of patients who learned in place of a step."""
    rows = zip(table["way"], table["patient_auroc"], table["size"], strict=True)
    return [(f"patient_auroc_{way}", float(value), int(size)) for way, value, size in rows]
