"""The judge of `make torture` sees what is planted: nothing it says is well could be lost, twice or half-written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.torture import judge, table
from bench.torture.round import command_of

TABLES = """
CREATE TABLE experiments (experiment_id, name);
CREATE TABLE runs (run_uuid, name, status, lifecycle_stage, experiment_id);
CREATE TABLE metrics (run_uuid, key, value);
CREATE TABLE logged_models (source_run_id, lifecycle_stage);
CREATE TABLE model_versions (name, version, storage_location);
CREATE TABLE model_version_tags (name, version, key, value);
CREATE TABLE registered_model_aliases (name, alias, version);
INSERT INTO experiments VALUES (1, 'NPM1');
INSERT INTO runs VALUES ('a', 'fold 0', 'FINISHED', 'active', 1);
INSERT INTO logged_models VALUES ('a', 'active');
INSERT INTO metrics VALUES ('a', 'val_loss', 0.5), ('a', 'val_loss', 0.4);
INSERT INTO model_version_tags VALUES ('NPM1', 1, 'candidate', '54de');
INSERT INTO registered_model_aliases VALUES ('NPM1', 'champion', 1);
"""
DECISION = ("subtype", "candidate", "decision", "reason", "digest", "replaced", "results_md5")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def records(folder: Path, *commands: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.executescript(";".join(commands))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As much of a project as the judge reads."""
    write(tmp_path / "dvc.lock", "stages: {train: {cmd: x}}")
    write(tmp_path / "data/manifest", "1")
    write(tmp_path / "models/weights", "2")
    write(tmp_path / "data/decisions.jsonl", json.dumps(dict.fromkeys(DECISION, "x")) + "\n")
    digest = hashlib.md5(b"2", usedforsecurity=False).hexdigest()
    write(tmp_path / ".dvc/cache/files/md5" / digest[:2] / digest[2:], "2")
    write(tmp_path / "mlartifacts/m-1/served.py", "3")
    records(tmp_path, TABLES, f"INSERT INTO model_versions VALUES ('NPM1', 1, 'file://{tmp_path}/mlartifacts/m-1')")
    return tmp_path


def a_version_twice(folder: Path) -> None:
    records(folder, f"INSERT INTO model_versions VALUES ('NPM1', 2, 'file://{folder}/mlartifacts/m-1')")


def damaged_cache(folder: Path) -> None:
    (kept,) = folder.glob(".dvc/cache/files/md5/*/*")
    kept.write_text("")


PLANTED: dict[str, Callable[[Path], None]] = {
    "dvc.lock: evaluate differs": lambda folder: write(folder / "dvc.lock", "stages: {train: {cmd: x}, evaluate: {cmd: y}}"),
    "models/weights: lost": lambda folder: (folder / "models/weights").unlink(),
    "data/manifest: other bytes": lambda folder: write(folder / "data/manifest", ""),
    "reports/new: nobody's": lambda folder: write(folder / "reports/new", ""),
    "half-written: .checkpoints/a.unfinished": lambda folder: write(folder / ".checkpoints/a.unfinished", ""),
    "is not what its name says": damaged_cache,
    "versions: more ('NPM1', 2": a_version_twice,
    "versions: lost ('NPM1', 1": lambda folder: write(folder / "mlartifacts/m-1/served.py", "cut of"),
    "models: more ('fold 0', 2": lambda folder: records(folder, "INSERT INTO logged_models VALUES ('a', 'active')"),
    "aliases: lost": lambda folder: records(folder, "DELETE FROM registered_model_aliases"),
    "runs: more ('NPM1', 'fold 0'": lambda folder: records(
        folder, "INSERT INTO runs VALUES ('b', 'fold 0', 'FINISHED', 'active', 1)"
    ),
    "runs: lost ('NPM1', 'fold 0', 'FINISHED'": lambda folder: records(folder, "UPDATE runs SET status = 'RUNNING'"),
    "points: more ('NPM1', 'fold 0', 'val_loss', 3": lambda folder: records(
        folder, "INSERT INTO metrics VALUES ('a', 'val_loss', 0.4)"
    ),
    "decisions: lost": lambda folder: write(folder / "data/decisions.jsonl", ""),
    "cannot be read": lambda folder: write(folder / "data/decisions.jsonl", "{"),
}


@pytest.mark.parametrize("said", PLANTED)
def test_what_is_planted_is_seen(folder: Path, said: str) -> None:
    expected = judge.look(folder)
    assert judge.faults(folder, expected) == []
    PLANTED[said](folder)
    assert [line for line in judge.faults(folder, expected) if said in line]


def test_a_process_that_is_left_is_seen(folder: Path) -> None:
    expected = judge.look(folder)
    with subprocess.Popen(["sleep", "60"], cwd=folder) as process:
        assert judge.faults(folder, expected) == ["still at work: sleep 60 "]
        process.kill()


def test_a_stage_of_dvc_is_the_command_of_the_pipeline() -> None:
    assert [command_of(stage) for stage in ("split", "embed@e", "train@NPM1-published-0", "call@bags", "audit@NPM1-bags")] == [
        "split",
        "embed e",
        "train NPM1 0 --candidate published",
        "call --candidate bags",
        "audit NPM1 --candidate bags",
    ]


def test_rounds_that_came_too_late_are_no_tries() -> None:
    rounds = [{"kind": "dvc", "faults": 2, "outcome": outcome} for outcome in ("survived", "missed", "lost")]
    assert table.markdown(rounds).splitlines()[2:] == ["| dvc | 2 | 4 | 1 | 1 |", "| all | 2 | 4 | 1 | 1 |"]
