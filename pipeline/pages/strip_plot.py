"""Where the points of a strip plot stand: every test patient by score, none behind another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

_POINT_WIDTH = 0.03  # of a point, as a share of the axis on a phone
_MOST_LANES = 5  # above and below the middle of a row; points beyond overlap


def points(patients: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `patients` (patient, score ...) by rising score, each with the lane of its point."""
    rows = patients.sort_values(["score", "patient"])
    placed = rows.assign(lane=lanes(rows["score"].tolist())).to_dict("records")
    return [{str(column): value for column, value in row.items()} for row in placed]


def lanes(scores: Sequence[float]) -> list[int]:
    """How many lanes above or (negative) below the middle each of the ascending scores is drawn, so that none hides."""
    order = sorted(range(-_MOST_LANES, _MOST_LANES + 1), key=lambda lane: (abs(lane), -lane))
    free_from = dict.fromkeys(order, -math.inf)
    chosen = []
    for score in scores:
        lane = next((lane for lane in order if free_from[lane] <= score), min(order, key=free_from.__getitem__))
        free_from[lane] = score + _POINT_WIDTH
        chosen.append(lane)
    return chosen
