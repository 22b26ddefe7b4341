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
        ({"CUDA_VISIBLE_DEVICES": "0,2", "TRAININGS_PER_GPU": "3"}, 6, {"0", "2"}),
        ({"CUDA_VISIBLE_DEVICES": "", "TRAININGS_PER_GPU": "3"}, 1, {None}),
    ],
)
def test_trainings_are_spread_over_the_gpus_one_on_each_where_the_driver_does_not_say_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], at_once: int, devices: set[str | None]
) -> None:
    for name in ("TRAININGS_AT_ONCE", "TRAININGS_PER_GPU", "TRAIN_THREADS"):
        monkeypatch.delenv(name, raising=False)
    _driver(tmp_path, monkeypatch, "[Not Supported]")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    slots = training_slots.find_slots(folder=tmp_path)
    assert slots.at_once == at_once
    with contextlib.ExitStack() as stack:
        given = [stack.enter_context(slots.take()).get("CUDA_VISIBLE_DEVICES") for _ in range(at_once)]
    assert set(given) == devices


@pytest.mark.parametrize(
    ("free_mib", "visible", "at_once"),
    [
        ("81079", None, 4),
        ("9000", None, 2),
        ("3000", None, 1),
        ("81079\n9000", None, 4),  # two on each of two
        ("81079\n9000", "0,1", 4),
    ],
)
def test_a_gpu_holds_as_many_trainings_as_its_free_memory_four_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: str, visible: str | None, at_once: int
) -> None:
    for name in ("TRAININGS_AT_ONCE", "TRAININGS_PER_GPU", "TRAIN_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    _driver(tmp_path, monkeypatch, free_mib)
    assert training_slots.find_slots(folder=tmp_path).at_once == at_once


def test_a_number_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAININGS_PER_GPU", "many")
    with pytest.raises(ValueError, match="TRAININGS_PER_GPU: a whole number above 0, not 'many'"):
        training_slots.find_slots(folder=tmp_path)


def _driver(folder: Path, monkeypatch: pytest.MonkeyPatch, free_mib: str) -> None:
    """A driver's tool that knows as many GPUs as it names free memory of."""
    tool = folder / "nvidia-smi"
    lines = free_mib.splitlines()
    index, free = "\n".join(str(number) for number in range(len(lines))), "\n".join(lines)
    tool.write_text(f"#!/bin/sh\ncase $1 in *index) echo '{index}';; *) echo '{free}';; esac\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_slots_are_shared_by_all_who_train_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TRAININGS_PER_GPU", "1")
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
