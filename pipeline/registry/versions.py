"""MLflow's models: a version per candidate, and the names it may carry.

A version is found again by what makes it this model (`model_files.identity`), so everything here can be said twice.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.common import addresses, console, paths
from pipeline.common.errors import ModelError
from pipeline.drift import summaries
from pipeline.registry import gate, known_pictures, mlflow_runs, mlflow_server, model_card, model_files

Version: TypeAlias = ModelVersion  # what the other modules call it

_SCORES = "out_of_fold.csv"
_PATIENTS = "training_patients.parquet"
_MOST_KNOBS = 3  # that a run's name tells
CHAMPION, CHALLENGER = "champion", "challenger"
ROLLED_BACK, BY_HAND = "rolled_back", "by_hand"  # tags: why
ENCODER, ENCODER_DIGEST = "encoder", "encoder.digest"  # tags: by whose vectors a call answers, and what these follow from
_FORMER = "candidate.former"  # tag: the digest before
_GOES_ON_AS = "goes_on_as"  # tag of a version whose run or files are gone: the number of the one that took its place
_VERDICT = "\n### Verdict\n\n"
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
    settings: Mapping[str, Any]  # what `served` and `predict` read: temperatures, operating point, field of view ...
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


def find(client: MlflowClient, subtype: str, digest: str) -> ModelVersion | None:
    """The version that is this candidate, if it was registered before; under the digest of now, or one it had before."""
    for tag in ("candidate", _FORMER):
        found = client.search_model_versions(f"name = '{subtype}' AND tags.{tag} = '{digest}'")
        if alive := [model for model in found if _GOES_ON_AS not in model.tags]:
            return alive[0]
    return None


def _recognise(client: MlflowClient, candidate: Candidate) -> None:
    """Where a former version of this pipeline registered the candidate, under a digest of its own, let it be found by ours."""
    weights = _as_tags(candidate.weights_sha256)
    reigning = champion(client, candidate.subtype)
    for model in [*([reigning] if reigning else []), *versions(client, candidate.subtype)]:
        if {key: value for key, value in model.tags.items() if key.startswith("sha256.fold-")} != weights:
            continue
        if _GOES_ON_AS in model.tags or run_of(client, model) is None:
            continue
        try:
            place = client.get_model_version_download_uri(model.name, model.version)
            same = model_files.registered_identity(place, candidate.weights_sha256) == candidate.digest
        except (MlflowException, OSError) as error:
            if mlflow_server.went_away(error):
                raise
            continue  # its files are gone: it cannot be used
        if same:
            client.set_tag(_run_id(model), "candidate", candidate.digest)
            renamed = {_FORMER: model.tags.get("candidate", ""), "candidate": candidate.digest}
            note(client, model, **renamed, **{"candidate.name": candidate.name})
            console.say(
                f"{model.name} v{model.version}: registered by a former version of this pipeline, with the same weights, "
                "networks and settings; goes on as this version"
            )
            return


def log_candidate(client: MlflowClient, candidate: Candidate) -> ModelVersion:
    """A run for the whole model with the folds' runs below it, and its version in the registry, made if it is not there yet."""
    paths.CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.CHECKPOINTS / f"candidate-{candidate.digest[:16]}.lock"):  # a flow and a person may do so at once
        return _log_candidate(client, candidate)


def _log_candidate(client: MlflowClient, candidate: Candidate) -> ModelVersion:
    fold_runs = [mlflow_server.record_training(client, folder) for folder in candidate.folders]
    experiment = mlflow_runs.ensure_experiment(client, candidate.subtype)
    spec = json.loads((candidate.folders[0] / "spec.json").read_text())
    if find(client, candidate.subtype, candidate.digest) is None:
        _recognise(client, candidate)
    model = find(client, candidate.subtype, candidate.digest)
    its_run = run_of(client, model) if model else None
    lost = model if model and not (its_run and _has_files(client, model, candidate)) else None
    same_experiment = its_run is not None and its_run.info.experiment_id == experiment
    run = its_run if same_experiment else mlflow_runs.find(client, experiment, "candidate", candidate.digest)
    took_ms, began_ms = _trained(client, fold_runs)
    if run is None:
        run = client.create_run(
            experiment,
            start_time=began_ms,
            run_name=mlflow_runs.in_experiment(_run_name(client, candidate, spec)),
            tags={"candidate": candidate.digest, "candidate.name": candidate.name, **mlflow_runs.origin(spec)},
        )
        mlflow_runs.log_data(client, run, spec)
    run_id = run.info.run_id
    mlflow_runs.log_params(client, run, spec["knobs"])
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
        candidate.scores.to_csv(Path(folder) / _SCORES, index=False)
        client.log_artifact(run_id, str(Path(folder) / _SCORES))
        if candidate.patients is not None:
            candidate.patients.to_parquet(Path(folder) / _PATIENTS, index=False)
            client.log_artifact(run_id, str(Path(folder) / _PATIENTS))
    if model is None or lost:
        model = _log_model(client, run_id, candidate)
    if lost:
        _take_the_place(client, model, lost)
    client.update_model_version(model.name, model.version, description=model_card.with_elsewhere(candidate.card, model.tags))
    if candidate.made_of is not None:
        known_pictures.log(client, model, run_id, candidate.made_of)
    patients = hashlib.sha256(",".join(sorted(candidate.scores["patient"])).encode()).hexdigest()
    searched = {key: value for key, value in mlflow_runs.origin(spec).items() if key.startswith("tuned_on.")}
    note(client, model, patients=patients, cohort=candidate.cohort, results_md5=candidate.results_md5, **searched)
    if run.info.status != "FINISHED":  # said again, it would have lasted until now
        client.set_terminated(run_id, end_time=run.info.start_time + took_ms)
    return client.get_model_version(model.name, model.version)


