"""Draw what a smear shows where a white cell was expected: a smudged nucleus, debris.

A cell finder cuts them out like cells, of healthy donors and of patients alike (Bain, Blood Cells, 5th ed., ch. 3). Same
contract as `cells`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.demo import smear
from pipeline.demo.shapes import Plane, between, capsule, direction, ellipse, inside, noise, turned
from pipeline.demo.smear import PX_PER_UM, Colour, Stain, paint, stained

_SMUDGE_RADIUS_UM = (5.0, 8.5)
_PRECIPITATE: Colour = (0.36, 0.18, 0.50)
_PLATELET_CLUMP: Colour = (0.66, 0.52, 0.74)


def draw_smudge(stain: Stain, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`(144, 144, 3)` crop with a burst cell: chromatin spread without an outline, strands drawn out one way."""
    radius = PX_PER_UM * between(rng, _SMUDGE_RADIUS_UM)
    centre = smear.near_the_middle(rng)
    light = smear.field(stain, centre, radius, rng)
    plain_u, plain_v = _around(centre)
    bend = 0.5 * radius
    u = plain_u + bend * (2.0 * _noise(rng, 0.6 * radius) - 1.0)
    v = plain_v + bend * (2.0 * _noise(rng, 0.6 * radius) - 1.0)
    along = direction(rng)
    squeeze = between(rng, (1.0, 1.5))
    spread = inside(ellipse(u, v, (0.0, 0.0), (0.85 * radius * squeeze, 0.85 * radius / squeeze), along), 0.6 * radius)
    for _ in range(int(rng.integers(2, 6))):
        way, reach = turned(along, between(rng, (-0.3, 0.3))), radius * between(rng, (1.0, 1.7))
        strand = capsule(u, v, (0.0, 0.0), (way[0] * reach, way[1] * reach), radius * between(rng, (0.05, 0.16)))
        spread = np.maximum(spread, 0.7 * inside(strand, 5.0))
    threads = 0.45 + 0.5 * _noise(rng, 3.0) + 0.3 * _noise(rng, 9.0)
    paint(light, np.clip(between(rng, (0.6, 0.95)) * spread * threads, 0.0, 1.0), stained(stain.chromatin, stain.nucleus))
    return smear.photograph(light, stain, rng, smear.IN_FOCUS)


def draw_debris(stain: Stain, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`(144, 144, 3)` crop without a white cell: precipitated stain, or platelets that clump."""
    centre = smear.near_the_middle(rng)
    radius = PX_PER_UM * between(rng, (2.5, 5.5))
    light = smear.field(stain, centre, 0.6 * radius, rng)
    colour, size_um = (_PRECIPITATE, (0.2, 0.8)) if float(rng.random()) < 0.5 else (_PLATELET_CLUMP, (0.8, 1.5))
    u, v = _around(centre)
    cover = np.zeros_like(u)
    for _ in range(int(rng.integers(12, 40))):
        way, far = direction(rng), radius * between(rng, (0.0, 1.0))
        size = PX_PER_UM * between(rng, size_um)
        grain = ellipse(u, v, (way[0] * far, way[1] * far), (size, 0.8 * size), direction(rng))
        cover = np.maximum(cover, between(rng, (0.4, 0.9)) * inside(grain, 2.0))
    paint(light, cover * (0.6 + 0.6 * _noise(rng, 2.5)).clip(0.0, 1.0), stained(colour, stain.granules))
    return smear.photograph(light, stain, rng, smear.IN_FOCUS)


ARTEFACTS: dict[str, Callable[[Stain, np.random.Generator], NDArray[np.uint8]]] = {
    "smudge": draw_smudge,
    "debris": draw_debris,
}


def _noise(rng: np.random.Generator, grain_px: float) -> Plane:
    return noise(rng, smear.IMAGE_PX, smear.IMAGE_PX, grain_px)


def _around(centre: tuple[float, float]) -> tuple[Plane, Plane]:
    """Columns and rows in px, counted from the centre."""
    v, u = np.meshgrid(np.arange(smear.IMAGE_PX) - centre[0], np.arange(smear.IMAGE_PX) - centre[1], indexing="ij")
    return u, v
