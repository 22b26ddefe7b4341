"""A run in MLflow is there once and says all that it must, whoever writes at the same moment or was cut off before."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from candidates import candidate
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from scores import scores

from pipeline.registry import mlflow_runs, mlflow_server, transfer_run
from pipeline.search import trial_runs

KINDS = {"cells of control and NPM1, 48 px", "split of control and NPM1 by patient"}


@pytest.fixture
def client(here: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow_server.Client:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    return mlflow_server.connect()


@pytest.fixture
def spec(here: Path) -> dict[str, Any]:
    given = candidate("one", scores(1.0, seed=1))
    found: dict[str, Any] = json.loads((given.folders[0] / "spec.json").read_text())
    return {**found, "knobs": {"px": 48}}


def said(client: mlflow_server.Client, spec: dict[str, Any]) -> tuple[dict[str, str], set[str]]:
    run = client.get_run(mlflow_runs.of_training(client, spec).info.run_id)
    return run.data.params, {each.dataset.name for each in run.inputs.dataset_inputs}


def test_a_run_cut_off_when_it_was_just_made_is_told_the_rest(client: mlflow_server.Client, spec: dict[str, Any]) -> None:
    experiment = mlflow_runs.ensure_experiment(client, "NPM1")
    made = client.create_run(experiment, tags={"training": spec["training"]})
    assert said(client, spec) == ({"px": "48"}, KINDS)
    assert [run.info.run_id for run in client.search_runs([experiment])] == [made.info.run_id]


def test_two_processes_that_begin_one_training_at_the_same_moment_have_one_run(
    client: mlflow_server.Client, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    create, others = MlflowClient.create_run, list[Run]()

    def too_late(self: MlflowClient, experiment: str, start_time: int | None, *told: Any) -> Run:
        if not others:
            others.append(create(self, experiment, int(time.time() * 1000) - 1, *told))
        return create(self, experiment, start_time, *told)

    monkeypatch.setattr(MlflowClient, "create_run", too_late)
    assert said(client, spec) == ({"px": "48"}, KINDS)
    runs = client.search_runs([client.get_experiment_by_name("NPM1").experiment_id])
    assert [run.info.run_id for run in runs] == [run.info.run_id for run in others]


def test_epochs_that_two_processes_bring_from_the_files_at_the_same_moment_are_there_once(
    client: mlflow_server.Client, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_runs, "epochs_logged", lambda *_: {})  # neither finds the other's
    monkeypatch.setattr(mlflow_runs, "complete", lambda *_: None)
    for _ in range(2):
        run = mlflow_server.record_training(client, Path("models/one/fold-0"))
        time.sleep(0.002)
    assert [metric.value for metric in client.get_metric_history(run, "val_loss")] == [0.5]


def test_searches_and_transfers_that_were_cut_off_likewise_are_told_the_rest(client: mlflow_server.Client, here: Path) -> None:
    experiment = mlflow_runs.ensure_experiment(client, "NPM1")
    for name in ("curve.csv", "curve.png", "lineage.json"):
        (here / name).write_text("")
    lineage = {"transfer": "two", "subtype": "NPM1", "knobs": {"px": 48}}
    tell: dict[str, Callable[[], Any]] = {
        "search": lambda: trial_runs.begin(client, "NPM1", "two", {"px": 48}),
        "transfer": lambda: transfer_run.log(client, lineage, [], here),
    }
    for tag, call in tell.items():
        run = client.create_run(experiment, tags={tag: "two"})
        call()
        assert client.get_run(run.info.run_id).data.params["px"] == "48"


def test_what_mlflow_goes_on_refusing_is_told(
    client: mlflow_server.Client, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: MlflowClient, *told: Any) -> None:
        raise MlflowException("no", BAD_REQUEST)

    monkeypatch.setattr(MlflowClient, "log_inputs", refuse)
    with pytest.raises(MlflowException, match="no"):
        said(client, spec)
