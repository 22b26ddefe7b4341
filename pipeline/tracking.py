"""MLflow's runs: one experiment per subtype, a run per trained fold. `registry` has the models.

A run is found again by the digest of the training it shows, so everything here can be said twice. The address is
MLFLOW_TRACKING_URI, else the file mlflow.db. A server that does not answer when a training starts stops it before an epoch is
spent; one that goes away while the network trains costs a warning, and `register` completes the run from the files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

import mlflow
import pandas as pd
import requests
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from pipeline import console
from pipeline.errors import TrackingError

Client: TypeAlias = MlflowClient  # what the other modules call it

_DATABASE = Path("mlflow.db")
_ARTIFACTS = Path("mlartifacts")
_PATIENCE_S = 600
_LOAD_EVERY_S = 5
_LONGEST_DIGEST = 36  # MLflow's limit
_AWAY = re.compile(r"failed with exception|failed with error code (401|403|413|5\d\d)|database is locked|OperationalError")
_DECIDING, _CREATING = (
    int.from_bytes(hashlib.sha256(what).digest()[:8], signed=True) for what in (b"who is champion", b"MLflow's tables")
)


# When the server is lost one warning is enough, and it is ours.
logging.getLogger("mlflow.system_metrics.system_metrics_monitor").setLevel(logging.CRITICAL)


class Follower(Protocol):
    """What a training tells while it runs."""

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """One row of the history."""

    def finish(self, folder: Path) -> None:
        """The training is done and its files are in `folder`."""


def address() -> str:
    """Where MLflow keeps its records: MLFLOW_TRACKING_URI, else a database file in this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_home() / _DATABASE}"


def _home() -> Path:
    """This folder; for an experiment that DVC runs in a copy of the checkout, deleted afterwards, the checkout itself."""
    root = Path(os.environ.get("DVC_ROOT") or ".")
    return root if Path.cwd().is_relative_to(root / ".dvc") else Path()


def shown_address() -> str:
    """The address without a password that may stand in it."""
    return _without_password(address())


def connect() -> Client:
    """A client of a server that answers, or of a database that exists.

    Raises:
        TrackingError: the address does not answer.
    """
    uri = address()
    mlflow.set_tracking_uri(uri)
    try:
        # Several processes that find no database would all create its tables and crash; later ones pass quickly. The first
        # call of each of MLflow's two stores creates its tables.
        with _creating(uri):
            client = Client(uri)
            client.search_experiments(max_results=1, view_type=ViewType.ALL)
            client.search_registered_models(max_results=1)
    except Exception as error:  # MLflow raises its own, SQLAlchemy's and requests' errors here
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {shown_address()} does not answer ({_first_line(error)}); start it, or unset the variable "
            f"to use {_DATABASE}"
        ) from None
    return client


@contextmanager
def answering() -> Iterator[None]:
    """A server that goes away within this block is the user's to mend, not a bug.

    Raises:
        TrackingError: the address stopped answering.
    """
    try:
        yield
    except (MlflowException, OSError, SQLAlchemyError) as error:
        if not went_away(error):
            raise
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {shown_address()} stopped answering or refuses ({_first_line(error)}); nothing is lost: "
            "run the same command again when it is back"
        ) from None


def went_away(error: Exception) -> bool:
    """Whether an error is the server's absence or refusal, in the words of MLflow's client, rather than a bug."""
    if isinstance(error, requests.RequestException | OperationalError):
        return True
    return isinstance(error, MlflowException) and _AWAY.search(str(error)) is not None


@contextmanager
def deciding() -> Iterator[bool]:
    """Alone with the names of the models, among all who use this address; False when nothing can ensure that.

    MLflow has no compare-and-set for an alias, so who reads the champion, decides and names another must not be interrupted:
    a lock file where the records are used from one machine, PostgreSQL's advisory lock where they lie in PostgreSQL or where
    REGISTRY_LOCK names a database of this kind that all machines share.

    Raises:
        TrackingError: another one has held the lock for ten minutes, or the database does not answer.
    """
    uri = os.environ.get("REGISTRY_LOCK") or address()
    with ExitStack() as held:
        try:
            if uri.startswith("postgresql"):
                held.enter_context(_advisory_lock(uri, _DECIDING))
            for path in (files := _lock_files(uri)):
                held.enter_context(FileLock(path, timeout=_PATIENCE_S, mode=0o666))
        except SQLAlchemyError as error:
            raise TrackingError(
                f"{_without_password(uri)}: the lock for deciding over models cannot be taken ({_first_line(error)}); look at "
                "the database, run this again"
            ) from None
        except Timeout as error:
            raise TrackingError(
                f"{error.lock_file}: locked by another process for {_PATIENCE_S} s; end that, run this again"
            ) from None
        except PermissionError as error:
            raise TrackingError(
                f"{error.filename}: another user's lock; let REGISTRY_LOCK name a PostgreSQL database that all share"
            ) from None
        yield uri.startswith("postgresql") or bool(files)