def _trained(client: MlflowClient, fold_runs: Sequence[str]) -> tuple[int, int]:
    """Milliseconds that the trainings of the folds took together, and when the first began: what a candidate's run shows."""
    times = [client.get_run(run_id).info for run_id in fold_runs]
    return sum((time.end_time or time.start_time) - time.start_time for time in times), min(time.start_time for time in times)


def run_of(client: MlflowClient, model: ModelVersion) -> Run | None:
    """The run that a version came from, restored if it was deleted by hand; None if it was deleted for good (`mlflow gc`)."""
    try:
        return mlflow_runs.restored(client, client.get_run(_run_id(model)))
    except MlflowException as error:
        if mlflow_server.is_gone(error):
            return None
        raise


def _has_files(client: MlflowClient, model: ModelVersion, candidate: Candidate) -> bool:
    """Whether the version's files are where MLflow says that they are."""
    try:
        place = client.get_model_version_download_uri(model.name, model.version)
        return model_files.are_there(place, candidate.folders)
    except (MlflowException, OSError) as error:
        if mlflow_server.went_away(error):
            raise
        return False


def _take_the_place(client: MlflowClient, model: ModelVersion, lost: ModelVersion) -> None:
    """Let a version go on as another of the same candidate, made of the same files, because its own run or files are gone.

    The other takes what was decided over it, and its names; the lost one says who took its place.
    """
    with mlflow_server.deciding():
        carried = client.get_model_version(lost.name, lost.version)
        note(client, model, **{key: value for key, value in carried.tags.items() if key not in model.tags})
        note(client, carried, **{_GOES_ON_AS: str(model.version)})
        for alias in carried.aliases:
            client.set_registered_model_alias(model.name, alias, model.version)
    console.say(
        f"{lost.name} v{lost.version}: its run or its files are gone from MLflow; made again from the files of this folder, "
        f"goes on as v{model.version}"
    )


def _run_name(client: MlflowClient, candidate: Candidate, spec: Mapping[str, Any]) -> str:
    """What differs from the champion of now, the folds, and the beginning of the digest."""
    folds = "folds " + " ".join(folder.name.removeprefix("fold-") for folder in candidate.folders)
    reigning = champion(client, candidate.subtype)
    if reigning is None:
        return f"{candidate.name}: first, {folds}, {candidate.digest[:8]}"
    champions_run = run_of(client, reigning)
    if champions_run is None:
        return f"{candidate.name}: {folds}, {candidate.digest[:8]}"
    theirs = champions_run.data
    knobs = {key: mlflow_runs.as_param(value) for key, value in spec["knobs"].items()}
    turned = [f"{key}={value}" for key, value in knobs.items() if theirs.params.get(key) != value]
    others = [key for key, value in spec["inputs"].items() if theirs.tags.get(f"sha256.{key}") != value]
    if theirs.tags.get("curated.sha256") != spec.get("curated", {}).get("sha256"):
        others.append("training images")
    differs = turned[:_MOST_KNOBS] + (["..."] if len(turned) > _MOST_KNOBS else []) or [f"other {key}" for key in others]
    return f"{candidate.name}: {', '.join(differs) or 'the same again'}, {folds}, {candidate.digest[:8]}"


def champion(client: MlflowClient, subtype: str) -> ModelVersion | None:
    """The version that is champion now."""
    return called(client, subtype, CHAMPION)


