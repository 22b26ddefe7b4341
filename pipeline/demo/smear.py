"""What lies around a white cell, and how a picture of it comes about: staining, light, red cells, platelets, focus.

`light` is the share of red, green and blue light that the smear lets through, float64 `(3, height, width)`; every
drawing function paints over it in place. Same seed, same bytes on every machine: see `shapes` for what that rules
out. No function reads a file, a clock or a global state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.shapes import Plane, Range, Vector, between, direction, distance, ellipse, inside, noise, smooth

Colour = tuple[float, float, float]
Focus = Range  # by how many blurs over 3 x 3 px a picture misses it: least, most

IN_FOCUS: Focus = (0.0, 1.6)
OUT_OF_FOCUS: Focus = (14.0, 26.0)  # no nucleus's structure is left, its place and tone are

IMAGE_PX = 144
IMAGE_UM = 24.9
PX_PER_UM = IMAGE_PX / IMAGE_UM

_CHROMATIN_BLUE: Colour = (0.20, 0.13, 0.42)
_CHROMATIN_RED: Colour = (0.33, 0.12, 0.40)
_RED_CELL: Colour = (0.86, 0.74, 0.76)
_PLATELET: Colour = (0.62, 0.48, 0.70)
_RED_CELL_RADIUS_UM: Range = (3.1, 3.9)
_PLATELET_RADIUS_UM: Range = (0.9, 1.6)


@dataclass(frozen=True)
class Stain:
    """What all images of one patient's smear share: staining, light, thickness of the smear."""

    background: Colour
    slope: tuple[float, float]  # of the light across the field, down and to the right
    chromatin: Colour
    nucleus: float  # strengths, around 1
    cytoplasm: float
    eosin: float
    granules: float
    size: float
    red_cells: Range  # attempts to place one per image
    blurs: float = 0.0  # of the scanner, beside what the focus misses
    grain: float = 1.0  # of its sensor


def draw_stain(rng: np.random.Generator) -> Stain:
    """One patient's staining and light; the same distribution for every class."""
    warmth, brightness, redness = (float(x) for x in rng.random(3))
    level = 0.90 + 0.07 * brightness
    background = (level * (0.96 + 0.03 * warmth), level * (0.925 + 0.02 * warmth), level * (0.98 - 0.08 * warmth))
    red_cells = 10.0 + 18.0 * float(rng.random())
    return Stain(
        background=background,
        slope=(between(rng, (-0.05, 0.05)), between(rng, (-0.05, 0.05))),
        chromatin=_mix(_CHROMATIN_BLUE, _CHROMATIN_RED, redness),
        nucleus=between(rng, (0.88, 1.03)),
        cytoplasm=between(rng, (0.75, 1.25)),
        eosin=between(rng, (0.75, 1.25)),
        granules=between(rng, (0.7, 1.3)),
        size=between(rng, (0.88, 1.10)),
        red_cells=(0.3 * red_cells, 1.7 * red_cells),
    )


def field(stain: Stain, centre: Vector, radius_px: float, rng: np.random.Generator) -> Plane:
    """A `(3, 144, 144)` field of red cells and platelets with room for a cell of that radius at `centre`."""
    light = np.ones((3, IMAGE_PX, IMAGE_PX))
    _draw_red_cells(light, stain, centre, radius_px, rng)
    _draw_platelets(light, rng)
    return light


def near_the_middle(rng: np.random.Generator) -> Vector:
    """Where a crop's cell lies, row and column in px: a crop is never centred exactly."""
    return IMAGE_PX / 2 + between(rng, (-6.0, 6.0)), IMAGE_PX / 2 + between(rng, (-6.0, 6.0))


def photograph(light: Plane, stain: Stain, rng: np.random.Generator, focus: Focus) -> NDArray[np.uint8]:
    """Background colour, uneven light, focus and sensor noise: `(3, 144, 144)` light to a `(144, 144, 3)` image."""
    across = np.arange(IMAGE_PX) / IMAGE_PX - 0.5
    lamp = (1.0 + stain.slope[0] * across[:, None] + stain.slope[1] * across[None, :]) * between(rng, (0.95, 1.04))
    tints = [level * between(rng, (0.975, 1.02)) for level in stain.background]
    image = np.stack([plane * lamp * tint for plane, tint in zip(light, tints, strict=True)])
    blurs = between(rng, focus) + stain.blurs
    while blurs > 0.0:
        image = image + min(1.0, blurs) * (_blurred(image) - image)
        blurs -= 1.0
    grain = stain.grain * between(rng, (0.005, 0.016))
    image = image + grain * (2.0 * rng.random(image.shape) - 1.0)
    levels = np.rint(255.0 * np.clip(image, 0.0, 1.0)).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def _blurred(image: Plane) -> Plane:
    """Mean over 3 x 3 px of `(3, height, width)`, the border repeated; added in a fixed order."""
    wide = np.pad(image, ((0, 0), (1, 1), (0, 0)), mode="edge")
    wide = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    wide = np.pad(wide, ((0, 0), (0, 0), (1, 1)), mode="edge")
    return (wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]) / 9.0


