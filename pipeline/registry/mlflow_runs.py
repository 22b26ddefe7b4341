"""What a run of MLflow says: which knobs, which data, which machine, which commit; and every epoch once.

A run is found again by a tag, a training's by the digest of all that it follows from, so everything here can be said twice.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, ViewType
from mlflow.exceptions import MlflowException

from pipeline.common import made
from pipeline.common.checkout import git
from pipeline.registry import mlflow_database
from pipeline.registry.mlflow_client import Client

_LONGEST_DIGEST = 36  # MLflow's limit
_CALL = "call"  # the experiment of the model of all classes
VIEW = "pipeline"  # the runs' page with `?viewStateShareKey=` this shows the columns below, whoever opens it
# First, since a list of experiments shows the beginning alone; without the type MLflow opens pages of chats.
_LINK = "[Runs by the columns that matter](#/experiments/{}/runs?workflowType=machine_learning&viewStateShareKey={}): "


@dataclass(frozen=True)
class Page:
    """What an experiment's page says that it holds, and which columns the page behind its link shows."""

    about: str
    metrics: Sequence[str]
    tags: Sequence[str] = ()


_OF_SUBTYPE = Page(
    "a run a candidate, with figures, pictures and card; below it one a trained fold, with its curves. Compare "
    "candidates by `patient_auroc` and its bounds, trainings by `kept_val_loss`, the loss of the epoch whose weights were kept "
    "(`val_loss` ends with the last).",
    [
        "patient_auroc",
        "patient_auroc_low",
        "patient_auroc_high",
        "patient_sensitivity",
        "patient_specificity",
        "image_accuracy",
        "kept_val_loss",
    ],
    ["verdict"],
)
_OF_CALL = Page(
    "a run a candidate, with figures and card: one answer of all classes for a patient. Compare candidates by `log_loss`, "
    "and by `balanced_accuracy` and its bounds.",
    ["balanced_accuracy", "log_loss", "coverage", "mean_set_size"],
    ["verdict"],
)


def of_training(client: Client, spec: Mapping[str, Any]) -> Run:
    """The run of one training, found by the training's digest or made; a run that was cut off is taken up again."""
    experiment = ensure_experiment(client, spec["subtype"])
    run = find(client, experiment, "training", spec["training"])
    if run is None:
        name = in_experiment(f"fold {spec['fold']} {spec['training'][:8]}")
        tags = {"fold": str(spec["fold"]), **origin(spec), **provenance()}
        run = make(client, experiment, "training", spec["training"], name, tags)
    elif run.info.status in ("FAILED", "KILLED"):
        client.update_run(run.info.run_id, status="RUNNING")
    log_params(client, run, spec["knobs"])
    log_data(client, run, spec)
    return run


def in_experiment(name: str) -> str:
    """A run's name, behind that of the DVC experiment it belongs to."""
    return f"{os.environ['DVC_EXP_NAME']}: {name}" if os.environ.get("DVC_EXP_NAME") else name


def ensure_experiment(client: Client, name: str, page: Page | None = None) -> str:
    """The id of an experiment, made if it is not there; without a page of its own it is a subtype's, or the call's."""
    page = page or (_OF_CALL if name == _CALL else _OF_SUBTYPE)
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        _describe(client, experiment, page)
        if experiment.lifecycle_stage == "deleted":  # by hand, in MLflow's pages
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)
    try:
        kind = {"mlflow.experimentKind": "custom_model_development"}  # the page shows trainings, not chats
        made = client.create_experiment(name, artifact_location=_artifact_location(client.tracking_uri, name), tags=kind)
    except MlflowException:
        made_meanwhile = client.get_experiment_by_name(name)  # by a training of another fold
        if made_meanwhile is None:
            raise
        return str(made_meanwhile.experiment_id)
    _describe(client, client.get_experiment(made), page)
    return str(made)


def _describe(client: Client, experiment: Experiment, page: Page) -> None:
    """Say what the experiment holds, and which columns its page shows; what somebody wrote in the place of it stays."""
    columns = [*(f"metrics.`{name}`" for name in page.metrics), *(f"tags.`{name}`" for name in page.tags)]
    told = {
        "mlflow.note.content": _LINK.format(experiment.experiment_id, VIEW) + page.about,
        f"mlflow.sharedViewState.{VIEW}": json.dumps({"selectedColumns": columns}),
    }
    for key, value in told.items():
        if key not in experiment.tags and experiment.lifecycle_stage != "deleted":
            client.set_experiment_tag(experiment.experiment_id, key, value)


def _artifact_location(address: str, subtype: str) -> str | None:
    """Where the experiment's artifacts go: beside a database file, or, None, where the server decides."""
    if address.startswith("sqlite:///"):
        return (Path(address.removeprefix("sqlite:///")).resolve().parent / mlflow_database.ARTIFACTS / subtype).as_uri()
    return None


def find(client: Client, experiment: str, tag: str, value: str) -> Run | None:
    """The run of the experiment that carries the tag; one that was deleted by hand, and not yet for good, is restored.

    Of several it is the same one for everybody: the first.
    """
    found = client.search_runs([experiment], f"tags.{tag} = '{value}'", ViewType.ALL)
    found.sort(key=lambda run: (run.info.lifecycle_stage == "deleted", run.info.start_time, run.info.run_id))
    return restored(client, found[0]) if found else None


