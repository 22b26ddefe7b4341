"""Draw one synthetic white blood cell as a May-Gruenwald-Giemsa stained smear shows it.

`light` is as in `smear`: drawing functions paint over it in place. Same seed, same bytes on every machine: see `shapes`
for what that rules out. No function reads a file, a clock or a global state.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.demo import smear
from pipeline.demo.cell_types import CellType, Granules, Nucleus
from pipeline.demo.shapes import Plane, Vector, between, capsule, direction, ellipse, inside, join, noise, smooth, turned
from pipeline.demo.smear import PX_PER_UM, Colour, Stain, paint, stained, window

_OPEN_CHROMATIN: Colour = (0.86, 0.58, 0.76)
_AUER_ROD: Colour = (0.58, 0.16, 0.42)
_SEEN = 0.4  # coverage from which a mark is there for the eye

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """Where a drawn cell lies, and within it the marks of its type: granules, Auer rods, the cup of its nucleus.

    Masks `(144, 144)`, of the drawing before the picture was taken.
    """

    body: Mask
    marks: Mask


def draw_cell(kind: CellType, stain: Stain, rng: np.random.Generator, focus: smear.Focus) -> tuple[NDArray[np.uint8], Place]:
    """`(144, 144, 3)` crop with one white cell near its centre, and where that lies."""
    radius = 0.5 * PX_PER_UM * stain.size * between(rng, kind.diameter_um)
    row, column = smear.near_the_middle(rng)
    light = smear.field(stain, (row, column), radius, rng)
    (top, bottom), (left, right) = window(row, 1.3 * radius), window(column, 1.3 * radius)
    body, marks = _draw_white_cell(light[:, top:bottom, left:right], kind, stain, (row - top, column - left), radius, rng)
    around = ((top, smear.IMAGE_PX - bottom), (left, smear.IMAGE_PX - right))
    place = Place(np.pad(body > _SEEN, around), np.pad(marks > _SEEN, around))
    return smear.photograph(light, stain, rng, focus), place


def _draw_white_cell(
    light: Plane, kind: CellType, stain: Stain, centre: Vector, radius: float, rng: np.random.Generator
) -> tuple[Plane, Plane]:
    """Paint the cell over `light`, a `(3, height, width)` window, in place; how much of each px is cell, and how much mark."""
    _, height, width = light.shape
    plain_v, plain_u = np.meshgrid(np.arange(height) - centre[0], np.arange(width) - centre[1], indexing="ij")
    bend = kind.outline * radius
    u = plain_u + bend * (2.0 * noise(rng, height, width, 0.75 * radius) - 1.0)
    v = plain_v + bend * (2.0 * noise(rng, height, width, 0.75 * radius) - 1.0)
    squeeze = between(rng, (0.92, 1.08))
    border = ellipse(u, v, (0.0, 0.0), (radius * squeeze, radius / squeeze), direction(rng))
    body = inside(border, 2.2)

    away = direction(rng)
    nucleus, hollow = _nucleus(kind.nucleus, plain_u, plain_v, radius, away, rng)
    inside_nucleus = inside(nucleus, 1.8) * body
    fine = noise(rng, height, width, 3.0)
    strength = stain.cytoplasm * between(rng, (0.9, 1.1))

    cloud = 0.5 * fine + 0.5 * noise(rng, height, width, 7.0)
    depth = np.clip(-border / (0.4 * radius), 0.0, 1.0)
    rim = (1.0 - smooth(depth)) * (0.7 + 0.6 * cloud) if kind.rim else np.zeros_like(border)
    pale = np.zeros_like(border)
    if kind.hof[1] > 0.0:
        reach = between(rng, (0.10, 0.28)) * radius
        hof = ellipse(u, v, (-away[0] * reach, -away[1] * reach), (0.45 * radius, 0.36 * radius), away)
        pale = between(rng, kind.hof) * inside(hof, 0.3 * radius)
    for plane, inner, outer in zip(light, kind.cytoplasm, kind.rim or kind.cytoplasm, strict=True):
        tone = 1.0 - strength * (1.0 - inner + (inner - outer) * np.clip(rim, 0.0, 1.0)) * (0.6 + 0.8 * cloud)
        tone = tone + (0.94 - tone) * pale - 0.07 * inside(np.abs(border + 1.5) - 0.8, 1.6)
        plane += body * (tone - plane)
    for _ in range(int(rng.integers(kind.vacuoles[0], kind.vacuoles[1] + 1))):
        spot = direction(rng)
        away_px = between(rng, (0.35, 0.85)) * radius
        hole = (between(rng, (0.05, 0.12)) * radius,) * 2
        vacuole = 0.7 * body * inside(ellipse(plain_u, plain_v, (spot[0] * away_px, spot[1] * away_px), hole, spot), 1.6)
        light += vacuole * (0.97 - light)

    _paint_chromatin(light, kind.nucleus, stain, nucleus, inside_nucleus * (1.0 - hollow), fine, rng)
    marks = inside_nucleus * hollow
    for granules in kind.granules:
        grains = stain.granules * _grains(granules, centre, radius, (height, width), rng)
        grains = np.clip(grains, 0.0, 1.0) * body * (1.0 - (1.0 - granules.over_nucleus) * inside_nucleus * (1.0 - hollow))
        paint(light, grains, stained(granules.colour, stain.eosin))
        marks = np.maximum(marks, grains)
    return body, np.maximum(marks, _draw_auer_rods(light, kind, plain_u, plain_v, body, radius, away, rng))


def _nucleus(shape: Nucleus, u: Plane, v: Plane, radius: float, away: Vector, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Distance in px to the nucleus's outline (negative inside), and how deep its cup-like hollow is (0 to 1)."""
    lobes = int(rng.integers(shape.lobes[0], shape.lobes[1] + 1))
    lobe = between(rng, shape.lobe_radius) * radius * (1.5 / (1.0 + 0.25 * lobes) if lobes > 1 else 1.0)
    points, heading = [(0.0, 0.0)], direction(rng)
    for _ in range(lobes - 1):
        step = lobe * between(rng, shape.spacing)
        points.append((points[-1][0] + heading[0] * step, points[-1][1] + heading[1] * step))
        heading = turned(heading, between(rng, shape.turn))
    middle_u = (min(p[0] for p in points) + max(p[0] for p in points)) / 2
    middle_v = (min(p[1] for p in points) + max(p[1] for p in points)) / 2
    shift = between(rng, shape.offset) * radius
    points = [(p[0] - middle_u + away[0] * shift, p[1] - middle_v + away[1] * shift) for p in points]
    reach = max(math.sqrt(p[0] * p[0] + p[1] * p[1]) for p in points) + lobe
    fit = min(1.0, 0.95 * radius / reach)
    lobe, points = lobe * fit, [(p[0] * fit, p[1] * fit) for p in points]

    height, width = u.shape
    bend = shape.wobble * radius
    u = u + bend * (2.0 * noise(rng, height, width, 0.5 * radius) - 1.0)
    v = v + bend * (2.0 * noise(rng, height, width, 0.5 * radius) - 1.0)
    outline = _lobe(u, v, points[0], lobe, rng)
    for before, point in itertools.pairwise(points):
        bridge = capsule(u, v, before, point, max(0.8, lobe * between(rng, shape.bridge)))
        outline = join(join(outline, bridge, 3.0), _lobe(u, v, point, lobe, rng), 3.0)

    hollow = np.zeros_like(outline)
    if shape.cup[1] > 0.0:
        side = direction(rng)
        off = between(rng, (0.35, 1.0)) * lobe
        size = (between(rng, (0.36, 0.50)) * lobe, between(rng, (0.46, 0.66)) * lobe)
        cup = ellipse(u, v, (points[0][0] + side[0] * off, points[0][1] + side[1] * off), size, side)
        hollow = between(rng, shape.cup) * inside(cup, 3.0)
    return outline, hollow


