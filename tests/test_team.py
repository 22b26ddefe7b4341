"""The team's servers with the settings of infra/compose.yaml, for real, on loopback.

A registry that grew in a sqlite file moves there; a worker runs a schedule; strangers are refused; all is lost and comes back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import registered
import requests
import toy_project
from conftest import ROOT
from mlflow import MlflowClient
from processes import Postgres

from infra import rehearsal, to_postgres
from infra.loopback import Loopback, make_bucket
from pipeline.common import config
from pipeline.registry import versions
from pipeline.stages import predict

pytestmark = [
    pytest.mark.rehearsal,
    pytest.mark.skipif(not Postgres.programs(), reason="PostgreSQL is not installed: apt-get install postgresql"),
]
TARGET = "postgresql+psycopg2://mlflow@postgres:5432/mlflow"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subtypes registered in mlflow.db, and a patient to score."""
    folder = tmp_path_factory.mktemp("project")
    registered.build(folder)
    (folder / "incoming" / "007").mkdir(parents=True)
    for number, data in enumerate(registered.cells("NPM1", 4, seed=7)):
        (folder / "incoming" / "007" / f"image_{number}.tif").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real flows around stages that take milliseconds; the weekly schedule comes every forty seconds."""
    folder = toy_project.make(tmp_path_factory.mktemp("checkout"))
    rehearsal.schedule_often(folder, 40)
    return folder


@pytest.fixture(scope="module")
def history(project: Path) -> dict[str, Any]:
    """What the sqlite file holds, as MLflow's client tells it."""
    return read_history(f"sqlite:///{project}/mlflow.db")


@pytest.fixture(scope="module")
def team(
    tmp_path_factory: pytest.TempPathFactory, project: Path, checkout: Path, history: dict[str, Any]
) -> Iterator[Loopback]:
    """All servers up, the history moved in before MLflow's first start, the worker at work."""
    with Loopback(tmp_path_factory.mktemp("team"), checkout) as servers:
        servers.start("postgres", "store")
        make_bucket(servers)
        move = [
            "python",
            "-m",
            "infra.to_postgres",
            f"sqlite:///{project}/mlflow.db",
            TARGET,
            "--artifacts",
            "s3://pipeline/mlflow",
        ]
        servers.run("worker", *move)
        servers.start("mlflow", "prefect")
        servers.run("account")
        servers.run("deploy", variables={"PREFECT_WORKER_QUERY_SECONDS": "2"})
        servers.start("worker")
        yield servers