def make(
    client: Client,
    experiment: str,
    tag: str,
    value: str,
    name: str,
    tags: Mapping[str, str],
    start_time: int | None = None,
) -> Run:
    """The run that carries the tag where `find` found none.

    Of two that two processes made at once the later goes, if both had been made when they looked; else both stay, and `find`
    gives everybody the first.
    """
    made = client.create_run(experiment, start_time, {tag: value, **tags}, name)
    first = find(client, experiment, tag, value) or made
    if first.info.run_id != made.info.run_id:
        client.delete_run(made.info.run_id)
    return first


def restored(client: Client, run: Run) -> Run:
    """The run, and that it can be written to: MLflow lets a deleted one be read only."""
    if run.info.lifecycle_stage != "deleted":
        return run
    client.restore_run(run.info.run_id)
    return client.get_run(run.info.run_id)


def as_param(value: object) -> str:
    """A knob as MLflow shows it: `256 192 192` for a list, which its pages would spread over lines."""
    return (" ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def log_params(client: Client, run: Run, knobs: Mapping[str, object]) -> None:
    """Give the run those knobs that it does not have: MLflow lets none be said twice."""
    missing = [Param(key, as_param(value)) for key, value in knobs.items() if key not in run.data.params]
    if missing:
        client.log_batch(run.info.run_id, params=missing)


def origin(spec: Mapping[str, Any]) -> dict[str, str]:
    """Tags that say on what machine a network was trained, and from which data, split and code, by their digests."""
    machine = {f"machine.{key}": str(value) for key, value in spec["machine"].items()}
    searched = {f"tuned_on.{key}": str(value) for key, value in spec.get("tuned_on", {}).items()}  # no names of patients
    curated = {f"curated.{key}": str(value) for key, value in spec.get("curated", {}).items()}  # nor of images
    return {**machine, **{f"sha256.{key}": str(value) for key, value in spec["inputs"].items()}, **curated, **searched}


def log_data(client: Client, run: Run, spec: Mapping[str, Any]) -> None:
    """Name the data that a run learned from: where it lies and its digest, nothing of it."""
    if run.inputs is not None and run.inputs.dataset_inputs:
        return
    names = spec.get("classes") or [spec["control"], spec["subtype"]]
    classes = " and ".join(names)
    kind, name, place = "cells", f"cells of {classes}, {spec.get('px')} px", "data/cells"
    if "vectors" in spec["inputs"]:
        kind, name, place = "vectors", f"vectors of {classes}", f"data/vectors/{spec['encoder']['name']}"
    data = {
        kind: (name, [f"{place}/{of_class}.npy" for of_class in names]),
        "split": (f"split of {classes} by patient", [f"data/splits/{subtype}.csv" for subtype in names[1:]]),
    }
    inputs = [
        DatasetInput(
            Dataset(name, str(spec["inputs"][kind])[:_LONGEST_DIGEST], "dvc", json.dumps({"paths": files})),
            [InputTag("mlflow.data.context", "training")],
        )
        for kind, (name, files) in data.items()
    ]
    client.log_inputs(run.info.run_id, inputs)  # both or neither


def epochs_logged(client: Client, run: Run) -> dict[int, int]:
    """The epochs that the run has, from 0, and when each was told, in milliseconds."""
    if "val_loss" not in run.data.metrics:
        return {}
    return {int(metric.step): int(metric.timestamp) for metric in client.get_metric_history(run.info.run_id, "val_loss")}


def log_epoch(client: Client, run_id: str, row: Mapping[str, float], at_ms: int | None = None) -> None:
    """One row of a history; what is told twice of one time, which is now where none is given, MLflow has once."""
    at_ms, epoch = at_ms or int(time.time() * 1000), int(row["epoch"])
    metrics = [Metric(key, float(value), at_ms, epoch) for key, value in row.items() if key not in ("epoch", "kept")]
    client.log_batch(run_id, metrics=metrics)


def history(folder: Path) -> pd.DataFrame:
    """The epochs of a training; none where the learner has none."""
    file = folder / "history.csv"
    return made.rows(file) if file.is_file() else pd.DataFrame(columns=["epoch", "kept"])


def complete(client: Client, run_id: str, folder: Path) -> None:
    """The training is over and its files are in `folder`; whoever was cut off in here may begin again."""
    curves = history(folder)
    if len(curves):
        kept = curves[curves["kept"] == 1].iloc[0]
        if client.get_run(run_id).data.metrics.get("kept_val_loss") != (loss := float(kept["val_loss"])):
            client.log_metric(run_id, "kept_val_loss", loss)
        client.set_tag(run_id, "kept_epoch", str(int(kept["epoch"]) + 1))
    for name in ("spec.json", "history.csv"):
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
    client.set_terminated(run_id)


def provenance() -> dict[str, str]:
    """Commit, whether the working tree differed from it (what every run rewrites aside), Prefect's and DVC's names, if any."""
    commit = git("rev-parse", "HEAD")
    names = {"prefect_flow_run": "FLOW_RUN", "dvc_exp": "DVC_EXP_NAME"}
    named = {tag: os.environ[variable] for tag, variable in names.items() if os.environ.get(variable)}
    if not commit:
        return named
    dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports", ":!data/decisions.jsonl")
    return {"git_commit": commit, "git_dirty": str(bool(dirty)).lower(), **named}
