"""The figures by which a result is judged: their names, their words, their intervals, and how these are written.

A figure of a level has the key <level>_<name> (image_accuracy, patient_auroc), in metrics.json and wherever figures are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LEVELS = ("image", "patient")
SIDES = ("value", "low", "high")


@dataclass(frozen=True)
class Figure:
    """A figure of merit in words: `words` after its level, `title` alone on a line of a table.

    `share`: it lies between 0 and 1, and more is better. `loss`: it lies above 0, and less is better.
    """

    words: str
    alone: str = ""  # where these are not the words to stand alone
    share: bool = True
    loss: bool = False

    @property
    def title(self) -> str:
        """The words for the head of a line, with a capital letter."""
        text = self.alone or self.words
        return text[:1].upper() + text[1:]


# In the order in which a page shows them: the losses last.
ALL = {
    "auroc": Figure("AUROC", "AUROC, within folds"),
    "auroc_pooled": Figure("AUROC of all folds", "AUROC, all folds pooled"),
    "auprc": Figure("AUPRC", "Average precision (AUPRC)"),
    "accuracy": Figure("accuracy"),
    "sensitivity": Figure("sensitivity"),
    "specificity": Figure("specificity"),
    "balanced_accuracy": Figure("balanced accuracy"),
    "f1": Figure("F1"),
    "mcc": Figure("Matthews correlation", share=False),
    "brier": Figure("Brier score", share=False, loss=True),
    "log_loss": Figure("log loss", share=False, loss=True),
}
# What metrics.json has of each level; figures.csv has all.
HEADLINE = {
    "image": ("accuracy", "auroc", "sensitivity", "specificity"),
    "patient": ("auroc", "auprc", "sensitivity", "specificity", "brier"),
}
# What a search compares its finalists by.
COMPARED = {
    "image": ("accuracy", "auroc"),
    "patient": ("auroc", "brier", "sensitivity", "specificity"),
}
# Of images, in the form of the published results: those of a class, and the one that both classes share.
OF_A_CLASS = ("precision", "recall", "f1")
PUBLISHED = (*OF_A_CLASS, "accuracy")


@dataclass(frozen=True)
class Interval:
    """A figure and its bounds; NaN where they cannot be told.

    In a format string the specification is that of each number: `f"{interval:.3f}"` is "0.900 (0.850 to 0.950)".
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} ({self.bounds(spec)})"

    @property
    def known(self) -> bool:
        """Whether both bounds can be told."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def bounds(self, spec: str) -> str:
        """The bounds alone, in words: "0.850 to 0.950"."""
        return f"{self.low:{spec}} to {self.high:{spec}}"


def keys(by_level: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The keys of the figures of `HEADLINE` or `COMPARED`."""
    return [f"{level}_{name}" for level, names in by_level.items() for name in names]


def words(key: str, *, direction: bool = False) -> str:
    """A key in words: "image accuracy", "patient AUROC"; with `direction` a loss says that lower is better."""
    level, name = key.split("_", 1)
    return f"{level} {ALL[name].words}{' (lower is better)' if direction and ALL[name].loss else ''}"


def flat(name: str, interval: Interval) -> Iterator[tuple[str, float]]:
    """A figure and its bounds as three numbers under names of their own: <name>, <name>_low, <name>_high."""
    yield name, interval.value
    yield f"{name}_low", interval.low
    yield f"{name}_high", interval.high


def unflat(row: Mapping[Any, Any], name: str) -> Interval:
    """The figure that `flat` took apart, out of a row that holds its three numbers among others."""
    return Interval(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))
