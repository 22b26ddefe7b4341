"""A search in MLflow: a run for the whole, and below it a run for every trial.

A trial's run is made when the trial has ended, from what the study remembers, and found again by its place: so it can be said
twice, and what was missed while MLflow was away is made up for later. Names of patients are not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric

from pipeline.registry import mlflow_runs, mlflow_server
from pipeline.search.optuna_study import Trial


def begin(client: mlflow_server.Client, subtype: str, study: str, knobs: Mapping[str, Any]) -> str:
    """The id of the search's run, made if it is not there."""
    experiment = mlflow_runs.ensure_experiment(client, subtype)
    run = mlflow_runs.find(client, experiment, "search", study)
    if run is None:
        run = mlflow_runs.make(client, experiment, "search", study, f"search {study}", mlflow_runs.provenance())
    mlflow_runs.log_params(client, run, knobs)
    return str(run.info.run_id)


def log_trial(client: mlflow_server.Client, parent: str, study: str, trial: Trial, name: str, knobs: Mapping[str, Any]) -> None:
    """Make sure that an ended trial has its run below the search's."""
    experiment = client.get_run(parent).info.experiment_id
    tag = f"{study} {trial.place}"
    run = mlflow_runs.find(client, experiment, "trial", tag)
    if run is None:
        tags = {"mlflow.parentRunId": parent, "trial_state": trial.state, **mlflow_runs.provenance()}
        run = mlflow_runs.make(client, experiment, "trial", tag, f"trial {trial.place}: {name}", tags, trial.started_ms)
    elif run.info.status != "RUNNING":
        return
    mlflow_runs.log_params(client, run, knobs)
    ended = trial.started_ms + int(trial.seconds * 1000)
    figures = {key: float(value) for key, value in trial.notes.items() if isinstance(value, int | float)}
    metrics = [Metric(key, value, ended, 0) for key, value in {**figures, "seconds": trial.seconds}.items()]
    metrics += [Metric("best_val_loss", loss, ended, step) for step, loss in trial.curve.items()]
    client.log_batch(run.info.run_id, metrics=metrics)
    client.set_terminated(run.info.run_id, "FINISHED" if trial.state == "complete" else "KILLED", ended)


def finish(client: mlflow_server.Client, run_id: str, card: str, metrics: Mapping[str, float], folder: Path) -> None:
    """What the search found: a card in Markdown, figures, and the files of `folder`."""
    client.set_tag(run_id, "mlflow.note.content", card)
    for key, value in metrics.items():
        client.log_metric(run_id, key, value)
    for path in sorted(folder.iterdir()):
        if path.suffix in (".png", ".csv", ".json"):
            client.log_artifact(run_id, str(path))
    client.set_terminated(run_id)
