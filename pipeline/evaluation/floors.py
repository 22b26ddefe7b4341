"""What a result must reach before a model of it may become champion: judged here, for the gate and for the page alike."""

from __future__ import annotations

import math
from collections.abc import Mapping


def missed(reached: Mapping[str, float], floors: Mapping[str, float]) -> list[str]:
    """A sentence for every floor that is not reached; of a figure that is not among `reached` nothing is claimed."""
    return [
        f"{key} {reached[key]:.3f} is below the floor {floor:.3f}"
        if key in reached
        else f"{key} is not claimed, because the search for this network saw its test patients"
        for key, floor in floors.items()
        if not reached.get(key, math.nan) >= floor  # also when it is not a number
    ]
