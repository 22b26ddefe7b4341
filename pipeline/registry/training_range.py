"""What the images behind a model look like in numbers, so that images unlike them can be told.

A reference travels with its model: the number of images, their sides in px, and of each of `manifest.NUMBERS` (mean and
deviation of R, G, B, and sharpness) the range that holds all but one image in a thousand at either end. Within the range an
image may still be unlike them in every other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import pandas as pd

from pipeline.images import manifest

Reference: TypeAlias = dict[str, Any]

_RARE = 0.001
_DECIMALS = 2
_NAMES = {
    **{f"mean_{letter}": colour for letter, colour in zip("rgb", ("red", "green", "blue"), strict=True)},
    **{f"std_{letter}": f"deviation of {colour}" for letter, colour in zip("rgb", ("red", "green", "blue"), strict=True)},
    "sharpness": "sharpness",
}


def of(images: pd.DataFrame) -> Reference:
    """The reference of a manifest's usable images."""
    ranges = images[list(manifest.NUMBERS)].quantile([_RARE, 1 - _RARE])
    return {
        "images": len(images),
        "px": sorted({int(side) for side in images["width"]}),
        **{name: [round(float(value), _DECIMALS) for value in ranges[name]] for name in manifest.NUMBERS},
    }


def words(name: str) -> str:
    """One of `manifest.NUMBERS` in words."""
    return _NAMES[name]


def differences(side_px: int, numbers: Mapping[str, float], reference: Reference) -> list[str]:
    """The ways in which an image is unlike those of the reference, in words; empty if there is none."""
    sides = reference["px"]
    found = [] if side_px in sides else [f"{side_px} px instead of {' or '.join(map(str, sides))}"]
    for name, words in _NAMES.items():
        low, high = reference[name]
        value = round(numbers[name], _DECIMALS)
        if not low <= value <= high:
            found.append(f"{words} {value:g}, not {low:g} to {high:g}")
    return found