def paint(light: Plane, cover: Plane, colour: Colour) -> None:
    """Lay `colour` over `light`, as thickly as `cover` says (0 to 1)."""
    for plane, tone in zip(light, colour, strict=True):
        plane += cover * (tone - plane)


def stained(colour: Colour, strength: float) -> Colour:
    """`colour` as a stain of that strength shows it (1: as it is)."""
    red, green, blue = (min(1.0, max(0.02, 1.0 - strength * (1.0 - x))) for x in colour)
    return red, green, blue


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (a + share * (b - a) for a, b in zip(one, other, strict=True))
    return red, green, blue


def window(middle: float, reach: float) -> tuple[int, int]:
    """First and last row (or column) in px, the last one left out, within `reach` of `middle` and the image."""
    return max(0, math.floor(middle - reach)), min(IMAGE_PX, math.ceil(middle + reach) + 1)


def _draw_red_cells(light: Plane, stain: Stain, centre: Vector, radius: float, rng: np.random.Generator) -> None:
    """Red cells with a pale middle around the white cell; they may touch it, and some lie over each other."""
    bend_u, bend_v = (5.0 * noise(rng, IMAGE_PX, IMAGE_PX, 22.0) - 2.5 for _ in range(2))
    colour = stained(_RED_CELL, stain.eosin)
    placed: list[tuple[Vector, float]] = []
    for _ in range(int(between(rng, stain.red_cells))):
        place = (between(rng, (-18.0, IMAGE_PX + 18.0)), between(rng, (-18.0, IMAGE_PX + 18.0)))
        size = PX_PER_UM * stain.size * between(rng, _RED_CELL_RADIUS_UM)
        density, pallor, stretch = between(rng, (0.7, 1.15)), between(rng, (0.35, 0.95)), between(rng, (0.88, 1.1))
        axis, may_overlap = direction(rng), float(rng.random()) < 0.2
        lies_under_white_cell = distance(place, centre) < radius + size - 2.0
        overlaps = any(distance(place, other) < 0.98 * (size + other_size) for other, other_size in placed)
        (top, bottom), (left, right) = window(place[0], 1.25 * size + 4.0), window(place[1], 1.25 * size + 4.0)
        if lies_under_white_cell or (overlaps and not may_overlap) or top >= bottom or left >= right:
            continue
        placed.append((place, size))
        v = np.arange(top, bottom)[:, None] - place[0] + bend_v[top:bottom, left:right]
        u = np.arange(left, right)[None, :] - place[1] + bend_u[top:bottom, left:right]
        edge = ellipse(u, v, (0.0, 0.0), (size * stretch, size / stretch), axis)
        middle = np.clip((edge + 0.85 * size) / (0.5 * size), 0.0, 1.0)
        cover = density * inside(edge, 2.0) * (1.0 - pallor * (1.0 - smooth(middle)))
        cover = cover * (1.0 + 0.12 * np.clip(1.0 - np.abs(edge + 2.0) / 2.0, 0.0, 1.0))
        for plane, tone in zip(light[:, top:bottom, left:right], colour, strict=True):
            plane *= 1.0 - (1.0 - tone) * cover


def _draw_platelets(light: Plane, rng: np.random.Generator) -> None:
    """None in two images of three, otherwise one or two."""
    for _ in range(max(0, int(rng.integers(-3, 3)))):
        row, column = between(rng, (0.0, IMAGE_PX)), between(rng, (0.0, IMAGE_PX))
        size = PX_PER_UM * between(rng, _PLATELET_RADIUS_UM)
        (top, bottom), (left, right) = window(row, size + 4.0), window(column, size + 4.0)
        v = np.arange(top, bottom, dtype=np.float64)[:, None] - row
        u = np.arange(left, right)[None, :] - column + 3.0 * noise(rng, bottom - top, right - left, 8.0) - 1.5
        edge = ellipse(u, v, (0.0, 0.0), (size, 0.8 * size), direction(rng))
        spots = 0.5 + 0.7 * noise(rng, bottom - top, right - left, 2.5)
        paint(light[:, top:bottom, left:right], np.clip(inside(edge, 3.0) * spots, 0.0, 1.0), _PLATELET)
