"""How many trainings run at once on a machine, and on which GPU."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from flows import training_slots


@pytest.mark.parametrize(
    ("variables", "at_once", "devices"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,2"}, 2, {"0", "2"}),
        ({"CUDA_VISIBLE_DEVICES": "", "TRAIN_THREADS": "1"}, len(os.sched_getaffinity(0)), {None}),
        ({"CUDA_VISIBLE_DEVICES": ""}, 1, {None}),
        ({"CUDA_VISIBLE_DEVICES": "1", "TRAININGS_AT_ONCE": "3"}, 3, {"1"}),
    ],
)
def test_each_gpu_gets_one_training_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], at_once: int, devices: set[str | None]
) -> None:
    for name in ("TRAININGS_AT_ONCE", "TRAIN_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    slots = training_slots.find_slots(folder=tmp_path)
    assert slots.at_once == at_once
    with contextlib.ExitStack() as stack:
        given = [stack.enter_context(slots.take()).get("CUDA_VISIBLE_DEVICES") for _ in range(at_once)]
    assert set(given) == devices


def test_slots_are_shared_by_all_who_train_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("TRAININGS_AT_ONCE", raising=False)
    with (
        training_slots.find_slots(folder=tmp_path).take() as first,
        training_slots.find_slots(folder=tmp_path).take() as second,
    ):
        assert [first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]] == ["0", "1"]
        third = threading.Thread(target=lambda: training_slots.find_slots(folder=tmp_path).take().__enter__(), daemon=True)
        third.start()
        third.join(1)
        assert third.is_alive()
    third.join(10)
    assert not third.is_alive()