@contextmanager
def alone() -> Iterator[None]:
    """`deciding` for those who must not go on without.

    Raises:
        TrackingError: also when nothing can keep others from deciding at the same time.
    """
    with deciding() as locked:
        if not locked:
            raise TrackingError(
                f"MLFLOW_TRACKING_URI: {shown_address()} is another machine, where others may decide at the same time; let "
                "REGISTRY_LOCK name a PostgreSQL database that all share"
            )
        yield


def _lock_files(uri: str) -> list[Path]:
    """Beside a database file; for a server on this machine one by its port, and this folder's, whose database it may serve."""
    if uri.startswith("sqlite:///"):
        return [Path(f"{uri.removeprefix('sqlite:///')}.decide.lock")]
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        place = f"{parts.port or parts.scheme}{parts.path.rstrip('/')}".replace("/", "-")
        return [Path(f"{_home() / _DATABASE}.decide.lock"), Path(tempfile.gettempdir()) / f"mlflow-{place}.decide.lock"]
    return []


@contextmanager
def _creating(uri: str) -> Iterator[None]:
    """Alone with a database that may have no tables yet; a server sees to that itself."""
    if uri.startswith("postgresql"):
        with _advisory_lock(uri, _CREATING):
            yield
    elif uri.startswith("sqlite:///"):
        with FileLock(f"{uri.removeprefix('sqlite:///')}.lock"):
            yield
    else:
        yield


@contextmanager
def _advisory_lock(uri: str, key: int) -> Iterator[None]:
    """PostgreSQL's, among all who use this database; it goes with the connection."""
    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{_PATIENCE_S}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        yield


@contextmanager
def follow_training(spec: Mapping[str, Any]) -> Iterator[Follower]:
    """A run in MLflow that shows a training while it happens.

    Raises:
        TrackingError: MLflow does not answer at the start, before an epoch is spent.
    """
    client = connect()
    follower = _Live(client, _ensure_run(client, spec))
    try:
        yield follower
    except BaseException:
        follower.abandon()
        raise


class _Live:
    """Sends each epoch once, and the machine's load; stops at the first failure, with one warning."""

    def __init__(self, client: Client, run: Run) -> None:
        self._client, self._run_id, self._known = client, run.info.run_id, _steps_logged(client, run)
        self._lost = False
        self._load = _follow_load(self._run_id)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        if int(row["epoch"]) not in self._known:
            self._send(lambda: self._client.log_batch(self._run_id, metrics=_metrics(row)))

    def finish(self, folder: Path) -> None:
        self._send(self._load.finish)
        self._send(lambda: _complete(self._client, self._run_id, folder))

    def abandon(self) -> None:
        self._send(self._load.finish)
        self._send(lambda: self._client.set_terminated(self._run_id, "FAILED"))

    def _send(self, call: Any) -> None:
        if self._lost:
            return
        try:
            call()
        except Exception as error:  # whatever a lost server raises, the training goes on
            self._lost = True
            console.warn(
                f"MLflow at {shown_address()} is lost ({_first_line(error)}); the training goes on, and "
                "`python -m pipeline register` completes its run from the files"
            )


def _follow_load(run_id: str) -> Any:
    """Sends processor, memory, disk, network and GPU every few seconds, until its `finish`."""
    monitor = SystemMetricsMonitor(run_id, sampling_interval=_LOAD_EVERY_S, resume_logging=True)  # type: ignore[no-untyped-call]
    monitor.start()  # type: ignore[no-untyped-call]
    return monitor


def record_training(client: Client, folder: Path) -> str:
    """Make sure that the training whose files are in `folder` stands in MLflow, complete; returns its run's id."""
    spec = json.loads((folder / "spec.json").read_text())
    run = _ensure_run(client, spec)
    if run.info.status != "FINISHED":
        known = _steps_logged(client, run)
        for row in pd.read_csv(folder / "history.csv").to_dict("records"):
            if int(row["epoch"]) not in known:
                client.log_batch(run.info.run_id, metrics=_metrics({str(key): float(v) for key, v in row.items()}))
        _complete(client, run.info.run_id, folder)
    return str(run.info.run_id)


def _ensure_run(client: Client, spec: Mapping[str, Any]) -> Run:
    """The run of one training, found by the training's digest or made; a run that was cut off is taken up again."""
    experiment = ensure_experiment(client, spec["subtype"])
    run = find_run(client, experiment, "training", spec["training"])
    if run is None:
        run = client.create_run(
            experiment,
            run_name=in_experiment(f"fold {spec['fold']} {spec['training'][:8]}"),
            tags={"training": spec["training"], "fold": str(spec["fold"]), **origin(spec), **provenance()},
        )
        log_params(client, run, spec["knobs"])
        log_data(client, run, spec)
    elif run.info.status in ("FAILED", "KILLED"):
        client.update_run(run.info.run_id, status="RUNNING")
    return run


def in_experiment(name: str) -> str:
    """A run's name, behind that of the DVC experiment it belongs to."""
    return f"{os.environ['DVC_EXP_NAME']}: {name}" if os.environ.get("DVC_EXP_NAME") else name


