"""Augmented images are the same cells: nothing is lost, moved out of sight or changed beyond the limits set."""

import numpy as np
import pytest

from pipeline.common.params_learning import Augment
from pipeline.networks import augmentation


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 9, 9, 3), dtype=np.uint8)


def test_turns_and_flips_keep_every_pixel_and_the_images_order(images: np.ndarray) -> None:
    settings = Augment(flips=True, quarter_turns=True, stain_jitter=0.0)
    changed = augmentation.augment(images, settings, np.random.default_rng(1))
    for before, after in zip(images, changed, strict=True):
        pixels_before, pixels_after = (sorted(map(tuple, image.reshape(-1, 3))) for image in (before, after))
        assert pixels_before == pixels_after
    assert len({image.tobytes() for image in changed} & {image.tobytes() for image in images}) < len(images) / 2


def test_all_eight_positions_of_a_cell_are_reached(images: np.ndarray) -> None:
    settings = Augment(flips=True, quarter_turns=True, stain_jitter=0.0)
    same = np.repeat(images[:1], 200, axis=0)
    assert len({image.tobytes() for image in augmentation.augment(same, settings, np.random.default_rng(2))}) == 8


def test_by_hand() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1).repeat(3, axis=3)

    def oriented(*how: int) -> list[list[int]]:
        found: list[list[int]] = augmentation.orient(image, *(np.array([number]) for number in how))[0, ..., 0].tolist()
        return found

    assert oriented(1, 0, 0) == [[1, 3], [0, 2]]
    assert oriented(0, 1, 0) == [[2, 3], [0, 1]]
    assert oriented(0, 0, 1) == [[1, 0], [3, 2]]
    assert oriented(1, 1, 0) == [[0, 2], [1, 3]]  # turned first
    stained = augmentation.restain(np.array([[[[255, 155, 5]]]], dtype=np.uint8), np.array([[1.1, 1.1, 1.1]]))
    assert stained[0, 0, 0].tolist() == [255, 145, 0]  # white stays white; 255 - 110; no wrap-around below 0


def test_strength_one_changes_nothing(images: np.ndarray) -> None:
    assert np.array_equal(augmentation.restain(images, np.ones((64, 3))), images)


def test_nothing_switched_on_changes_nothing_and_the_input_is_left_alone(images: np.ndarray) -> None:
    before = images.copy()
    off = Augment(flips=False, quarter_turns=False, stain_jitter=0.0)
    assert np.array_equal(augmentation.augment(images, off, np.random.default_rng(0)), images)
    augmentation.augment(images, Augment(flips=True, quarter_turns=True, stain_jitter=0.2), np.random.default_rng(0))
    assert np.array_equal(images, before)
