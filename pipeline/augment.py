"""Changes to training images that do not change what the cell is.

All functions take and return uint8 `(batch, px, px, 3)` and never touch the pixels they were given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Augment

Pixels = NDArray[np.uint8]


def augment(images: Pixels, settings: Augment, rng: np.random.Generator) -> Pixels:
    """Flip, turn and re-stain every image on its own."""
    if settings.quarter_turns:
        images = turn(images, rng.integers(4, size=len(images)))
    if settings.flips:
        images = flip(images, rng.integers(2, size=len(images)), rng.integers(2, size=len(images)))
    if settings.stain_jitter:
        span = settings.stain_jitter
        images = restain(images, rng.uniform(1 - span, 1 + span, size=(len(images), 3)))
    return images


def turn(images: Pixels, quarters: NDArray[np.int64]) -> Pixels:
    """Rotate image i by `quarters[i]` quarter turns."""
    turned = images.copy()
    for quarter in (1, 2, 3):
        chosen = quarters == quarter
        turned[chosen] = np.rot90(images[chosen], quarter, axes=(1, 2))
    return turned


def flip(images: Pixels, up_down: NDArray[np.int64], left_right: NDArray[np.int64]) -> Pixels:
    """Mirror image i along the axes whose flag is 1."""
    flipped = images.copy()
    flipped[up_down == 1] = flipped[up_down == 1, ::-1]
    flipped[left_right == 1] = flipped[left_right == 1, :, ::-1]
    return flipped


def restain(images: Pixels, strength: NDArray[np.float64]) -> Pixels:
    """Scale the absorption of each colour channel by `strength` `(batch, 3)`; unstained (white) stays white.

    Absorption is taken as linear in the distance from white, which is close enough for a few per cent.
    """
    absorbed = (255 - images).astype(np.float32) * strength[:, None, None, :].astype(np.float32)
    return (255.5 - np.minimum(absorbed, 255)).astype(np.uint8)
