"""A candidate's run and its version in MLflow, made where they are not there yet.

A version is found again by what makes it this model (`model_files.identity`), so everything here can be said twice.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.common import console, paths
from pipeline.registry import (
    known_pictures,
    mlflow_address,
    mlflow_errors,
    mlflow_runs,
    mlflow_server,
    model_files,
    versions,
)
from pipeline.registry.mlflow_client import Client

_MOST_KNOBS = 3  # that a run's name tells
_ABOUT = (
    "{}, from images of single white blood cells. For research only, not for diagnosis. `champion` is "
    "the version to use: it reached the floors and passed the gate against the one before; `challenger` is the newest that "
    "did not. A version's tag `verdict` says why; its description is its model card."
)


@dataclass(frozen=True)
class Candidate:
    """The trained folds of one learner of a subtype, together one model."""

    subtype: str
    name: str  # as params.yaml calls it
    digest: str  # `model_files.identity`
    folders: list[Path]
    weights_sha256: Mapping[str, str]  # folder name -> SHA-256 of its weights
    settings: Mapping[str, Any]  # what `served_model` and `predict` read: temperatures, operating point, field of view ...
    results_md5: str  # as dvc.lock names them
    metrics: Mapping[str, float]
    scores: pd.DataFrame  # out of fold, as `gate` reads them; `patient` is a key that tells nobody who it is
    pictures: list[Path]
    card: str  # Markdown
    beside: Mapping[str, Path] = field(default_factory=dict)  # the files of encoders by name in the model, where it has any
    question: str = ""  # that it answers, where that is not the subtype against control
    made_of: pd.DataFrame | None = None  # the pictures that it was made from, as `known_pictures` keeps them
    patients: pd.DataFrame | None = None  # of the cohort, in numbers and under keys: `drift.summaries`

    @property
    def cohort(self) -> str:
        """The name of the data it was trained on."""
        return str(self.settings["cohort"]["cohort"])


def log_candidate(client: Client, candidate: Candidate) -> ModelVersion:
    """A run for the whole model with the folds' runs below it, and its version in the registry, made if it is not there yet."""
    locks = mlflow_address.home() / paths.CHECKPOINTS  # DVC may run experiments in copies of the checkout
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"candidate-{candidate.digest[:16]}.lock"):  # a flow and a person may do so at once
        return _log_candidate(client, candidate)


def _log_candidate(client: Client, candidate: Candidate) -> ModelVersion:
    fold_runs = [mlflow_server.record_training(client, folder) for folder in candidate.folders]
    experiment = mlflow_runs.ensure_experiment(client, candidate.subtype)
    spec = json.loads((candidate.folders[0] / "spec.json").read_text())
    if versions.find(client, candidate.subtype, candidate.digest) is None:
        _recognise(client, candidate)
    model = versions.find(client, candidate.subtype, candidate.digest)
    its_run = versions.run_of(client, model) if model else None
    lost = model if model and not (its_run and _has_files(client, model, candidate)) else None
    same_experiment = its_run is not None and its_run.info.experiment_id == experiment
    took_ms, began_ms = _trained(client, fold_runs)
    with mlflow_server.deciding():  # another machine may register the same
        run = its_run if same_experiment else mlflow_runs.find(client, experiment, "candidate", candidate.digest)
        if run is None:
            name = mlflow_runs.in_experiment(_run_name(client, candidate, spec))
            tags = {"candidate.name": candidate.name, **mlflow_runs.origin(spec)}
            run = mlflow_runs.make(client, experiment, "candidate", candidate.digest, name, tags, began_ms)
    run_id = run.info.run_id
    mlflow_runs.log_params(client, run, spec["knobs"])
    mlflow_runs.log_data(client, run, spec)
    now = int(time.time() * 1000)
    changed = {key: value for key, value in candidate.metrics.items() if run.data.metrics.get(key) != value}
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in changed.items()])
    for key, value in {**mlflow_runs.provenance(), "mlflow.note.content": candidate.card}.items():
        client.set_tag(run_id, key, value)
    for picture in candidate.pictures:
        client.log_artifact(run_id, str(picture), "pictures")
    for fold_run in fold_runs:
        client.set_tag(fold_run, "mlflow.parentRunId", run_id)
    with tempfile.TemporaryDirectory() as folder:
        candidate.scores.to_csv(Path(folder) / versions.SCORES, index=False)
        client.log_artifact(run_id, str(Path(folder) / versions.SCORES))
        if candidate.patients is not None:
            candidate.patients.to_parquet(Path(folder) / versions.PATIENTS, index=False)
            client.log_artifact(run_id, str(Path(folder) / versions.PATIENTS))
    if model is None or lost:
        model = _log_model(client, run_id, candidate)
    if lost:
        _take_the_place(client, model, lost)
    model = _first(client, model, candidate)
    versions.write_card(client, model, candidate.card)
    if candidate.made_of is not None:
        known_pictures.log(client, model, run_id, candidate.made_of)
    patients = hashlib.sha256(",".join(sorted(candidate.scores["patient"])).encode()).hexdigest()
    searched = {key: value for key, value in mlflow_runs.origin(spec).items() if key.startswith("tuned_on.")}
    versions.note(client, model, patients=patients, cohort=candidate.cohort, results_md5=candidate.results_md5, **searched)
    if run.info.status != "FINISHED":  # said again, it would have lasted until now
        client.set_terminated(run_id, end_time=run.info.start_time + took_ms)
    return client.get_model_version(model.name, model.version)