def ensure_experiment(client: Client, subtype: str) -> str:
    """The id of the subtype's experiment, made if it is not there."""
    experiment = client.get_experiment_by_name(subtype)
    if experiment is not None:
        if experiment.lifecycle_stage == "deleted":  # by hand, in MLflow's pages
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)
    try:
        kind = {"mlflow.experimentKind": "custom_model_development"}  # the page shows trainings, not chats
        return str(client.create_experiment(subtype, artifact_location=_artifact_location(subtype), tags=kind))
    except MlflowException:
        made_meanwhile = client.get_experiment_by_name(subtype)  # by a training of another fold
        if made_meanwhile is None:
            raise
        return str(made_meanwhile.experiment_id)


def _artifact_location(subtype: str) -> str | None:
    """With a database file the artifacts lie beside it; a server decides for itself."""
    if address().startswith("sqlite:///"):
        return (Path(address().removeprefix("sqlite:///")).resolve().parent / _ARTIFACTS / subtype).as_uri()
    return None


def find_run(client: Client, experiment: str, tag: str, value: str) -> Run | None:
    """A run of the experiment that carries the tag."""
    runs = client.search_runs([experiment], filter_string=f"tags.{tag} = '{value}'", max_results=1)
    return runs[0] if runs else None


def as_param(value: object) -> str:
    """A knob as MLflow shows it: `256 192 192` for a list, which its pages would spread over lines."""
    return (" ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def log_params(client: Client, run: Run, knobs: Mapping[str, object]) -> None:
    """Give the run those knobs that it does not have: MLflow lets none be said twice."""
    missing = [Param(key, as_param(value)) for key, value in knobs.items() if key not in run.data.params]
    if missing:
        client.log_batch(run.info.run_id, params=missing)


def origin(spec: Mapping[str, Any]) -> dict[str, str]:
    """On what machine a network was trained, and the digests of data, split and code."""
    machine = {f"machine.{key}": str(value) for key, value in spec["machine"].items()}
    searched = {f"tuned_on.{key}": str(value) for key, value in spec.get("tuned_on", {}).items()}  # no names of patients
    return {**machine, **{f"sha256.{key}": str(value) for key, value in spec["inputs"].items()}, **searched}


def log_data(client: Client, run: Run, spec: Mapping[str, Any]) -> None:
    """Name the data that a run learned from: where it lies and its digest, nothing of it."""
    if run.inputs is not None and run.inputs.dataset_inputs:
        return
    classes = f"{spec['control']} and {spec['subtype']}"
    data = {
        "cells": (
            f"cells of {classes}, {spec['px']} px",
            [f"data/cells/{spec['control']}.npy", f"data/cells/{spec['subtype']}.npy"],
        ),
        "split": (f"split of {classes} by patient", [f"data/splits/{spec['subtype']}.csv"]),
    }
    inputs = [
        DatasetInput(
            Dataset(name, str(spec["inputs"][kind])[:_LONGEST_DIGEST], "dvc", json.dumps({"paths": files})),
            [InputTag("mlflow.data.context", "training")],
        )
        for kind, (name, files) in data.items()
    ]
    client.log_inputs(run.info.run_id, inputs)


def _steps_logged(client: Client, run: Run) -> set[int]:
    if "val_loss" not in run.data.metrics:
        return set()
    return {int(metric.step) for metric in client.get_metric_history(run.info.run_id, "val_loss")}


def _metrics(row: Mapping[str, float]) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(key, float(value), now, int(row["epoch"])) for key, value in row.items() if key not in ("epoch", "kept")]


def _complete(client: Client, run_id: str, folder: Path) -> None:
    history = pd.read_csv(folder / "history.csv")
    client.set_tag(run_id, "kept_epoch", str(int(history.loc[history["kept"] == 1, "epoch"].iloc[0]) + 1))
    for name in ("spec.json", "history.csv"):
        client.log_artifact(run_id, str(folder / name))
    client.set_terminated(run_id)


def provenance() -> dict[str, str]:
    """Commit, whether the working tree differed from it (what every run rewrites aside), Prefect's and DVC's names, if any."""
    commit = _git("rev-parse", "HEAD")
    names = {"prefect_flow_run": "FLOW_RUN", "dvc_exp": "DVC_EXP_NAME"}
    named = {tag: os.environ[variable] for tag, variable in names.items() if os.environ.get(variable)}
    if not commit:
        return named
    dirty = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
    return {"git_commit": commit, "git_dirty": str(bool(dirty)).lower(), **named}


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    return subprocess.run([git, *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _first_line(error: Exception) -> str:
    return _without_password((str(error).strip() or type(error).__name__).splitlines()[0])


def _without_password(text: str) -> str:
    """Without what stands before an @ in an address, and without a password among its options."""
    return re.sub(r"(password=)[^&\s]+", r"\1***", re.sub(r"//\S*@", "//***@", text))