def _lobe(u: Plane, v: Plane, centre: Vector, size_px: float, rng: np.random.Generator) -> Plane:
    axes = (size_px * between(rng, (0.95, 1.15)), size_px * between(rng, (0.8, 1.0)))
    return ellipse(u, v, centre, axes, direction(rng))


def _paint_chromatin(
    light: Plane,
    shape: Nucleus,
    stain: Stain,
    distance: Plane,
    cover: Plane,
    fine: Plane,
    rng: np.random.Generator,
) -> None:
    _, height, width = light.shape
    grain_px = max(1.6, shape.grain_um * PX_PER_UM)
    clumps = 0.65 * noise(rng, height, width, grain_px) + 0.35 * noise(rng, height, width, 0.6 * grain_px)
    open_light = shape.contrast * smooth(np.clip((clumps - 0.46) / 0.26, 0.0, 1.0))
    shade = 0.2 * (noise(rng, height, width, 14.0) - 0.5) + 0.1 * fine
    open_light = (open_light + shade) * np.clip(-distance / 3.0, 0.25, 1.0)
    if shape.crease > 0.0:
        fold = noise(rng, height, width, 12.0)
        open_light = open_light - shape.crease * 0.4 * np.clip(1.0 - np.abs(fold - 0.5) / 0.06, 0.0, 1.0)
        open_light = open_light + shape.crease * 0.3 * np.clip(1.0 - np.abs(fold - 0.60) / 0.05, 0.0, 1.0)
    strength = stain.nucleus * between(rng, (0.95, 1.04))
    for plane, dark, bright in zip(light, stained(stain.chromatin, strength), _OPEN_CHROMATIN, strict=True):
        plane += cover * (np.clip(dark + (bright - dark) * open_light, 0.03, 1.0) - plane)