def _recognise(client: Client, candidate: Candidate) -> None:
    """Where a former version of this pipeline registered the candidate, under a digest of its own, let it be found by ours."""
    weights = _as_tags(candidate.weights_sha256)
    reigning = versions.champion(client, candidate.subtype)
    tagged = "".join(f" AND tags.`{key}` = '{value}'" for key, value in weights.items())
    same_weights = client.search_model_versions(f"name = '{candidate.subtype}'{tagged}")
    for model in [*([reigning] if reigning else []), *sorted(same_weights, key=lambda model: int(model.version))]:
        if {key: value for key, value in model.tags.items() if key.startswith("sha256.fold-")} != weights:
            continue
        if versions.GOES_ON_AS in model.tags or versions.run_of(client, model) is None:
            continue
        try:
            place = client.get_model_version_download_uri(model.name, model.version)
            same = model_files.registered_identity(place, candidate.weights_sha256) == candidate.digest
        except (MlflowException, OSError) as error:
            if not mlflow_errors.is_of_what_was_asked(error):
                raise
            continue  # its files are gone: it cannot be used
        if same:
            client.set_tag(versions.run_id(model), "candidate", candidate.digest)
            renamed = {versions.FORMER: model.tags.get("candidate", ""), "candidate": candidate.digest}
            versions.note(client, model, **renamed, **{"candidate.name": candidate.name})
            console.say(
                f"{model.name} v{model.version}: registered by a former version of this pipeline, with the same weights, "
                "networks and settings; goes on as this version"
            )
            return


def _trained(client: Client, fold_runs: Sequence[str]) -> tuple[int, int]:
    """Milliseconds that the trainings of the folds took together, and when the first began: what a candidate's run shows."""
    times = [client.get_run(run_id).info for run_id in fold_runs]
    return sum((time.end_time or time.start_time) - time.start_time for time in times), min(time.start_time for time in times)


def _has_files(client: Client, model: ModelVersion, candidate: Candidate) -> bool:
    """Whether the version's files are where MLflow says that they are."""
    try:
        place = client.get_model_version_download_uri(model.name, model.version)
        return model_files.are_there(place, candidate.folders)
    except (MlflowException, OSError) as error:
        if not mlflow_errors.is_of_what_was_asked(error):
            raise
        return False


def _take_the_place(client: Client, model: ModelVersion, lost: ModelVersion) -> None:
    """Let a version go on as another of the same candidate, made of the same files, because its own run or files are gone.

    The other takes what was decided over it, and its names; the lost one says who took its place.
    """
    with mlflow_server.deciding():
        carried = client.get_model_version(lost.name, lost.version)
        versions.note(client, model, **{key: value for key, value in carried.tags.items() if key not in model.tags})
        versions.note(client, carried, **{versions.GOES_ON_AS: str(model.version)})
        for alias in carried.aliases:
            client.set_registered_model_alias(model.name, alias, model.version)
    console.say(
        f"{lost.name} v{lost.version}: its run or its files are gone from MLflow; made again from the files of this folder, "
        f"goes on as v{model.version}"
    )


