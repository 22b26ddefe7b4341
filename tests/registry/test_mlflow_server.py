"""MLflow's database is made once, whoever comes first, and an address never shows a password."""

from __future__ import annotations

import errno
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from conftest import ROOT
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from pipeline.common.errors import ConfigError, DataError, RefusedError, TrackingError
from pipeline.registry import mlflow_address, mlflow_database, mlflow_runs, mlflow_server

# A process that has imported MLflow becomes several, which all begin at this instant.
CONNECT = """
import os, sys
from pipeline.registry import mlflow_server

children = []
for _ in range(int(sys.argv[1])):
    if not (child := os.fork()):
        client = mlflow_server.connect()
        found = sorted(experiment.name for experiment in client.search_experiments())
        print(found, len(client.search_registered_models()), flush=True)
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_processes_that_all_find_no_database_make_one(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, "4"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['Default'] 0"] * 4


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql+psycopg2://mlflow:pa55@db:5432/mlflow", "postgresql+psycopg2://***@db:5432/mlflow"),
        ("postgresql://mlflow:pa/ss@word@db/mlflow", "postgresql://***@db/mlflow"),
        ("postgresql://db/mlflow?user=mlflow&password=pa55", "postgresql://db/mlflow?user=mlflow&password=***"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("", "sqlite:///mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch, address: str, shown: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert mlflow_server.shown_address() == shown


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("file:./mlruns", "keeps no records any more"),
        ("./mlruns", "keeps no records any more"),
        ("localhost:5555", "write http://localhost:5555"),
        ("gopher://mlflow.example", "cannot be used"),
        ("sqlite://mlflow.db", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///nowhere/mlflow.db", "its folder is not there"),
        ("sqlite:////proc/mlflow.db", "no file can be made in its folder|its folder is not there"),  # where there is no /proc
    ],
)
def test_an_address_that_cannot_work_is_not_called_away(
    here: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ConfigError, match=said):
        mlflow_server.connect()
    assert list(here.iterdir()) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder in which nobody can make a file")
def test_a_lock_that_cannot_be_made_is_not_waited_for(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_LOCK", "sqlite:////proc/records.db")
    with pytest.raises(ConfigError, match="no file can be made in its folder"), mlflow_server.deciding():
        pass


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_password_is_not_called_away_nor_shown(here: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Also where all is well at first, and a right is taken away later."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

        do_POST = do_GET  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:pa55@127.0.0.1:{server.server_port}")
        with pytest.raises(RefusedError, match=r"refuses .*MLFLOW_TRACKING_PASSWORD right") as refused:
            mlflow_server.connect()
        assert "pa55" not in str(refused.value)
        assert refused.value.status == 2
        with pytest.raises(RefusedError, match="refuses"), mlflow_server.answering():
            mlflow_server.Client(mlflow_address.address()).search_experiments()
        server.shutdown()


def test_a_server_that_accepts_and_never_answers_is_away(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(TrackingError, match="does not answer"):
            mlflow_server.connect()
        with pytest.raises(TrackingError, match="stopped answering"), mlflow_server.answering():
            mlflow_server.Client(mlflow_address.address()).search_experiments()


def test_a_server_that_breaks_off_before_the_first_epoch_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers what is asked first, and of the next answer half."""

    class BreaksOff(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_asked_first = "search" in self.path
            self.send_response(200)
            self.send_header("Content-Length", "2" if is_asked_first else "2000")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

        do_POST = do_GET  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        following = mlflow_server.follow_training({"subtype": "NPM1", "training": "1"})
        with pytest.raises(TrackingError, match=r"stopped answering .*run the same command again"), following:
            raise AssertionError("no epoch is spent")
        server.shutdown()


def test_a_database_on_a_full_disk_is_the_disks_fault(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself says so, of a database that may not grow; MLflow raises it as an error of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    with create_engine(f"sqlite:///{here}/mlflow.db").connect() as connection:
        connection.execute(text("PRAGMA max_page_count=1"))
        with pytest.raises(OperationalError) as said:
            connection.execute(text("CREATE TABLE runs (name TEXT)"))
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))) as full, mlflow_server.answering():
        raise MlflowException(str(said.value))
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, f"{here}/mlflow.db")


def test_of_a_file_that_mlflow_could_not_copy_the_place_is_told_that_has_no_room(here: Path) -> None:
    told = "The following failures occurred:\n##### File a #####\n[Errno 28] No space left on device: 'models/a' -> '/tmp/x/a'"
    with pytest.raises(OSError, match="No space left on device") as full, mlflow_server.answering():
        raise MlflowException(told)
    assert (full.value.errno, full.value.filename, full.value.filename2) == (errno.ENOSPC, "models/a", "/tmp/x/a")


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (sqlite3.OperationalError("database or disk is full"), os.strerror(errno.ENOSPC), None),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "mlflow.db"), "open files", None),
        (MemoryError("no more"), "no more", None),
        (sqlite3.OperationalError("database is locked"), "does not answer .database is locked", 75),
        (sqlite3.DatabaseError("file is not a database"), "cannot be used", 2),
    ],
)
def test_what_the_machine_refuses_at_the_start_is_no_fault_of_the_address(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, status: int | None
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")

    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(mlflow_database, "prepare", fail)
    with pytest.raises(Exception, match=said) as told:
        mlflow_server.connect()
    assert getattr(told.value, "status", None) == status, "what is no PipelineError the command line has its own words for"


def test_a_database_that_fails_in_the_middle_is_one_error_and_no_traceback_of_mlflows(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    client = mlflow_server.connect()
    with closing(sqlite3.connect(here / "mlflow.db")) as database:
        database.execute("DROP TABLE runs")
    with pytest.raises(MlflowException, match="no such table: runs"):
        client.search_runs(["0"])
    assert "Traceback" not in "".join(capfd.readouterr())


def test_models_stand_where_the_runs_do_whatever_another_tool_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{here}/theirs.db")
    mlflow_server.connect().create_registered_model("NPM1")
    assert not (here / "theirs.db").exists()


def test_a_relative_database_is_the_checkouts_also_in_an_experiment_that_dvc_runs_in_a_copy(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = here / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(here))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///records.db")
    assert mlflow_address.database() == here / "records.db"


def test_a_training_that_was_cut_off_while_it_was_completed_is_completed_once(here: Path) -> None:
    client = mlflow_server.connect()
    run = client.create_run(client.create_experiment("NPM1")).info.run_id
    (here / "history.csv").write_text("epoch,kept,val_loss\n0,0,0.7\n1,1,0.5\n")
    for _ in range(2):
        mlflow_runs.complete(client, run, here)
        time.sleep(0.002)  # MLflow takes a point of the same millisecond for the same
    assert [metric.value for metric in client.get_metric_history(run, "kept_val_loss")] == [0.5]
    (here / "history.csv").write_text("")
    with pytest.raises(DataError, match=r"^\S+history\.csv: damaged .*dvc checkout"):
        mlflow_runs.complete(client, run, here)