def _grains(granules: Granules, centre: Vector, radius: float, shape: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Coverage, 0 to 1, by round grains scattered over a square around the cell; they may overlap."""
    height, width = shape
    side_um = 2.0 * radius / PX_PER_UM
    count = int(between(rng, granules.per_um2) * side_um * side_um)
    row = centre[0] + radius * (2.0 * rng.random(count) - 1.0)
    column = centre[1] + radius * (2.0 * rng.random(count) - 1.0)
    size = PX_PER_UM * (granules.radius_um[0] + (granules.radius_um[1] - granules.radius_um[0]) * rng.random(count))
    strength = granules.strength[0] + (granules.strength[1] - granules.strength[0]) * rng.random(count)
    reach = int(PX_PER_UM * granules.radius_um[1]) + 2
    near = np.arange(-reach, reach + 1)
    rows = (np.floor(row).astype(np.intp)[:, None] + near)[:, :, None]
    columns = (np.floor(column).astype(np.intp)[:, None] + near)[:, None, :]
    down, right = rows - row[:, None, None], columns - column[:, None, None]
    cover = strength[:, None, None] * np.clip(size[:, None, None] + 0.5 - np.sqrt(down * down + right * right), 0.0, 1.0)
    cover = cover * ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))
    plane = np.zeros(shape)
    np.maximum.at(plane, (np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)), cover)
    return plane


def _draw_auer_rods(
    light: Plane,
    kind: CellType,
    u: Plane,
    v: Plane,
    body: Plane,
    radius: float,
    away: Vector,
    rng: np.random.Generator,
) -> Plane:
    """Needles in the cytoplasm opposite the nucleus, and what they cover; several lie in one bundle, roughly the same way."""
    heading, cover = direction(rng), np.zeros_like(body)
    for _ in range(int(rng.integers(kind.auer_rods[0], kind.auer_rods[1] + 1))):
        along = turned(heading, between(rng, (-0.3, 0.3)))
        half = 0.5 * PX_PER_UM * between(rng, kind.auer_length_um)
        middle = [-a * radius * 0.5 + radius * between(rng, (-0.2, 0.2)) for a in away]
        ends = [(middle[0] + sign * along[0] * half, middle[1] + sign * along[1] * half) for sign in (-1.0, 1.0)]
        rod = 0.9 * body * inside(capsule(u, v, ends[0], ends[1], between(rng, (0.7, 1.3))), 1.4)
        paint(light, rod, _AUER_ROD)
        cover = np.maximum(cover, rod)
    return cover
