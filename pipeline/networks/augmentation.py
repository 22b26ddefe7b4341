"""Changes to training images that do not change what the cell is.

All functions take and return uint8 `(batch, px, px, 3)` and never touch the pixels they were given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.common.params_learning import Augment

Pixels = NDArray[np.uint8]
Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True)
class Changes:
    """How each of n images is changed: `orient`'s turns and flips, each `(n,)`, and `restain`'s factors `(n, 3)`."""

    quarters: NDArray[np.int64]
    up_down: NDArray[np.int64]
    left_right: NDArray[np.int64]
    strength: NDArray[np.float64]


def augment(images: Pixels, settings: Augment, rng: np.random.Generator) -> Pixels:
    """Flip, turn and re-stain every image on its own."""
    changes = draw(len(images), settings, rng)
    images = orient(images, changes.quarters, changes.up_down, changes.left_right)
    return restain(images, changes.strength) if settings.stain_jitter else images


def draw(n: int, settings: Augment, rng: np.random.Generator) -> Changes:
    """Changes of n images; what is not switched on leaves every pixel as it is."""
    quarters = rng.integers(4, size=n) if settings.quarter_turns else np.zeros(n, dtype=np.int64)
    up_down, left_right = rng.integers(2, size=(2, n)) if settings.flips else np.zeros((2, n), dtype=np.int64)
    span = settings.stain_jitter
    strength = rng.uniform(1 - span, 1 + span, size=(n, 3)) if span else np.ones((n, 3))
    return Changes(quarters, up_down, left_right, strength)


def orient(
    images: NDArray[Pixel], quarters: NDArray[np.int64], up_down: NDArray[np.int64], left_right: NDArray[np.int64]
) -> NDArray[Pixel]:
    """Rotate image i by `quarters[i]` quarter turns, then mirror it along the axes whose flag is 1: one copy in all."""
    oriented = np.empty_like(images)
    for target, image, quarter, upside, sideways in zip(oriented, images, quarters, up_down, left_right, strict=True):
        target[:] = np.rot90(image, quarter)[:: -1 if upside else 1, :: -1 if sideways else 1]
    return oriented


def restain(images: Pixels, strength: NDArray[np.float64]) -> Pixels:
    """Scale the absorption of each colour channel by `strength` `(batch, 3)`; unstained (white) stays white.

    Absorption is taken as linear in the distance from white, which is close enough for a few per cent.
    """
    absorbed = (255 - images) * strength[:, None, None, :].astype(np.float32)
    np.minimum(absorbed, 255, out=absorbed)
    return np.subtract(255.5, absorbed, out=absorbed).astype(np.uint8)
