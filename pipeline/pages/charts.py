"""Curves of a result as points of an SVG, in a square of `SIDE` with x from the left and y from above. No file is read here.

The page draws them itself, so that they have its colours, by day and by night, and its size of text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from pipeline.evaluation import calibration
from pipeline.evaluation.pooling import probabilities

SIDE = 200


def curves(bands: pd.DataFrame, curve: str) -> dict[str, dict[str, str]]:
    """The line of each level and the band around it, of `bands.csv`; `curve` is roc or pr."""
    found = {}
    for level, rows in bands.dropna().groupby("level", sort=False):
        edge = pd.concat([rows[["at", f"{curve}_low"]].set_axis(["x", "y"], axis=1), _turned(rows, f"{curve}_high")])
        found[str(level)] = {
            "line": _points(zip(rows["at"], rows[curve], strict=True)),
            "band": _points(zip(edge["x"], edge["y"], strict=True)),
        }
    return found


def diagonal() -> str:
    """Where a rate grows as the other does."""
    return _points([(0, 0), (1, 1)])


def flat(share: float) -> str:
    """Where a rate is the same at every point."""
    return _points([(0, share), (1, share)])


def reliability(table: pd.DataFrame, patients: pd.DataFrame) -> dict[str, Any]:
    """The bins of `reliability.csv`, and where the score of every patient of either class lies, at their class mix."""
    scores = probabilities(calibration.at_class_mix(patients["label"], patients["logit"]))
    bins = [
        {"n": int(row["n"]), "x": _x(row["mean_score"]), **{side: _y(row[side]) for side in ("share", "low", "high")}}
        for row in table.to_dict("records")
    ]
    return {"bins": bins, "ticks": {label: [_x(score) for score in scores[patients["label"] == label]] for label in (0, 1)}}


def losses(history: pd.DataFrame) -> dict[str, Any]:
    """The lines of every fold's training, with the kept epoch; `history` counts epochs from 1."""
    last, highest = int(history["epoch"].max()), float(history[["loss", "val_loss"]].to_numpy().max())
    across, up = max(last - 1, 1), highest or 1.0

    def line(rows: pd.DataFrame, column: str) -> str:
        return _points(zip((rows["epoch"] - 1) / across, rows[column] / up, strict=True))

    folds = []
    for _, rows in history.groupby("fold"):
        kept = rows[rows["kept"] == 1].iloc[0]
        point = {"x": _x((kept["epoch"] - 1) / across), "y": _y(kept["val_loss"] / up)}
        folds.append({"training": line(rows, "loss"), "validation": line(rows, "val_loss"), "kept": point})
    return {"last": last, "highest": highest, "folds": folds}


def by_number(table: pd.DataFrame, line: str, across: str, up: str, colours: Mapping[str, str]) -> dict[str, Any]:
    """A line for each value of the column `line`: `up` by rising `across`, whose steps are drawn equally wide; not from 0."""
    steps, least, most = sorted(set(table[across])), float(table[up].min()), float(table[up].max())
    low = max(least - (most - least or 0.1) / 2, 0.0)
    reach = most + (most - least or 0.1) / 2 - low
    at = {step: number / max(len(steps) - 1, 1) for number, step in enumerate(steps)}
    lines = []
    for name, rows in table.groupby(line, sort=False):
        places = [(at[step], (value - low) / reach) for step, value in zip(rows[across], rows[up], strict=True)]
        drawn = [{"x": _x(x), "y": _y(y)} for x, y in places]
        lines.append({"name": name, "colour": colours[str(name)], "points": _points(places), "places": drawn})
    ticks = [{"y": _y(share), "text": f"{low + share * reach:.2f}"} for share in (0, 0.5, 1)]
    return {"lines": lines, "across": [{"x": _x(at[step]), "text": f"{step}"} for step in steps], "up": ticks}


def _turned(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    return rows[["at", column]].set_axis(["x", "y"], axis=1).iloc[::-1]


def _points(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_x(x)},{_y(y)}" for x, y in places)


def _x(share: float) -> str:
    return f"{SIDE * share:.1f}"


def _y(share: float) -> str:
    return f"{SIDE * (1 - share):.1f}"
