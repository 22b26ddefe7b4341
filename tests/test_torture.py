"""The judge of `make torture` sees what is planted: nothing it says is well could be lost, twice or half-written."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from bench.torture import judge, limits, servers, table
from bench.torture import round as round_of_torture
from bench.torture.project import Project
from bench.torture.round import command_of

TABLES = """
CREATE TABLE experiments (experiment_id, name);
CREATE TABLE runs (run_uuid, name, status, lifecycle_stage, artifact_uri, experiment_id);
CREATE TABLE metrics (run_uuid, key, step, value);
CREATE TABLE params (run_uuid, key, value);
CREATE TABLE tags (run_uuid, key, value);
CREATE TABLE datasets (dataset_uuid, name, digest);
CREATE TABLE inputs (source_type, source_id, destination_type, destination_id);
CREATE TABLE logged_models (source_run_id, name, status, lifecycle_stage);
CREATE TABLE model_versions (name, version, storage_location);
CREATE TABLE model_version_tags (name, version, key, value);
CREATE TABLE registered_model_aliases (name, alias, version);
INSERT INTO experiments VALUES (1, 'NPM1');
INSERT INTO logged_models VALUES ('a', 'model', 2, 'active');
INSERT INTO metrics VALUES ('a', 'val_loss', 0, 0.5), ('a', 'val_loss', 1, 0.4);
INSERT INTO params VALUES ('a', 'px', '16');
INSERT INTO tags VALUES ('a', 'mlflow.parentRunId', 'a');
INSERT INTO datasets VALUES ('d', 'split', 'f2d0');
INSERT INTO inputs VALUES ('DATASET', 'd', 'RUN', 'a');
INSERT INTO model_version_tags VALUES ('NPM1', 1, 'candidate', '54de'), ('NPM1', 1, 'decided.2026', 'champion');
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
    write(tmp_path / "mlartifacts/r-1/spec.json", "4")
    run = f"INSERT INTO runs VALUES ('a', 'fold 0', 'FINISHED', 'active', '{tmp_path}/mlartifacts/r-1', 1)"
    records(tmp_path, TABLES, run, f"INSERT INTO model_versions VALUES ('NPM1', 1, 'file://{tmp_path}/mlartifacts/m-1')")
    return tmp_path


def a_version_twice(folder: Path) -> None:
    records(folder, f"INSERT INTO model_versions VALUES ('NPM1', 2, 'file://{folder}/mlartifacts/m-1')")


def cached(folder: Path) -> Path:
    (kept,) = folder.glob(".dvc/cache/files/md5/*/*")
    return kept


