"""Shapes, smooth noise and directions that come out the same, to the last bit, on every machine.

A shape is a plane of distances in px to its outline, negative inside; planes are float64 `(height, width)`. Only what
IEEE 754 rounds exactly is used (+ - * / sqrt, comparisons, rounding, integers), with no random number but uniform ones:
no exp, sin, power, BLAS or float sum, whose last bit differs between machines.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
Range = tuple[float, float]
Vector = tuple[float, float]


def noise(rng: np.random.Generator, height: int, width: int, grain_px: float) -> Plane:
    """Smooth noise between 0 and 1 whose hills are about `grain_px` wide."""
    start_row, start_column = (float(x) for x in rng.random(2))
    knots = rng.random((int(height / grain_px) + 3, int(width / grain_px) + 3))
    tall = _stretched(knots, height, grain_px, start_row)
    return np.ascontiguousarray(_stretched(np.ascontiguousarray(tall.T), width, grain_px, start_column).T)


def _stretched(knots: Plane, size: int, grain_px: float, start: float) -> Plane:
    at = np.arange(size) / grain_px + start
    low = np.floor(at).astype(np.intp)
    weight = smooth(at - low)[:, None]
    return knots[low] + weight * (knots[low + 1] - knots[low])


def ellipse(u: Plane, v: Plane, centre: Vector, axes: Vector, along: Vector) -> Plane:
    """About the distance in px to the ellipse's outline, negative inside; `axes` are its half-axes."""
    du, dv = u - centre[0], v - centre[1]
    p, q = (du * along[0] + dv * along[1]) / axes[0], (dv * along[0] - du * along[1]) / axes[1]
    return (np.sqrt(p * p + q * q) - 1.0) * min(axes)


def capsule(u: Plane, v: Plane, start: Vector, end: Vector, thickness: float) -> Plane:
    """Distance in px to a rod with round ends, negative inside."""
    along_u, along_v = end[0] - start[0], end[1] - start[1]
    du, dv = u - start[0], v - start[1]
    share = np.clip((du * along_u + dv * along_v) / (along_u * along_u + along_v * along_v), 0.0, 1.0)
    du, dv = du - share * along_u, dv - share * along_v
    return np.sqrt(du * du + dv * dv) - thickness


def join(one: Plane, other: Plane, softness_px: float) -> Plane:
    """Union of two shapes given by their distances, the corner between them rounded."""
    share = np.clip(0.5 + 0.5 * (other - one) / softness_px, 0.0, 1.0)
    return other + share * (one - other) - softness_px * share * (1.0 - share)


def inside(distance: Plane, softness_px: float) -> Plane:
    """1 inside the shape, 0 outside, with an edge `softness_px` wide."""
    return smooth(np.clip(0.5 - distance / softness_px, 0.0, 1.0))


def smooth(share: Plane) -> Plane:
    """An S-shaped rise from 0 to 1 over 0 to 1."""
    return share * share * (3.0 - 2.0 * share)


def between(rng: np.random.Generator, ends: Range) -> float:
    """A uniform random number between two ends."""
    return ends[0] + (ends[1] - ends[0]) * float(rng.random())


def direction(rng: np.random.Generator) -> Vector:
    """A unit vector, every direction equally likely: points of the square outside the disc are thrown away."""
    while True:
        u, v = (2.0 * float(x) - 1.0 for x in rng.random(2))
        length = math.sqrt(u * u + v * v)
        if 0.1 < length <= 1.0:
            return u / length, v / length


def turned(direction: Vector, tangent: float) -> Vector:
    """`direction` turned by the angle whose half has this tangent."""
    square = tangent * tangent
    cosine, sine = (1.0 - square) / (1.0 + square), 2.0 * tangent / (1.0 + square)
    return direction[0] * cosine - direction[1] * sine, direction[0] * sine + direction[1] * cosine


def distance(one: Vector, other: Vector) -> float:
    """Distance between two points."""
    down, right = one[0] - other[0], one[1] - other[1]
    return math.sqrt(down * down + right * right)
