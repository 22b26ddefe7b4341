"""What an explanation must pass before it is shown. The bars stand here, the same for every candidate, and were set beforehand.

Figures are means over patients, of each the mean of his or her cells; bounds are Student's t over patients, and it is a bound
that must pass the bar, so that few patients fail for want of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.figures import Interval
from pipeline.explanation import deletion
from pipeline.explanation.maps import Map

DEAD = 0.5  # rank correlation below which a map no longer says the same: a quarter of the ranks' variance


@dataclass(frozen=True)
class Check:
    """A question, its figure over so many patients, and whether that passes."""

    key: str
    question: str
    figure: Interval
    patients: int
    passed: bool
    words: str


def cells(areas: Sequence[float], way: str, confidence: float) -> Check:
    """Of an order of a patient's cells: does taking them away in it lower the score faster than at random?"""
    figure = deletion.over_patients(areas, confidence)
    question = f"Does the score fall faster when cells go {way} than when they go at random?"
    return _above_zero("deletion", question, figure, len(areas), "logits lower, on average over the steps")


def pixels(maps: Sequence[Map], confidence: float) -> list[Check]:
    """Of maps: all four questions, of which two can be asked on the demo alone."""
    table = pd.DataFrame([vars(one) for one in maps])
    table["last"] = [list(one.likeness.values())[-1] if one.likeness else float("nan") for one in maps]
    found = [_dies(table, confidence)]
    found.append(
        _above_zero(
            "deletion",
            "Does the score fall faster when the pixels they mark go first than pixels at random?",
            *_over(table, lambda t: t["area"], confidence),
            "logits lower, on average over the steps",
        )
    )
    if table["mass"].notna().any():
        found.append(
            _above_zero(
                "in the cell",
                "Do they lie in the cell rather than in the background?",
                *_over(table, lambda t: t["mass"] - t["size"], confidence),
                "of the map's mass more in the cell than its share of the image",
                percent=True,
            )
        )
    if table["hit"].notna().any():
        found.append(
            _above_zero(
                "pointing game",
                "Do they point at the planted Auer rods, cups and granules more often than at the rest of the cell?",
                *_over(table, lambda t: t["hit"] - t["chance"], confidence),
                "more hits than a point drawn in the cell",
                percent=True,
            )
        )
    return found


def _dies(table: pd.DataFrame, confidence: float) -> Check:
    figure, patients = _over(table, lambda t: t["last"], confidence)
    passed = bool(figure.high < DEAD)
    return Check(
        "layers made random",
        "Is nothing of the maps left when the layers are made random, from the last to the first (Adebayo et al. 2018)?",
        figure,
        patients,
        passed,
        f"rank correlation with the map {figure.value:.2f}{_bounds(figure, 2)}; must lie below {DEAD:g}",
    )


def _over(table: pd.DataFrame, of: Callable[[pd.DataFrame], pd.Series], confidence: float) -> tuple[Interval, int]:
    values = of(table).astype("float64").groupby(table["patient"]).mean().dropna()
    return deletion.over_patients(values.tolist(), confidence), len(values)


def _above_zero(key: str, question: str, figure: Interval, patients: int, what: str, percent: bool = False) -> Check:
    shown = Interval(*(100 * value for value in (figure.value, figure.low, figure.high))) if percent else figure
    decimals, unit = (1, " %") if percent else (2, "")
    words = f"{shown.value:.{decimals}f}{unit}{_bounds(shown, decimals)} {what}; must lie above 0"
    return Check(key, question, figure, patients, bool(figure.low > 0), words)


def _bounds(figure: Interval, decimals: int) -> str:
    if math.isnan(figure.low):
        return " (too few patients to bound it)"
    return f" ({figure.low:.{decimals}f} to {figure.high:.{decimals}f})"
