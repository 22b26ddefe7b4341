"""Which stages a flow runs, in which order, and how many trainings at once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
import toy_project
from conftest import ROOT

from flows import dag, training_slots


def test_the_flow_follows_dvc_yaml() -> None:
    stages = dag.stages()
    names = [stage.name for stage in stages]
    listed = subprocess.run(
        ["dvc", "stage", "list", "--name-only"],
        cwd=ROOT,
        env=toy_project.environment(ROOT),
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(names) == sorted(listed.stdout.split())
    for stage in stages:
        assert all(names.index(other) < names.index(stage.name) for other in stage.after)
    assert {stage.title for stage in stages} >= {"ingest", "train NPM1 fold 0", "evaluate PML_RARA", "report"}
    train = next(stage for stage in stages if stage.name == "train@NPM1-0")
    assert train.after == ("pack", "split")


def test_what_is_chosen_has_what_it_needs(tmp_path: Path) -> None:
    stages = dag.stages(toy_project.make(tmp_path))
    some = dag.chosen(stages, ["C"], None, lambda stage: False)
    assert [stage.title for stage in some] == [
        "ingest",
        "split",
        "train C fold 0",
        "evaluate C",
        "register C",
    ]
    with_old = dag.chosen(stages, ["C"], None, lambda stage: True)
    assert [stage.title for stage in with_old][-1] == "report"
    with pytest.raises(dag.SelectionError, match=r"there is no subtype X; params\.yaml has A_B, C"):
        dag.chosen(stages, ["X"], None, lambda stage: True)
    assert dag.stale({"train@C-0": {}}, stages) == {"train@C-0", "evaluate@C", "register@C", "report"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stages:\n  ingest: {cmd: [", "unable to read: 'dvc.yaml', YAML file structure is corrupted; "),
        ("stages:\n  ingest: {cmd: 'echo ${x}'}", "failed to parse 'stages.ingest.cmd' in 'dvc.yaml': Could not find 'x'; "),
    ],
)
def test_a_broken_dvc_yaml_is_one_line(here: Path, text: str, expected: str) -> None:
    (here / ".dvc").mkdir()
    (here / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    (here / "dvc.yaml").write_text(text)
    with pytest.raises(dag.DagError) as raised:
        dag.stages(here)
    assert str(raised.value) == f"{expected}`dvc status` says more"


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
    places = training_slots.here(folder=tmp_path)
    assert places.at_once == at_once
    with contextlib.ExitStack() as stack:
        given = [stack.enter_context(places.one()).get("CUDA_VISIBLE_DEVICES") for _ in range(at_once)]
    assert set(given) == devices


def test_places_are_shared_by_all_who_train_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("TRAININGS_AT_ONCE", raising=False)
    with training_slots.here(folder=tmp_path).one() as first, training_slots.here(folder=tmp_path).one() as second:
        assert [first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]] == ["0", "1"]
        third = threading.Thread(target=lambda: training_slots.here(folder=tmp_path).one().__enter__(), daemon=True)
        third.start()
        third.join(1)
        assert third.is_alive()
    third.join(10)
    assert not third.is_alive()
