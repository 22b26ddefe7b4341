"""The same picture saved again is found, and cells that only resemble each other are not."""

from __future__ import annotations

import io
from itertools import combinations
from unittest import mock

import numpy as np
import pytest
from conftest import REAL_CELLS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.images import decoding, look_alikes

BITS, CORRELATION = 6, 0.98  # as in params.yaml


def groups(pictures: list[decoding.Pixels]) -> list[int]:
    hashes = [decoding.statistics(picture).phash for picture in pictures]
    return look_alikes.groups(hashes, lambda i: decoding.thumbnail(pictures[i]), BITS, CORRELATION).tolist()


HASHES = st.integers(0, 2**64 - 1)
FLIPPED = st.sets(st.integers(0, 63), max_size=17).map(lambda places: sum(1 << place for place in places))


@given(st.lists(HASHES, min_size=1, max_size=20), st.lists(FLIPPED, max_size=20), st.integers(0, 16))
def test_every_pair_within_the_distance_is_compared(first: list[int], flipped: list[int], bits: int) -> None:
    numbers = first + [number ^ bits_of_it for number, bits_of_it in zip(first, flipped, strict=False)]
    close = [
        pair
        for pair in combinations(range(len(numbers)), 2)
        if (numbers[pair[0]] ^ numbers[pair[1]]).bit_count() <= bits and numbers[pair[0]] and numbers[pair[1]]
    ]
    with mock.patch.object(look_alikes, "_BLOCK", 3):
        assert sorted(look_alikes._close(*[np.array(numbers, dtype=np.uint64)] * 2, bits)) == close


def test_pairs_are_found_across_blocks_and_chained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_alikes, "_BLOCK", 2)
    hashes = ["ff00ff00ff00ff00", "0123456789abcdef", "ff00ff00ff00ff01", "00000000ffffffff", "ff00ff00ff00ff03"]
    found = look_alikes.groups(hashes, lambda i: np.ones(1), 1, 0.5)
    assert found.tolist() == [0, -1, 0, -1, 0]


def turn(pixels: decoding.Pixels, how: look_alikes.Turn) -> decoding.Pixels:
    across, left_right, upside_down = how
    pixels = pixels.swapaxes(0, 1) if across else pixels
    pixels = pixels[:, ::-1] if left_right else pixels
    return np.ascontiguousarray(pixels[::-1] if upside_down else pixels)


def blots(seed: int) -> decoding.Pixels:
    """A picture that is the same at 32 x 32, so that nothing but the turn decides its hash."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("how", look_alikes.TURNS)
def test_turned_and_mirrored_copies_are_found(how: look_alikes.Turn) -> None:
    pictures = [blots(seed) for seed in range(4)]
    assert groups(pictures) == [-1] * 4
    assert groups([*pictures, *(turn(picture, how) for picture in pictures)]) == [0, 1, 2, 3] * 2


@given(HASHES, st.sampled_from(look_alikes.TURNS))
def test_a_hash_turned_four_times_is_itself(number: int, how: look_alikes.Turn) -> None:
    found = np.array([number], dtype=np.uint64)
    for _ in range(4):
        found = look_alikes.turned_hashes(found, how)
    assert found.tolist() == [number]


def test_images_without_structure_are_not_the_same_picture() -> None:
    blanks = [np.full((32, 32, 3), level, np.uint8) for level in (10, 10, 200)]
    assert groups(blanks) == [-1, -1, -1]


def test_keys_that_share_a_group_are_linked_through_others() -> None:
    keys = ["A", "B", "B", "C", "D", "D"]
    linked = look_alikes.link(keys, ["x", "x", "y", "y", "", "z"])
    assert linked["A"] == linked["B"] == linked["C"] != linked["D"]


@pytest.mark.skipif(not REAL_CELLS.is_dir(), reason=f"the real cells are not here ({REAL_CELLS.name})")
def test_real_cells_are_told_apart_and_their_copies_are_found() -> None:
    files = sorted(REAL_CELLS.rglob("*.tif"))[::4]
    cells = [decoding.decode(file.read_bytes()) for file in files]
    assert set(groups(cells)) == {-1}

    def again(pixels: decoding.Pixels, n: int) -> decoding.Pixels:
        image = Image.fromarray((pixels * (1 - 0.05 * (n % 4))).astype(np.uint8))
        if n % 2:
            image = image.resize((90, 90), Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=30 + n % 60)
        return np.asarray(Image.open(buffer))

    assert groups(cells + [again(pixels, n) for n, pixels in enumerate(cells)]) == list(range(len(cells))) * 2
    turned = [turn(again(pixels, n), look_alikes.TURNS[n % 8]) for n, pixels in enumerate(cells)]
    assert np.mean(np.array(groups(cells + turned)[len(cells) :]) == np.arange(len(cells))) > 0.95