def _first(client: Client, model: ModelVersion, candidate: Candidate) -> ModelVersion:
    """The version, or where another machine made one of the same candidate at the same moment that one: the first of both."""
    first = versions.find(client, candidate.subtype, candidate.digest) or model
    if first.version != model.version:
        versions.note(client, model, **{versions.GOES_ON_AS: str(first.version)})
    return first


def _run_name(client: Client, candidate: Candidate, spec: Mapping[str, Any]) -> str:
    """What differs from the champion of now, the folds, and the beginning of the digest."""
    folds = "folds " + " ".join(folder.name.removeprefix("fold-") for folder in candidate.folders)
    reigning = versions.champion(client, candidate.subtype)
    if reigning is None:
        return f"{candidate.name}: first, {folds}, {candidate.digest[:8]}"
    champions_run = versions.run_of(client, reigning)
    if champions_run is None:
        return f"{candidate.name}: {folds}, {candidate.digest[:8]}"
    theirs = champions_run.data
    knobs = {key: mlflow_runs.as_param(value) for key, value in spec["knobs"].items()}
    turned = [f"{key}={value}" for key, value in knobs.items() if theirs.params.get(key) != value]
    others = [key for key, value in spec["inputs"].items() if theirs.tags.get(f"sha256.{key}") != value]
    if theirs.tags.get("curated.sha256") != spec.get("curated", {}).get("sha256"):
        others.append("training images")
    differs = turned[:_MOST_KNOBS] + (["..."] if len(turned) > _MOST_KNOBS else []) or [f"other {key}" for key in others]
    told = ", ".join(differs) or f"settings and data as champion v{reigning.version}"
    return f"{candidate.name}: {told}, {folds}, {candidate.digest[:8]}"


def _log_model(client: Client, run_id: str, candidate: Candidate) -> ModelVersion:
    staging = paths.CHECKPOINTS / f"candidate-{candidate.digest[:16]}.unfinished"
    with mlflow_server.deciding():
        _delete_unversioned(client, run_id)
    log = partial(model_files.log, client, run_id, candidate.folders, candidate.settings, staging, candidate.beside)
    logged = log()
    question = candidate.question or f"{candidate.subtype} against {candidate.settings['control']}"
    try:
        client.create_registered_model(candidate.subtype, description=_ABOUT.format(question))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    while True:
        try:
            with mlflow_server.deciding():  # while nobody looks which models have no version
                return client.create_model_version(
                    candidate.subtype,
                    logged.uri,
                    run_id=run_id,
                    model_id=logged.model_id,
                    tags={
                        "candidate": candidate.digest,
                        "candidate.name": candidate.name,
                        **_as_tags({**candidate.weights_sha256, **logged.entrance}),
                    },
                    description=candidate.card,
                )
        except MlflowException:
            if not _is_deleted(client, logged.model_id):  # by another machine, which took it for what a kill had left
                raise
            logged = log()


def _is_deleted(client: Client, model_id: str) -> bool:
    try:
        client.get_logged_model(model_id)
    except MlflowException as error:
        if mlflow_errors.is_gone(error):
            return True
        raise
    return False


def _delete_unversioned(client: Client, run_id: str) -> None:
    """Delete the models that somebody who was cut off logged and made no version of; `mlflow gc` removes their files."""
    experiment = client.get_run(run_id).info.experiment_id
    logged_models = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    kept = {model.source for model in client.search_model_versions(f"run_id = '{run_id}'")}  # asked last
    for logged in logged_models:
        if logged.model_uri not in kept:
            client.delete_logged_model(logged.model_id)


def _as_tags(digests: Mapping[str, str]) -> dict[str, str]:
    """Digests of files, as a version's tags name them."""
    return {f"sha256.{name}": digest for name, digest in digests.items()}