PLANTED: dict[str, Callable[[Path], None]] = {
    "dvc.lock: evaluate differs": lambda folder: write(folder / "dvc.lock", "stages: {train: {cmd: x}, evaluate: {cmd: y}}"),
    "models/weights: lost": lambda folder: (folder / "models/weights").unlink(),
    "data/manifest: other bytes": lambda folder: write(folder / "data/manifest", ""),
    "reports/new: nobody's": lambda folder: write(folder / "reports/new", ""),
    "half-written: .checkpoints/a.unfinished": lambda folder: write(folder / ".checkpoints/a.unfinished", ""),
    "is not what its name says": lambda folder: write(cached(folder), ""),
    "DVC's cache: lost": lambda folder: cached(folder).unlink(),
    "versions: more ('NPM1', 2": a_version_twice,
    "versions: lost ('NPM1', 1": lambda folder: write(folder / "mlartifacts/m-1/served.py", "cut of"),
    "models: more (('NPM1', 'fold 0'), 'model'": lambda folder: records(
        folder, "INSERT INTO logged_models VALUES ('a', 'model', 2, 'active')"
    ),
    "aliases: lost": lambda folder: records(folder, "DELETE FROM registered_model_aliases"),
    "runs: more ('NPM1', 'fold 0'": lambda folder: records(
        folder, "INSERT INTO runs SELECT 'b', name, status, lifecycle_stage, artifact_uri, experiment_id FROM runs"
    ),
    "runs: lost ('NPM1', 'fold 0', 'FINISHED'": lambda folder: records(folder, "UPDATE runs SET status = 'RUNNING'"),
    "runs: lost ('NPM1', 'fold 0'": lambda folder: write(folder / "mlartifacts/r-1/spec.json", ""),
    "points: more (('NPM1', 'fold 0'), 'val_loss', 1": lambda folder: records(
        folder, "INSERT INTO metrics VALUES ('a', 'val_loss', 1, 0.4)"
    ),
    "params: lost (('NPM1', 'fold 0'), 'px', '16')": lambda folder: records(folder, "DELETE FROM params"),
    "tags: lost (('NPM1', 'fold 0'), 'mlflow.parentRunId', ('NPM1', 'fold 0'))": lambda folder: records(
        folder, "DELETE FROM tags"
    ),
    "data sets: lost (('NPM1', 'fold 0'), 'split', 'f2d0')": lambda folder: records(folder, "DELETE FROM inputs"),
    "tags of versions: lost ('NPM1', 1, 'decided.', 'champion')": lambda folder: records(
        folder, "DELETE FROM model_version_tags WHERE key LIKE 'decided.%'"
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


@pytest.mark.parametrize("place", [".", "data", ".."])
def test_a_process_that_is_left_is_seen_wherever_it_works(folder: Path, place: str) -> None:
    expected = judge.look(folder)
    with subprocess.Popen(["sleep", "60"], cwd=folder / place, env={**os.environ, judge.MARK: str(folder)}) as process:
        assert judge.faults(folder, expected) == ["still at work: sleep 60"]
        process.kill()


def test_what_is_undone_is_gone_from_the_cache_too_but_for_what_others_made(tmp_path: Path) -> None:
    (tmp_path / "seconds.json").write_text("{}")
    folder = json.dumps([{"md5": "aa1", "relpath": "x"}, {"md5": "cc3", "relpath": "y"}])
    for name, text in (("aa/1", ""), ("bb/2", ""), ("cc/3", ""), ("dd/4.dir", folder)):
        write(tmp_path / "project/.dvc/cache/files/md5" / name, text)
    outs = {"mine": [("data/a", "dd4.dir"), ("data/b", "bb2")], "other": [("data/c", "cc3")]}
    stages = {name: {"outs": [{"path": path, "md5": md5} for path, md5 in own]} for name, own in outs.items()}
    write(tmp_path / "project/dvc.lock", json.dumps({"stages": stages}))
    write(tmp_path / "project/data/a/x", "")
    Project(tmp_path).undo({"mine"})
    assert [path.name for path in (tmp_path / "project/.dvc/cache/files/md5").rglob("*") if path.is_file()] == ["3"]
    assert list(YAML(pure=True).load(tmp_path / "project/dvc.lock")["stages"]) == ["other"]
    assert not (tmp_path / "project/data/a").exists()


class Answering(BaseHTTPRequestHandler):
    """Says yes, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"yes")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_every_answer_of_a_connection_is_late_and_what_is_dropped_is_counted() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with servers.Proxy(f"http://127.0.0.1:{server.server_port}", random.Random(1)) as proxy:
            proxy.delay_s, asking = 0.05, http.client.HTTPConnection(proxy.address.removeprefix("http://"))
            for struck in (1, 2, 3):
                asking.request("GET", "/")
                assert asking.getresponse().read() == b"yes"
                assert proxy.struck == struck
            asking.close()
            proxy.delay_s, proxy.dropped = 0.0, 1.0
            for _ in range(9):  # some break off after more than there is to say
                with contextlib.suppress(OSError, http.client.HTTPException):
                    asking.request("GET", "/")
                    asking.getresponse().read()
                asking.close()
            assert proxy.struck > 3
        server.shutdown()


def test_a_stage_of_dvc_is_the_command_of_the_pipeline() -> None:
    assert [command_of(stage) for stage in ("split", "embed@e", "train@NPM1-published-0", "call@bags", "audit@NPM1-bags")] == [
        "split",
        "embed e",
        "train NPM1 0 --candidate published",
        "call --candidate bags",
        "audit NPM1 --candidate bags",
    ]


@pytest.mark.parametrize(
    ("command", "met", "outcome"),
    [("sleep 9", 1, "lost"), ("true", 1, "missed"), ("", 0, "missed"), ("", 1, "survived")],
)
def test_what_hangs_is_lost_and_what_met_nothing_is_no_try(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, met: int, outcome: str
) -> None:
    monkeypatch.setattr(round_of_torture, "HANGS_S", 0.1)
    monkeypatch.setattr(round_of_torture, "run_again", lambda this: (0, ""))
    project = Project.__new__(Project)
    project.folder, project.seconds = folder, {"pack": 1.0}
    for name in ("restore", "undo"):
        monkeypatch.setattr(project, name, lambda *_: None)

    def kind(this: round_of_torture.Round) -> None:
        this.faults = met
        if command:
            this.wait_for_stage(this.start(*command.split()))

    became = round_of_torture.play(project, judge.look(folder), kind, "pack", False, random.Random(1))
    assert became["outcome"] == outcome


def test_the_same_verdict_again_is_none_too_many(folder: Path) -> None:
    expected = judge.look(folder)
    records(folder, "INSERT INTO model_version_tags VALUES ('NPM1', 1, 'decided.2027', 'champion')")
    assert judge.faults(folder, expected) == []
    records(folder, "INSERT INTO model_version_tags VALUES ('NPM1', 1, 'decided.2028', 'challenger')")
    assert judge.faults(folder, expected) == ["tags of versions: more ('NPM1', 1, 'decided.', 'challenger')"]


def test_a_run_may_say_of_which_flow_it_is(folder: Path) -> None:
    expected = judge.look(folder)
    records(folder, "INSERT INTO tags VALUES ('a', 'prefect_flow_run', 'fd0f')")
    assert judge.faults(folder, expected) == []


def test_rounds_that_came_too_late_are_no_tries() -> None:
    rounds = [{"kind": "dvc", "faults": 2, "outcome": outcome} for outcome in ("survived", "missed", "lost")]
    assert table.markdown(rounds).splitlines()[2:] == ["| dvc | 2 | 4 | 1 | 1 |", "| all | 2 | 4 | 1 | 1 |"]


def test_a_lock_that_dvc_would_refuse_is_brought_back(tmp_path: Path) -> None:
    lock, whole = tmp_path / "dvc.lock", (ROOT / "dvc.lock").read_text()
    lock.write_text(whole)
    assert not limits._is_cut_off(lock)
    size = whole.index("size: ")
    for at in (0, size + len("si"), size + len("size: ")):
        lock.write_text(whole[:at])
        assert limits._is_cut_off(lock)
