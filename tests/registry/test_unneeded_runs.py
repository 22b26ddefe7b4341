"""Which of MLflow's runs nobody needs; after the commands that are named, every version is still whole."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from candidates import candidate
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli
from scores import scores

from pipeline.common import config
from pipeline.registry import mlflow_address, mlflow_server, registration, unneeded_runs, versions
from pipeline.stages import register

Params = Callable[[dict[str, Any]], config.Config]


@pytest.fixture
def client(here: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> mlflow_server.Client:
    """A registered candidate with its training; a training alone; a trial; a run in the bin; files of no run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    settings = params({"register.gate.draws": 200})
    client = mlflow_server.connect()
    given = candidate("first", scores(0.5))
    register.settle(client, registration.log_candidate(client, given), given, settings.register_, settings.seed)
    experiment = client.get_experiment_by_name("NPM1").experiment_id
    for tag in ("training", "trial", "binned"):
        run = client.create_run(experiment, tags={tag: f"of {tag}"})
        client.log_text(run.info.run_id, "1234", "file.txt")
        client.set_terminated(run.info.run_id)
        if tag == "binned":
            client.delete_run(run.info.run_id)
    client.create_run(experiment, tags={"training": "under way"})
    stray = here / "mlartifacts/NPM1/0123456789abcdef"
    stray.mkdir()
    (stray / "file.txt").write_text("12")
    return client


def test_what_nobody_needs_is_told_by_kind_and_size(client: mlflow_server.Client) -> None:
    found = unneeded_runs.find(client, [], [])
    assert found["kinds"] == {
        "trainings that no commit holds": 1,
        "trials of searches": 1,
        "deleted in MLflow already, and in its bin": 1,
    }
    assert found["bytes"] == 3 * 4
    assert found["kept"] == 3  # the candidate, its training and what is under way
    assert [Path(path).name for path in found["strays"]] == ["0123456789abcdef"]
    assert found["stray_bytes"] == 2
    assert "trainings that no commit holds" not in unneeded_runs.find(client, [], ["of training"])["kinds"]
    assert "trainings that no commit holds" not in unneeded_runs.find(client, [], None)["kinds"]


def test_what_begins_meanwhile_or_stands_on_a_later_page_is_no_stray(
    client: mlflow_server.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = client.create_experiment("FLT3", (Path("mlartifacts") / "FLT3").resolve().as_uri())
    client.log_text(client.create_run(other).info.run_id, "1234", "file.txt")
    experiments, models = MlflowClient.search_experiments, MlflowClient.search_logged_models

    def begin_another(self: MlflowClient, *told: Any, **named: Any) -> Any:
        self.log_text(self.create_run(other).info.run_id, "1234", "file.txt")
        return models(self, *told, **named)

    monkeypatch.setattr(MlflowClient, "search_experiments", partialmethod(experiments, max_results=1))
    monkeypatch.setattr(MlflowClient, "search_logged_models", begin_another)
    assert [Path(path).name for path in unneeded_runs.find(client, [], [])["strays"]] == ["0123456789abcdef"]


def test_after_its_commands_the_versions_are_whole_and_nothing_is_left_to_delete(client: mlflow_server.Client) -> None:
    delete, purge = unneeded_runs.find(client, [], ["of training"])["commands"]
    runs, _, each = delete.removeprefix("for run in ").removesuffix("; done").partition("; do ")
    for command in (*(each.replace("$run", run) for run in runs.split()), purge):
        address, program, *arguments = shlex.split(command)
        assert (address, program) == (f"MLFLOW_TRACKING_URI={mlflow_address.address()}", "mlflow")
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
    found = unneeded_runs.find(client, [], ["of training"])
    assert (found["runs"], found["commands"], found["kept"]) == ([], [], 4)
    (version,) = versions.versions(client, "NPM1")
    assert versions.has_scores(client, version)
