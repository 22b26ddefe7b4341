"""Which stages a flow runs, and in which order."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import toy_project
from conftest import ROOT

from flows import dag
from flows.errors import FlowError


def test_the_flow_follows_dvc_yaml() -> None:
    stages = dag.read_stages()
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
    assert {stage.title for stage in stages} >= {
        "ingest",
        "train NPM1 published fold 0",
        "evaluate PML_RARA published",
        "report",
    }
    train = next(stage for stage in stages if stage.name == "train@NPM1-published-0")
    assert train.after == ("candidates", "pack", "split", "weigh")
    shared = {stage.title: (stage.subtype, stage.candidate) for stage in stages if stage.kind in ("embed", "call")}
    assert shared == {"embed efficientnet_lite0": ("", ""), "call bags": ("", "bags")}  # of every subtype, not of one so named


def test_what_is_chosen_has_what_it_needs(tmp_path: Path) -> None:
    stages = dag.read_stages(toy_project.make(tmp_path))
    some = dag.choose(stages, ["C"], None, lambda stage: False)
    assert [stage.title for stage in some] == [
        "ingest",
        "split",
        "train C one fold 0",
        "evaluate C one",
        "register C",
    ]
    with_old = dag.choose(stages, ["C"], None, lambda stage: True)
    assert [stage.title for stage in with_old][-1] == "report"
    with pytest.raises(FlowError, match=r"there is no subtype X; params\.yaml has A_B, C"):
        dag.choose(stages, ["X"], None, lambda stage: True)
    assert dag.find_stale({"train@C-one-0": {}}, stages) == {"train@C-one-0", "evaluate@C-one", "register@C", "report"}


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
    with pytest.raises(FlowError) as raised:
        dag.read_stages(here)
    assert str(raised.value) == f"{expected}`dvc status` says more"
