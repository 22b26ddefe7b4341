"""Vectors that know the class, the batch, or nothing; labels are exchanged among patients, so many images prove no more."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.auditing import neighbours

PATIENTS = 24
CLASSES = np.arange(PATIENTS) % 2
BATCHES = ["ab"[n // 2 % 2] for n in range(PATIENTS)]  # both hold both classes


def bags(by_class: float = 0.0, by_batch: float = 0.0, by_patient: float = 0.0, images: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    axes = rng.normal(size=(2, 30))
    found = []
    for n in range(PATIENTS):
        middle = by_class * CLASSES[n] * axes[0] + by_batch * (BATCHES[n] == "b") * axes[1]
        middle = middle + by_patient * rng.normal(size=30)
        found.append((middle + rng.normal(size=(images, 30)) + 3).astype(np.float32))
    return found


def check(vectors: list[np.ndarray], batches: list[str] | None = None) -> neighbours.Check:
    batches = [""] * PATIENTS if batches is None else batches
    return neighbours.check(vectors, CLASSES, batches, 99, 1, 0.05)


@pytest.mark.parametrize(
    ("planted", "state"),
    [
        ({"by_class": 2.0}, "clear"),
        ({"by_batch": 2.0}, "red"),
        ({"by_class": 0.8, "by_batch": 3.0}, "red"),  # the class is there too, and fewer neighbours share it alone
        ({"by_class": 3.0, "by_batch": 0.5}, "clear"),
        ({}, "amber"),
    ],
)
def test_what_lies_together_is_told(planted: dict[str, float], state: str) -> None:
    assert check(bags(**planted), BATCHES).state == state


def test_patients_with_many_images_of_their_own_are_no_proof_of_a_batch() -> None:
    found = check(bags(by_patient=3.0, images=30), BATCHES)
    assert found.value is not None
    assert found.value["patient"]["p_value"] < 0.05
    assert found.value["batch"]["p_value"] > 0.05
    assert found.state == "amber"


def test_without_batches_a_patient_is_never_a_reason_for_red() -> None:
    assert check(bags(by_patient=3.0)).state == "amber"
    assert check(bags(by_class=2.0)).state == "clear"
    assert "of the same patient" in check(bags()).found


def test_classes_that_share_no_batch_cannot_be_told_apart_from_it() -> None:
    found = check(bags(by_class=2.0), ["ab"[label] for label in CLASSES])
    assert found.state == "amber"
    assert found.found.endswith("no batch holds both classes")
    assert "both classes from each batch" in found.advice


def test_nobody_is_his_own_neighbour_however_few_images_others_have() -> None:
    rng = np.random.default_rng(3)
    found = neighbours.near([rng.normal(size=(images, 5)).astype(np.float32) for images in (12, 3, 3)])
    assert np.diag(found.shares).tolist() == [0, 0, 0]
    np.testing.assert_allclose(found.shares.sum(axis=1), 1)
    few = neighbours.near([rng.normal(size=(images, 5)).astype(np.float32) for images in (2, 1, 2)])
    assert all(place not in nearest for place, nearest in enumerate(few.nearest))


def test_however_many_are_looked_at_at_a_time_the_same_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = neighbours.near(bags(by_class=1.0))
    monkeypatch.setattr(neighbours, "_ROWS", 7)
    parts = neighbours.near(bags(by_class=1.0))
    np.testing.assert_array_equal(whole.nearest, parts.nearest)
    np.testing.assert_array_equal(whole.shares, parts.shares)