def versions(client: MlflowClient, subtype: str) -> list[ModelVersion]:
    """All versions of the subtype's model, oldest first."""
    return sorted(client.search_model_versions(f"name = '{subtype}'"), key=lambda model: int(model.version))


def version(client: MlflowClient, subtype: str, number: str) -> ModelVersion | None:
    """One version of the subtype's model, if there is one of that number; of one that is lost, the one in its place."""
    found = next((model for model in versions(client, subtype) if str(model.version) == number), None)
    return version(client, subtype, found.tags[_GOES_ON_AS]) if found and _GOES_ON_AS in found.tags else found


def note(client: MlflowClient, model: ModelVersion, **tags: str) -> None:
    """Write tags on a version."""
    for key, value in tags.items():
        client.set_model_version_tag(model.name, model.version, key, value)


def called(client: MlflowClient, subtype: str, name: str) -> ModelVersion | None:
    """The version of a number, or the one that carries a name such as champion.

    Looked up by search: a server with accounts answers 403 to a question about the aliases of a model that is not there.
    """
    if name.isdecimal():
        return version(client, subtype, name)
    found = client.search_registered_models(f"name = '{subtype}'")
    number = found[0].aliases.get(name) if found else None
    return client.get_model_version(subtype, number) if number else None


def tried_elsewhere(client: MlflowClient, model: ModelVersion, cohort: str, line: str) -> None:
    """Write down with a version, and on its card, what it reached on another cohort; said again, the last counts."""
    note(client, model, **{model_card.elsewhere_tag(cohort): line})
    now = client.get_model_version(model.name, model.version)
    card, found, verdict = str(now.description).partition(_VERDICT)
    text = f"{model_card.with_elsewhere(card, now.tags)}{found}{verdict}"
    if len(text) <= model_card.LONGEST:
        client.update_model_version(model.name, model.version, text)


def scores(client: MlflowClient, model: ModelVersion) -> pd.DataFrame:
    """The version's out-of-fold scores as `log_candidate` stored them; empty where it has none."""
    if not has_scores(client, model):
        return pd.DataFrame(columns=gate.SCORES)
    return _read(client, model, _SCORES, lambda file: pd.read_csv(file, dtype={"patient": "str"}))


def patients(client: MlflowClient, model: ModelVersion) -> pd.DataFrame:
    """The cohort behind the version as `log_candidate` stored it; empty where a former release registered it."""
    run = run_of(client, model)
    if run is None or _PATIENTS not in {file.path for file in client.list_artifacts(run.info.run_id)}:
        return summaries.table([])
    return _read(client, model, _PATIENTS, lambda file: pd.read_parquet(file, columns=summaries.COLUMNS))


