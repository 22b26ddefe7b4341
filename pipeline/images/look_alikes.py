"""Which images are the same picture, saved again: compressed, darker, smaller, turned, mirrored. No file is read here.

Two steps, because neither is enough alone. Every pair whose perceptual hashes are within a few bits is found, without
comparing all 3.3 billion pairs of 81,214 images in eight orientations; these are then compared by correlation. How a turned or
mirrored image's hash follows from the image's: `decoding.statistics`. Much shifted copies are not found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_BLOCK = 256  # rows compared with others at a time: bounds the memory
_FLAT = 0  # the hash of an image without any structure: alike, but not the same picture

Thumbnail = NDArray[np.float64]
Turn = tuple[bool, bool, bool]  # rows and columns exchanged, then mirrored from left to right, then upside down
TURNS: list[Turn] = [(a, b, c) for a, b, c in product((False, True), repeat=3)]
_ODD = np.arange(1, 9) % 2 == 1  # of the hash's frequencies: those that change sign in a mirror


def groups(
    hashes: Sequence[str], thumbnail: Callable[[int], Thumbnail], max_hash_bits: int, min_correlation: float
) -> NDArray[np.int64]:
    """For each image the position of the first one that is the same picture, directly or through others; -1 if none is.

    `hashes` are hexadecimal, 64 bits each; `thumbnail(i)` gives the image at position i, a flat square of mean 0, norm 1.
    """
    numbers = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    seen = cache(thumbnail)
    pairs = [
        (i, j)
        for turn in TURNS
        for i, j in _close(numbers, turned_hashes(numbers, turn), max_hash_bits)
        if float(seen(i) @ _turned(seen(j), turn)) >= min_correlation
    ]
    return _first_of_component(len(numbers), pairs)


def between(known: Sequence[str], new: Sequence[str], max_bits: int) -> Iterator[tuple[int, int, int]]:
    """Of every pair of a known and a new image whose hashes are close, in any turn: their positions, and in how many bits."""
    numbers = np.array([int(text, 16) for text in (*known, *new)], dtype=np.uint64)
    for turn in TURNS:
        turned = turned_hashes(numbers, turn)
        for one, other in _close(numbers, turned, max_bits):
            if one < len(known) <= other:
                yield one, other - len(known), int(np.bitwise_count(numbers[one] ^ turned[other]))


def link(keys: Sequence[str], groups: Sequence[str]) -> dict[str, int]:
    """Key -> number of the set it belongs to, when keys that share a group belong together; "" is no group."""
    key_codes, group_codes = ({name: code for code, name in enumerate(sorted(set(names)))} for names in (keys, groups))
    edges = [(key_codes[key], len(key_codes) + group_codes[group]) for key, group in zip(keys, groups, strict=True) if group]
    component = _components(len(key_codes) + len(group_codes), edges)
    return {key: int(component[code]) for key, code in key_codes.items()}


def turned_hashes(numbers: NDArray[np.uint64], turn: Turn) -> NDArray[np.uint64]:
    """The hashes of the images, turned."""
    across, left_right, upside_down = turn
    bits = np.unpackbits(numbers.astype(">u8").view(np.uint8)).reshape(-1, 8, 8)
    bits = bits.swapaxes(1, 2) if across else bits
    bits = bits ^ (left_right & _ODD)[None, None, :] ^ (upside_down & _ODD)[None, :, None]
    return np.packbits(bits.reshape(-1, 64), axis=1).view(">u8").ravel().astype(np.uint64)


def _turned(thumbnail: Thumbnail, turn: Turn) -> Thumbnail:
    across, left_right, upside_down = turn
    side = math.isqrt(len(thumbnail))
    square = thumbnail.reshape(side, side)
    square = square.T if across else square
    square = square[:, ::-1] if left_right else square
    return (square[::-1] if upside_down else square).ravel()


def _close(numbers: NDArray[np.uint64], turned: NDArray[np.uint64], max_bits: int) -> Iterator[tuple[int, int]]:
    """All pairs i < j of which `numbers[i]` and `turned[j]` are at most `max_bits` apart, each once.

    Two such hashes, cut into one part more than the bits in which they differ, share a part: only hashes that do are compared.
    """
    structured = np.flatnonzero(numbers != _FLAT)
    masks: list[np.uint64] = []
    for low, high in pairwise(np.linspace(0, 64, max_bits + 2, dtype=int).tolist()):
        mask = np.uint64(2**high - 2**low)
        part, other_part = numbers[structured] & mask, turned[structured] & mask
        order, other_order = (np.argsort(values, kind="stable") for values in (part, other_part))
        values, starts = np.unique(part[order], return_index=True)
        ends = np.stack([np.searchsorted(other_part[other_order], values, side) for side in ("left", "right")], axis=1)
        for alike, (first, last) in zip(np.split(structured[order], starts[1:]), ends, strict=False):
            others = structured[other_order[first:last]]
            for start in range(0, len(alike), _BLOCK):
                rows = alike[start : start + _BLOCK]
                differ = numbers[rows][:, None] ^ turned[others]
                for i, j in np.argwhere((np.bitwise_count(differ) <= max_bits) & (rows[:, None] < others)):
                    if all(differ[i, j] & earlier for earlier in masks):
                        yield int(rows[i]), int(others[j])
        masks.append(mask)


def _first_of_component(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    component = _components(count, pairs)
    _, first, sizes = np.unique(component, return_index=True, return_counts=True)
    return np.where(sizes > 1, first, -1)[component]


def _components(count: int, edges: Sequence[tuple[int, int]]) -> NDArray[np.int32]:
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    labels: NDArray[np.int32] = component
    return labels
