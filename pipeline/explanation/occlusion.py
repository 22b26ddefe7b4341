"""Which pixels of a cell its score rests on: a patch of the patient's mean colour slides over it, and the score is asked again.

An image, uint8 `(px, px, 3)`, is cut into `blocks` x `blocks` blocks; a patch covers 2 x 2 of them. A map is float64
`(blocks, blocks)`: how much the score falls, on average, when a block is covered. Above 0 it speaks for the subtype. A score
is a function of images `(n, px, px, 3)` to `(n,)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.bags.scoring import Floats
from pipeline.explanation import deletion
from pipeline.explanation.deletion import Ints

Images = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Score = Callable[[Images], Floats]

_PATCH = 2  # blocks


def edges(px: int, blocks: int) -> Ints:
    """Where blocks begin and the last one ends, `(blocks + 1,)`."""
    return np.linspace(0, px, blocks + 1).round().astype(np.int64)


def mean_colour(images: Images) -> NDArray[np.uint8]:
    """Of images of one smear, `(3,)`: in its stain, and neither as dark as a nucleus nor as light as the glass."""
    return np.asarray(images.reshape(-1, 3).mean(axis=0).round().astype(np.uint8))


def heat(score: Score, image: Images, colour: NDArray[np.uint8], blocks: int) -> Floats:
    """The map of one image: every block's mean over the patches that cover it."""
    at, steps = edges(len(image), blocks), blocks - _PATCH + 1
    covered = np.repeat(image[None], steps * steps + 1, axis=0)
    places = [(row, column) for row in range(steps) for column in range(steps)]
    for one, (row, column) in zip(covered[1:], places, strict=True):
        one[at[row] : at[row + _PATCH], at[column] : at[column + _PATCH]] = colour
    scores = score(covered)
    total, count = np.zeros((blocks, blocks)), np.zeros((blocks, blocks))
    for (row, column), fall in zip(places, scores[0] - scores[1:], strict=True):
        total[row : row + _PATCH, column : column + _PATCH] += fall
        count[row : row + _PATCH, column : column + _PATCH] += 1
    return total / count


def deletion_area(
    score: Score, image: Images, colour: NDArray[np.uint8], found: Floats, draws: int, seed: Sequence[int]
) -> float:
    """How much faster the score falls when blocks go in the map's order than in `draws` random ones (`deletion`)."""
    orders = [np.argsort(-found, axis=None, kind="stable"), *deletion.random_orders(found.size, draws, seed)]
    shown = np.concatenate([_without(image, colour, len(found), some) for order in orders for some in deletion.gone(order)])
    explained, *random = score(shown.reshape(-1, *image.shape)).reshape(len(orders), -1)
    return deletion.area(explained, random)


def _without(image: Images, colour: NDArray[np.uint8], blocks: int, gone: Ints) -> Images:
    return np.where(_spread(np.isin(np.arange(blocks**2), gone).reshape(blocks, blocks), len(image))[..., None], colour, image)


def _spread(of_blocks: NDArray[np.generic], px: int) -> NDArray[np.generic]:
    """A value a block as a value a pixel."""
    sides = np.diff(edges(px, len(of_blocks)))
    return np.repeat(np.repeat(of_blocks, sides, axis=0), sides, axis=1)


def shares_of(mask: Mask, blocks: int) -> Floats:
    """Of each block the part that the mask `(px, px)` covers, `(blocks, blocks)`."""
    at = edges(len(mask), blocks)[:-1]
    size = np.diff(edges(len(mask), blocks))
    counts = np.add.reduceat(np.add.reduceat(mask.astype(np.float64), at, axis=0), at, axis=1)
    return np.asarray(counts / np.outer(size, size))


def mass_inside(found: Floats, mask: Mask) -> float:
    """The part of what speaks for the subtype that lies within the mask; NaN where nothing does."""
    positive = np.maximum(found, 0.0)
    return float((positive * shares_of(mask, len(found))).sum() / positive.sum()) if positive.any() else float("nan")


def pointed_at(found: Floats, mask: Mask) -> float:
    """The part of the block that speaks most for the subtype which the mask covers: the chance that a point drawn in it hits.

    The pointing game (Zhang et al. 2018, doi 10.1007/s11263-017-1059-x), of maps that know blocks and no points.
    """
    return float(shares_of(mask, len(found)).ravel()[found.argmax()])
