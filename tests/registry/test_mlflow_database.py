"""MLflow's database file: made whole or not at all, never used where it cannot be, and it knows where it lies."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from candidates import candidate
from conftest import ROOT, write_params
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from processes import CLEAN
from scores import scores

from pipeline.common import config
from pipeline.common.errors import ConfigError
from pipeline.registry import mlflow_server, registration, versions
from pipeline.stages import register

KILLED = """
import os, signal, sys
import mlflow.store.db.utils as made
upgrade = made._upgrade_db
def half(engine):
    os.kill(os.getpid(), signal.SIGKILL)  # the first tables are there, no migration has run
made._upgrade_db = half
from pipeline.registry import mlflow_server
mlflow_server.connect()
"""


@pytest.fixture
def database(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    return here / "mlflow.db"


def change(path: Path, *commands: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for command in commands:
            database.execute(command)


def test_a_kill_while_it_is_made_leaves_none_and_the_next_run_makes_it(database: Path) -> None:
    environment = {**CLEAN, "MLFLOW_TRACKING_URI": f"sqlite:///{database}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not database.exists()
    assert mlflow_server.connect().search_registered_models() == []
    assert sorted(path.name for path in database.parent.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_one_that_a_former_version_left_half_made_is_made_again(database: Path) -> None:
    change(database, "CREATE TABLE experiments (experiment_id INTEGER)", "CREATE TABLE alembic_version (version_num TEXT)")
    assert mlflow_server.connect().search_registered_models() == []


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (["UPDATE alembic_version SET version_num = 'f5a4f2784254'"], "older MLflow; `cp .*`mlflow db upgrade "),
        (["UPDATE alembic_version SET version_num = 'ffffffffffff'"], "newer MLflow than"),
        (["DROP TABLE alembic_version", "CREATE TABLE theirs (a)"], "no database of MLflow's"),
    ],
)
def test_one_that_this_mlflow_cannot_use_is_named_and_left_as_it_is(
    database: Path, monkeypatch: pytest.MonkeyPatch, commands: list[str], said: str
) -> None:
    mlflow_server.connect()
    other = database.with_name("other.db")
    shutil.copy(database, other)
    change(other, *commands)
    before = other.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    with pytest.raises(ConfigError, match=said):
        mlflow_server.connect()
    assert other.read_bytes() == before


def test_a_file_that_is_no_database_or_damaged_is_named(database: Path) -> None:
    database.write_text("patient,age\n" * 9)
    with pytest.raises(ConfigError, match=r"is no SQLite database; .*`mv "):
        mlflow_server.connect()
    database.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with pytest.raises(ConfigError, match=r"is damaged|cannot be opened"):
        mlflow_server.connect()


@pytest.mark.parametrize("original_is_there", [True, False])
@pytest.mark.parametrize("artifacts_come_along", [True, False])
def test_a_checkout_that_was_copied_or_moved_uses_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, original_is_there: bool, artifacts_come_along: bool
) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    write_params(original / "params.yaml", {})
    assert _registered(original, monkeypatch).startswith("1 ")
    shutil.copytree(original, copy)
    if not artifacts_come_along:
        shutil.rmtree(copy / "mlartifacts")
    before = {path: path.stat().st_mtime_ns for path in original.rglob("*")}
    if not original_is_there:
        shutil.rmtree(original)
    number, place = _registered(copy, monkeypatch).split()
    assert number == ("1" if artifacts_come_along else "2")
    assert Path(place).is_relative_to(copy)
    assert (Path(place) / "MLmodel").is_file()
    assert {path: path.stat().st_mtime_ns for path in original.rglob("*")} == (before if original_is_there else {})


def _registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Number and place of the champion, after its candidate was registered in a folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")  # MLflow remembers databases by address
    _artifact_repos_cache.clear()  # where a process last saw the files of a run; a checkout's copy is used by another
    shutil.rmtree("models", ignore_errors=True)
    client, settings, given = mlflow_server.connect(), config.load(), candidate("first", scores(2.0))
    register.settle(client, registration.log_candidate(client, given), given, settings.register_, settings.seed)
    model = versions.champion(client, "NPM1")
    assert model is not None
    place = client.get_model_version_download_uri("NPM1", model.version)
    return f"{model.version} {place.removeprefix('file://')}"
