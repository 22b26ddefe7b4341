"""Images are drawn evenly over patients, half of each class, and follow from seed and epoch alone."""

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.networks import epoch_images

patients_of_images = st.lists(st.integers(1, 40), min_size=1, max_size=12).map(
    lambda counts: np.repeat([f"P{i}" for i in range(len(counts))], counts).astype(object)
)


def pool(patients: np.ndarray, weights: np.ndarray | None = None) -> epoch_images.Pool:
    return epoch_images.Pool(np.zeros((len(patients), 1, 1, 3), np.uint8), np.arange(len(patients)), patients, weights)


@given(patients_of_images, st.integers(0, 500), st.integers(0, 99))
def test_no_patient_gives_two_more_than_another_unless_the_other_has_no_more(
    patients: np.ndarray, count: int, seed: int
) -> None:
    rows = epoch_images.evenly(patients, count, np.random.default_rng(seed))
    assert len(rows) == min(count, len(patients)) == len(set(rows))
    drawn = {name: int((patients[rows] == name).sum()) for name in set(patients)}
    there = {name: int((patients == name).sum()) for name in set(patients)}
    most = max(drawn.values())
    assert all(drawn[name] >= min(there[name], most - 1) for name in drawn)


@given(patients_of_images, patients_of_images, st.integers(2, 20), st.integers(0, 9))
def test_every_batch_is_half_and_half_and_full_and_an_epoch_shows_the_smaller_class_once(
    control: np.ndarray, subtype: np.ndarray, half: int, epoch: int
) -> None:
    orders = epoch_images.epoch_order(pool(control), pool(subtype), seed=1, epoch=epoch)
    assert len(orders[0]) == len(orders[1]) == min(len(control), len(subtype))
    for order in orders:
        steps = epoch_images.steps(len(order), 2 * half)
        batches = [epoch_images.batch_rows(order, step, 2 * half) for step in range(steps)]
        assert all(len(batch) == half for batch in batches)
        assert set(np.concatenate(batches)) == set(order)


def test_an_epoch_follows_from_seed_and_number_alone() -> None:
    control, subtype = np.repeat(["A", "B"], 30).astype(object), np.repeat(["C", "D"], 20).astype(object)
    first, again, next_ = (epoch_images.epoch_order(pool(control), pool(subtype), 5, epoch) for epoch in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], next_[1])
    assert set(first[0]) != set(next_[0])  # of the larger class every epoch sees others


@given(patients_of_images, st.integers(1, 400), st.integers(0, 99))
def test_by_weight_every_patient_is_shown_as_often_and_an_image_as_its_weight_says(
    patients: np.ndarray, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    chosen, weights = epoch_images.evenly(patients, count, rng), rng.uniform(0.01, 1, len(patients))
    rows = epoch_images.by_weight(chosen, patients, weights, rng)
    assert sorted(patients[rows]) == sorted(patients[chosen])
    for name in set(patients[chosen]):
        own = np.flatnonzero(patients == name)
        expected = weights[own] / weights[own].sum() * (patients[chosen] == name).sum()
        times = np.array([(rows == row).sum() for row in own])
        assert (np.abs(times - expected) < 1 + 1e-9).all(), "rounded up or down"


def test_where_all_images_count_the_same_an_epoch_is_what_it_was() -> None:
    control, subtype = np.repeat(["A", "B"], 30).astype(object), np.repeat(["C", "D"], 20).astype(object)
    plain = epoch_images.epoch_order(pool(control), pool(subtype), 5, 3)
    weighed = epoch_images.epoch_order(pool(control), pool(subtype, np.repeat([1.0, 0.01], [30, 10])), 5, 3)
    assert np.array_equal(plain[0], weighed[0]), "control's order is drawn first"
    assert [sorted(set(plain[1])), len(weighed[1])] == [list(range(40)), 40]
    assert (weighed[1] >= 30).sum() <= 11, "of D's 20 images ten weigh next to nothing"
    rng = np.random.default_rng([5, 3])
    assert np.array_equal(plain[0], rng.permutation(epoch_images.evenly(control, 40, rng)))


def test_cells_on_the_disk_can_be_asked_for_beforehand(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Map(mmap.mmap):
        def madvise(self, advice: int, start: int = 0, length: int = 0) -> None:
            assert advice == mmap.MADV_WILLNEED
            asked.append((start, start + length))
            super().madvise(advice, start, length)

    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (7, 40, 40, 3), dtype=np.uint8)
    np.save("cells.npy", cells)
    monkeypatch.setattr(mmap, "mmap", Map)
    for held in (np.load("cells.npy", mmap_mode="r"), cells):
        pool = epoch_images.Pool(held, np.array([6, 0, 3]), np.array(["a", "b", "c"], dtype=object))
        pool.expect(np.array([0, 1]))
        assert np.array_equal(pool.take(np.array([0, 2])), cells[[6, 3]])
    content = Path("cells.npy").read_bytes()
    assert len(asked) == 2  # of the file alone
    for row, (start, end) in zip((6, 0), asked, strict=True):
        assert start % mmap.PAGESIZE == 0
        assert cells[row].tobytes() in content[start:end]