def read_history(address: str, **login: str) -> dict[str, Any]:
    """In a process of its own: a client remembers its first address."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    command = [sys.executable, "-c", rehearsal.HISTORY]
    environment = {**clean, "MLFLOW_TRACKING_URI": address, **login}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def log_in(team: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the user `pipeline`, with time for a busy machine."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", team.address["mlflow"])
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "pipeline")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", (team.secrets / "MLFLOW_TRACKING_PASSWORD").read_text())


def score(team: Loopback, project: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> pd.DataFrame:
    """`predict` in this process, as the user `pipeline` of the server."""
    monkeypatch.chdir(project)
    log_in(team, monkeypatch)
    settings = config.load().model_copy(update={"subtypes": registered.REGISTERED})
    predict.run(settings, project / "incoming", None, project / output)
    return pd.read_csv(project / output / "images.csv")


def test_runs_metrics_versions_and_aliases_moved_from_sqlite_are_the_same(team: Loopback, history: dict[str, Any]) -> None:
    assert len(history["versions"]) == 2
    assert any("champion" in version[1] for version in history["versions"].values())
    assert rehearsal.history(team) == history


def test_strangers_are_refused_and_users_are_not(team: Loopback) -> None:
    assert rehearsal.open_to_strangers(team) == []
    password = (team.secrets / "MLFLOW_TRACKING_PASSWORD").read_text()
    another = {"username": "admin", "password": "a-password-of-his-own"}
    address = f"{team.address['mlflow']}/api/2.0/mlflow/users/update-password"
    assert requests.patch(address, json=another, auth=("pipeline", password), timeout=60).status_code == 403
    assert rehearsal.answers(f"{team.address['mlflow']}/", f"pipeline:{password}") == 200


def test_a_model_that_nobody_registered_has_no_champion(team: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(team, monkeypatch)
    client = MlflowClient(team.address["mlflow"])
    assert versions.champion(client, "CBFB_MYH11") is None
    assert versions.champion(client, registered.REGISTERED[0]) is not None


def test_the_address_of_the_tls_proxy_is_known_to_mlflow_and_another_is_not(team: Loopback) -> None:
    def search(host: str) -> int:
        headers = {"Host": host, "Content-Type": "application/json"}
        login = ("pipeline", (team.secrets / "MLFLOW_TRACKING_PASSWORD").read_text())
        address = f"{team.address['mlflow']}/api/2.0/mlflow/experiments/search"
        return requests.post(address, json={"max_results": 1}, headers=headers, auth=login, timeout=60).status_code

    assert search("mlflow.localhost:8443") == 200
    assert search("elsewhere.example") == 403


def test_everything_listens_on_loopback(team: Loopback) -> None:
    listening = rehearsal.listening(team)
    assert {line.split()[1] for line in listening} == {"postgres", "store", "mlflow", "prefect"}
    assert all(line.startswith("127.0.0.1:") for line in listening), listening


def test_a_scheduled_run_is_done_by_the_worker(team: Loopback, checkout: Path) -> None:
    assert rehearsal.wait_for_a_scheduled_run(team, 900) == "COMPLETED 9 stages: 9 ran"
    assert set(toy_project.ALL) <= set(toy_project.runs(checkout))
    team.stop("worker")


def test_kubernetes_job_template_is_taken_by_prefect(team: Loopback) -> None:
    template = str(ROOT / "infra/kubernetes/trainers.json")
    team.run("deploy", "prefect", "work-pool", "create", "cluster", "--type", "kubernetes", "--base-job-template", template)


def test_everything_lost_comes_back_and_predict_gives_the_same_scores(
    team: Loopback, project: Path, checkout: Path, history: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = score(team, project, monkeypatch, "before")
    team.run("worker", "dvc", "push")
    rehearsal.save(team)
    rehearsal.lose(team)
    made = (checkout / "models/C/one/fold-0").read_bytes()
    subprocess.run(["rm", "-r", ".dvc/cache", "models", "data"], cwd=checkout, check=True)
    rehearsal.restore(team)
    pd.testing.assert_frame_equal(score(team, project, monkeypatch, "after"), before)
    assert rehearsal.history(team) == history
    team.run("worker", "dvc", "pull")
    assert (checkout / "models/C/one/fold-0").read_bytes() == made
    saved = [*(team.folder / "backup").rglob("*")]
    assert len(saved) > 10
    assert not [path for path in saved if path.stat().st_mode & 0o077]


def test_a_restore_replaces_the_tables_of_a_later_version(team: Loopback, history: dict[str, Any]) -> None:
    team.stop("prefect")

    def psql(command: str) -> str:
        return team.run("databases", "psql", "--no-psqlrc", "--tuples-only", "--dbname=mlflow", f"--command={command}")

    psql("CREATE TABLE later (run_uuid varchar(32) REFERENCES runs)")
    privileges = psql("SELECT nspacl, nspowner::regrole FROM pg_namespace WHERE nspname = 'public'")
    team.run("databases", "databases.sh", "restore", "/backup")
    assert psql("SELECT to_regclass('later') IS NULL").strip() == "t"
    assert psql("SELECT nspacl, nspowner::regrole FROM pg_namespace WHERE nspname = 'public'") == privileges
    assert rehearsal.history(team) == history


def test_no_secret_is_in_any_log_or_file_of_the_checkout(team: Loopback, checkout: Path) -> None:
    where = [team.logs, team.folder / "home", team.folder / "state" / "worker", checkout]
    assert sum(path.is_file() for folder in where for path in folder.rglob("*")) > 20
    assert rehearsal.secrets_found(team, where) == []
    (team.logs / "proof").write_text((team.secrets / "MLFLOW_TRACKING_PASSWORD").read_text())
    assert len(rehearsal.secrets_found(team, where)) == 1  # it would be found


def test_a_second_move_and_a_wrong_source_are_refused(
    team: Loopback, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = TARGET.replace("postgres:5432", f"127.0.0.1:{team.ports['postgres']}")
    monkeypatch.setenv("PGPASSFILE", str(team.secrets / "mlflow.pgpass"))
    assert to_postgres.main([f"sqlite:///{project}/mlflow.db", address]) == 2
    assert "the target holds runs already; move into a new database" in capsys.readouterr().err
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    assert to_postgres.main([f"sqlite:///{project}/mlflow.db", address]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(to_postgres.MoveError, match="not an existing sqlite file"):
        to_postgres.move("sqlite:///nowhere.db", address, None)
    with pytest.raises(to_postgres.MoveError, match="not PostgreSQL"):
        to_postgres.move(f"sqlite:///{project}/mlflow.db", "sqlite:///other.db", None)