def _read(client: MlflowClient, model: ModelVersion, name: str, read: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """A table that lies with a version's run."""
    with tempfile.TemporaryDirectory() as folder:
        file = client.download_artifacts(_run_id(model), name, folder)
        try:
            return read(file)
        except Exception as error:  # pandas and Arrow raise whatever their parsers stumble over
            again = f"register_{model.name}" if model.name == "call" else f"register {model.name}"
            raise ModelError(
                f"{model.name} v{model.version}: {name} is damaged in MLflow ({addresses.first_line(error)}); run "
                f"`python -m pipeline {again}` where it was trained, which writes it again"
            ) from None


def has_scores(client: MlflowClient, model: ModelVersion) -> bool:
    """Whether they are there; of a network whose search saw its test patients they are an empty table."""
    run = run_of(client, model)
    return run is not None and _SCORES in {file.path for file in client.list_artifacts(run.info.run_id)}


def _run_id(model: ModelVersion) -> str:
    if not model.run_id:
        raise ModelError(f"{model.name} v{model.version}: was made from no run, so not by `register`; leave it to who made it")
    return model.run_id


def judged(client: MlflowClient, model: ModelVersion) -> set[str]:
    """The digests of all candidates of the model's cohort that were judged, whichever of its patients were there then."""
    same = client.search_model_versions(f"name = '{model.name}' AND tags.cohort = '{model.tags['cohort']}'")
    return {str(other.tags["candidate"]) for other in same if "verdict" in other.tags}


def decide(client: MlflowClient, model: ModelVersion, alias: str, about: Mapping[str, Any], time: datetime) -> None:
    """Write down what became of a version and why, then name it so alone. To be called while `mlflow_server.deciding`.

    `about` is what led to it: `verdict`, a sentence, stands in the version's tags too, and with its time for good. The name
    comes last: whoever is killed before it has decided nothing.
    """
    note(client, model, **{key: str(about[key]) for key in ("verdict", "tried_before") if key in about})
    if why := about.get(BY_HAND):
        note(client, model, **{BY_HAND: str(why)})
    elif BY_HAND in model.tags:
        client.delete_model_version_tag(model.name, model.version, BY_HAND)
    note(client, model, **{f"decided.{time:%Y%m%dT%H%M%S.%fZ}": str(about["verdict"])})
    if run := run_of(client, model):
        client.set_tag(run.info.run_id, "verdict", str(about["verdict"]))
        client.log_dict(run.info.run_id, dict(about), "verdict.json")
    describe(client, model, str(about["verdict"]))
    if alias == CHAMPION:
        crown(client, model, time)
    else:
        client.set_registered_model_alias(model.name, alias, model.version)
    for other in {CHAMPION, CHALLENGER} & set(aliases(client, model)) - {alias}:
        client.delete_registered_model_alias(model.name, other)


def describe(client: MlflowClient, model: ModelVersion, verdict: str) -> None:
    """The version's card with the verdict below it, where there is room."""
    card_alone = str(model.description).split(_VERDICT)[0]
    text = f"{card_alone}{_VERDICT}{verdict}\n"
    client.update_model_version(model.name, model.version, text if len(text) <= model_card.LONGEST else card_alone)


def crown(client: MlflowClient, model: ModelVersion, time: datetime) -> None:
    """Name a version champion; it remembers since when, and whom it replaced. To be called while `mlflow_server.deciding`."""
    before = champion(client, model.name)
    if before is None or before.version != model.version:
        note(client, model, champion_since=time.isoformat())
        if before is not None and ROLLED_BACK not in before.tags:  # one that was rolled back is nothing to go back to
            note(client, model, replaced=str(before.version))
        client.set_registered_model_alias(model.name, CHAMPION, model.version)


def discrown(client: MlflowClient, model: ModelVersion) -> None:
    """There is no champion any more. To be called while `tracking.deciding`."""
    client.delete_registered_model_alias(model.name, CHAMPION)


def cohort(client: MlflowClient, model: ModelVersion) -> str | None:
    """The name of the data a version was trained on: from its settings, where an earlier release registered it.

    None where these are gone.
    """
    if known := model.tags.get("cohort"):
        return str(known)
    try:
        found = model_files.registered_cohort(client.get_model_version_download_uri(model.name, model.version))
    except (MlflowException, OSError) as error:
        if mlflow_server.went_away(error):
            raise
        return None
    note(client, model, cohort=found)
    return found


def digests(model: ModelVersion) -> set[str]:
    """Under which a version is or was known as a candidate.

    Raises:
        ModelError: under none.
    """
    found = {str(model.tags[tag]) for tag in ("candidate", _FORMER) if tag in model.tags}
    if not found:
        raise ModelError(f"{model.name} v{model.version}: was not made by `register`; leave it to who made it")
    return found


def identity(model: ModelVersion) -> str:
    """What a version is told by, whichever MLflow holds it: the model's name and the candidate's digest."""
    return f"{model.name} {model.tags.get('candidate', '')[:16]}"


def registered_by(client: MlflowClient, model: ModelVersion) -> tuple[str, bool]:
    """The commit of the checkout that brought the version here (empty outside git), and whether it held changes."""
    run = run_of(client, model)
    tags = run.data.tags if run else {}
    return tags.get("git_commit", ""), tags.get("git_dirty") == "true"


def aliases(client: MlflowClient, model: ModelVersion) -> list[str]:
    """The names the version carries now."""
    return list(client.get_model_version(model.name, model.version).aliases)


def _log_model(client: MlflowClient, run_id: str, candidate: Candidate) -> ModelVersion:
    staging = paths.CHECKPOINTS / f"candidate-{candidate.digest[:16]}.unfinished"
    _delete_unversioned(client, run_id, candidate.subtype)
    logged = model_files.log(client, run_id, candidate.folders, candidate.settings, staging, candidate.beside)
    question = candidate.question or f"{candidate.subtype} against {candidate.settings['control']}"
    try:
        client.create_registered_model(candidate.subtype, description=_ABOUT.format(question))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
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


def _delete_unversioned(client: MlflowClient, run_id: str, subtype: str) -> None:
    """Delete the models that somebody who was cut off logged and made no version of; `mlflow gc` removes their files."""
    kept = {model.source for model in versions(client, subtype)}
    experiment = client.get_run(run_id).info.experiment_id
    for logged in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if logged.model_uri not in kept:
            client.delete_logged_model(logged.model_id)


def _as_tags(digests: Mapping[str, str]) -> dict[str, str]:
    """Digests of files, as a version's tags name them."""
    return {f"sha256.{name}": digest for name, digest in digests.items()}
