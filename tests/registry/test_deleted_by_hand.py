"""What somebody deletes or renames in MLflow's pages, or `mlflow gc` afterwards, is made again by a plain `register`."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from candidates import candidate, champion
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import gc
from mlflow.store.artifact import local_artifact_repo
from scores import scores

from pipeline.common import config, paths
from pipeline.registry import mlflow_address, mlflow_runs, mlflow_server, registration, versions
from pipeline.stages import promote, register

Params = Callable[[dict[str, Any]], config.Config]
Client = mlflow_server.Client


@pytest.fixture
def settings(params: Params, here: Path, monkeypatch: pytest.MonkeyPatch) -> config.Config:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    return params({"register.gate.draws": 200})


def settle(settings: config.Config, given: registration.Candidate) -> str:
    client = mlflow_server.connect()
    return register.settle(client, registration.log_candidate(client, given), given, settings.register_, settings.seed)


def purge() -> None:
    """What was deleted is deleted for good."""
    address = mlflow_address.address()
    done = CliRunner().invoke(gc, ["--backend-store-uri", address, "--tracking-uri", address])
    assert done.exit_code == 0, done.output


def _experiment(client: Client) -> str:
    return str(client.get_experiment_by_name("NPM1").experiment_id)


def _runs(client: Client) -> None:
    for run in client.search_runs([_experiment(client)]):
        client.delete_run(run.info.run_id)


def _logged_models(client: Client) -> None:
    for model in client.search_logged_models([_experiment(client)]):
        client.delete_logged_model(model.model_id)


def _version(client: Client) -> None:
    client.delete_registered_model_alias("NPM1", "champion")
    client.delete_model_version("NPM1", "1")


def _files(client: Client) -> None:
    shutil.rmtree("mlartifacts")


DELETED: dict[str, Callable[[Client], object]] = {
    "runs": _runs,
    "experiment": lambda client: client.delete_experiment(_experiment(client)),
    "experiment renamed": lambda client: client.rename_experiment(_experiment(client), "other"),
    "version": _version,
    "registered model": lambda client: client.delete_registered_model("NPM1"),
    "registered model renamed": lambda client: client.rename_registered_model("NPM1", "other"),
    "logged models": _logged_models,
    "files": _files,
}
PURGED = ("runs", "experiment", "logged models")  # what `mlflow gc` looks for


@pytest.mark.parametrize(
    ("what", "for_good"),
    [*((what, False) for what in DELETED), *(pytest.param(what, True, marks=pytest.mark.rehearsal) for what in PURGED)],
)
def test_the_champion_and_its_scores_come_back(settings: config.Config, here: Path, what: str, for_good: bool) -> None:
    first, better = candidate("first", scores(0.5)), candidate("better", scores(3.0, seed=1))
    settle(settings, first)
    DELETED[what](mlflow_server.connect())
    if for_good:
        purge()
    assert settle(settings, first).startswith("champion")
    client = mlflow_server.connect()
    model = versions.champion(client, "NPM1")
    assert model is not None
    assert model.tags["candidate"] == "first"
    assert versions.has_scores(client, model)
    place = client.get_model_version_download_uri("NPM1", model.version)
    assert (Path(place.removeprefix("file://")) / "MLmodel").is_file()
    before = len(versions.versions(client, "NPM1"))
    assert "on 54 shared patients" in settle(settings, better)
    assert champion() == "better"
    registered = versions.versions(client, "NPM1")
    assert len(registered) == before + 1
    promote.rollback("NPM1", "as it was")
    assert champion() == "first"
    promote.run("NPM1", str(registered[-1].version), "on second thoughts")
    assert champion() == "better"


def test_where_the_champions_own_run_is_gone_another_candidate_is_registered_all_the_same(settings: config.Config) -> None:
    settle(settings, candidate("first", scores(1.0)))
    _runs(mlflow_server.connect())
    purge()
    assert settle(settings, candidate("other", scores(2.0))).startswith("not comparable")
    assert champion() == "first"


def test_what_a_killed_registration_left_is_gone_after_the_next(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when its run was just made; then when the model's files were in MLflow and no version was made of them."""
    client, given = mlflow_server.connect(), candidate("first", scores(1.0))
    run = client.create_run(mlflow_runs.ensure_experiment(client, "NPM1"), tags={"candidate": given.digest})
    staging = paths.CHECKPOINTS / f"candidate-{given.digest[:16]}.unfinished"
    with monkeypatch.context() as cut:
        cut.setattr(MlflowClient, "create_registered_model", lambda *_, **__: sys.exit(137))
        with pytest.raises(SystemExit):
            registration.log_candidate(client, given)
    (staging / "networks").mkdir(parents=True)
    (staging / "networks" / "half").touch()
    settle(settings, given)
    assert not staging.exists()
    (logged,) = client.search_logged_models([_experiment(client)])
    (model,) = versions.versions(client, "NPM1")
    assert (model.source, model.run_id) == (logged.model_uri, run.info.run_id)
    assert len(client.get_run(run.info.run_id).inputs.dataset_inputs) == 2


def test_files_that_cannot_be_had_now_are_not_called_gone(settings: config.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the same candidate would be registered again, as another version, because files may not be opened for a moment."""
    client, given = mlflow_server.connect(), candidate("first", scores(1.0))
    settle(settings, given)

    def too_many(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "mlartifacts")

    with monkeypatch.context() as full:
        full.setattr(local_artifact_repo, "list_all", too_many)
        with pytest.raises(OSError, match="open files"), mlflow_server.answering():
            registration.log_candidate(client, given)
    (model,) = versions.versions(client, "NPM1")
    client.delete_model_version_tag("NPM1", model.version, "cohort")
    model = client.get_model_version("NPM1", model.version)
    with monkeypatch.context() as full:
        full.setattr(shutil, "copy2", too_many)  # as MLflow fetches files, in whose words alone it stands then
        with pytest.raises(OSError, match="open files") as refused, mlflow_server.answering():
            versions.cohort(client, model)
    assert (refused.value.errno, refused.value.filename) == (errno.EMFILE, "mlartifacts")
    assert versions.cohort(client, model) == "drawn"
