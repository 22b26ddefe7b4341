"""MLflow's models: a version per candidate, and the names it may carry.

A version is found again by the digest of its weights, so everything here can be said twice.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from pipeline import paths, tracking

_SERVED_CODE = Path(__file__).with_name("served.py")
CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Candidate:
    """A subtype's trained folds, together one model."""

    subtype: str
    digest: str  # of weights, specs and temperatures, see `register`
    folders: list[Path]
    weights_sha256: Mapping[str, str]  # folder name -> SHA-256 of its weights
    temperatures: Mapping[str, float]  # folder name -> by what the logits of its network are divided
    metrics: Mapping[str, float]
    pictures: list[Path]
    card: str  # Markdown


def _find_version(client: MlflowClient, candidate: Candidate) -> ModelVersion | None:
    """The version that holds exactly these weights, if it was registered before."""
    found = client.search_model_versions(f"name = '{candidate.subtype}' AND tags.candidate = '{candidate.digest}'")
    return found[0] if found else None


def log_candidate(client: MlflowClient, candidate: Candidate) -> ModelVersion:
    """A run for the whole model with the folds' runs below it, and its version in the registry, made if it is not there yet."""
    fold_runs = [tracking.record_training(client, folder) for folder in candidate.folders]
    experiment = tracking.ensure_experiment(client, candidate.subtype)
    run = tracking.find_run(client, experiment, "candidate", candidate.digest)
    if run is None:
        folds = ", ".join(folder.name.removeprefix("fold-") for folder in candidate.folders)
        run = client.create_run(
            experiment, run_name=f"{candidate.digest[:8]} folds {folds}", tags={"candidate": candidate.digest}
        )
    run_id = run.info.run_id
    spec = json.loads((candidate.folders[0] / "spec.json").read_text())
    tracking.log_params(client, run, spec["knobs"])
    now = int(time.time() * 1000)
    changed = {key: value for key, value in candidate.metrics.items() if run.data.metrics.get(key) != value}
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in changed.items()])
    for key, value in {**tracking.provenance(), "mlflow.note.content": candidate.card}.items():
        client.set_tag(run_id, key, value)
    for picture in candidate.pictures:
        client.log_artifact(run_id, str(picture), "pictures")
    for fold_run in fold_runs:
        client.set_tag(fold_run, "mlflow.parentRunId", run_id)
    model = _find_version(client, candidate) or _log_model(client, run_id, candidate)
    client.update_model_version(model.name, model.version, description=candidate.card)
    client.set_terminated(run_id)
    return model


def judge(client: MlflowClient, model: ModelVersion, alias: str, verdict: str) -> None:
    """Name a version champion or challenger, and nothing else; write down why."""
    for other in {CHAMPION, CHALLENGER} & set(aliases(client, model)) - {alias}:
        client.delete_registered_model_alias(model.name, other)
    client.set_registered_model_alias(model.name, alias, model.version)
    client.set_model_version_tag(model.name, model.version, "verdict", verdict)


def aliases(client: MlflowClient, model: ModelVersion) -> list[str]:
    """The names the version carries now."""
    return list(client.get_model_version(model.name, model.version).aliases)


def _log_model(client: MlflowClient, run_id: str, candidate: Candidate) -> ModelVersion:
    """The networks as code, specs and weights: nothing in the model is ever unpickled."""
    staging = paths.CHECKPOINTS / f"candidate-{candidate.digest[:16]}-{os.getpid()}"  # relative: MLflow notes the path
    networks = staging / "networks"
    try:
        networks.mkdir(parents=True)
        shutil.copyfile(Path(__file__).with_name("model.py"), networks / "network.py")
        for folder in candidate.folders:
            (networks / folder.name).mkdir()
            for name in ("spec.json", "model.weights.h5"):
                shutil.copyfile(folder / name, networks / folder.name / name)
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "An input example was not provided")  # the signature is given by hand
            logged = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(_SERVED_CODE),
                artifacts={"networks": str(networks)},
                model_config={
                    "weights_sha256": dict(candidate.weights_sha256),
                    "temperatures": dict(candidate.temperatures),
                },
                signature=ModelSignature(
                    inputs=Schema([ColSpec(DataType.binary, "image")]),
                    outputs=Schema([ColSpec(DataType.double, "score")]),
                ),
                pip_requirements=[f"{name}=={version(name)}" for name in ("keras", "numpy", "pillow", "tensorflow")],
            )
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    try:
        client.create_registered_model(candidate.subtype)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(
        candidate.subtype,
        logged.model_uri,
        run_id=run_id,
        model_id=logged.model_id,
        tags={"candidate": candidate.digest, **{f"sha256.{k}": v for k, v in candidate.weights_sha256.items()}},
        description=candidate.card,
    )
