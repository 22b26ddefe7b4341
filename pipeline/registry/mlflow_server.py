"""MLflow: where it is, whether it answers, who may decide over its models, and a training followed there while it runs.

`mlflow_runs` has what a run says, `versions` the models. A server that does not answer when a training starts stops it before
an epoch is spent; one that goes away while the network trains costs a warning, and `register` completes the run from the files.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from sqlalchemy.exc import SQLAlchemyError

from pipeline.common import addresses, console
from pipeline.common.errors import ConfigError, ModelError, RefusedError, TrackingError, is_for_want_of_memory
from pipeline.registry import locks, mlflow_client, mlflow_database, mlflow_errors, mlflow_runs
from pipeline.registry.mlflow_address import DATABASE, SQLITE, address, database, home

Client: TypeAlias = mlflow_client.Client  # what the other modules call it

_LOAD_EVERY_S = 5
_REFUSED = re.compile(r"failed with error code (401|403)")
_OF_A_DISK = {"database or disk is full": errno.ENOSPC, "disk I/O error": errno.EIO}  # in SQLite's words

# When the server, or the database, is lost one line is enough, and it is ours.
for _name in ("mlflow.system_metrics.system_metrics_monitor", "mlflow.store.db.utils"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Follower(Protocol):
    """What a training tells while it runs."""

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Be told one row of the history."""

    def finish(self, folder: Path) -> None:
        """Be told that the training is done and its files are in `folder`."""


def shown_address() -> str:
    """The address without a password that may stand in it."""
    return addresses.shown(address())


def _told(error: Exception) -> str:
    return addresses.first_line(error, address())


def connect() -> Client:
    """A client of a server that answers, or of a database that exists.

    The models stand where the runs do: MLFLOW_REGISTRY_URI, which another tool may have set, does not count.

    Raises:
        ConfigError: the address cannot work, whenever it is tried.
        OSError: the database is another user's, its disk is full, or fails; or the system refuses a file.
        RefusedError: it refuses this account.
        TrackingError: it does not answer now.
    """
    uri = address()
    _require_possible(uri)
    _require_writable()
    mlflow.set_tracking_uri(uri)
    os.environ.pop("MLFLOW_REGISTRY_URI", None)
    try:
        # Several processes that find no database would all create its tables and crash; later ones pass quickly. The first
        # call of each of MLflow's two stores creates its tables.
        with locks.creating(uri):
            if file := database():
                mlflow_database.prepare(file)
            client = Client(uri)
            client.search_experiments(max_results=1, view_type=ViewType.ALL)
            client.search_registered_models(max_results=1)
    except ConfigError:
        raise
    except Exception as error:  # MLflow raises its own, SQLAlchemy's and requests' errors here
        said = f"MLFLOW_TRACKING_URI: {shown_address()}"
        _require_disk(error)
        _require_accepted(error)
        if not mlflow_errors.went_away(error):
            if is_for_want_of_memory(error):
                raise
            if refused := mlflow_errors.refusal(error):
                raise refused from None
            raise ConfigError(
                f"{said} cannot be used ({_told(error)}); name an MLflow server, or unset the variable to use {DATABASE}"
            ) from None
        raise TrackingError(
            f"{said} does not answer ({_told(error)}); start it, or unset the variable to use {DATABASE}"
        ) from None
    return client


def _require_possible(uri: str) -> None:
    """Refuse what is no address of a server or a database.

    Raises:
        ConfigError: it is none.
    """
    said = f"MLFLOW_TRACKING_URI: {addresses.shown(uri)}"
    if uri.startswith("sqlite:"):
        if not uri.startswith(SQLITE) or uri.removeprefix(SQLITE).rpartition("/")[2] in ("", ":memory:"):
            raise ConfigError(f"{said} names no file; write {SQLITE}{DATABASE}, or with four slashes for a whole path")
        file = Path(uri.removeprefix(SQLITE))
        if file.is_dir() or not file.parent.is_dir():
            raise ConfigError(
                f"{said}: {'is a folder' if file.is_dir() else 'its folder is not there'}; name a file in a folder"
            )
    elif re.match(r"[\w.-]+:\d+(/|$)", uri):
        raise ConfigError(f"{said} does not say how to reach it; write http://{addresses.shown(uri)}")
    elif uri.startswith("file:") or ":" not in uri.partition("/")[0]:
        raise ConfigError(
            f"{said} is a folder, in which MLflow keeps no records any more; name a database file ({SQLITE}{DATABASE}) or a "
            "server (http://127.0.0.1:5000), or unset the variable"
        )


def _require_writable() -> None:
    """SQLite calls a file that it may not write to unavailable, which would be worth another try."""
    if (records := database()) is None:
        return
    for path in (records.parent, records, records.with_name(records.name + ".lock")):
        if path.exists() and not os.access(path, os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, "cannot be written", str(path))
    try:
        locks.require_possible(records.with_name(f"{records.name}.lock"))
    except FileNotFoundError as error:
        said = f"MLFLOW_TRACKING_URI: {shown_address()}: no file can be made in its folder"
        raise ConfigError(f"{said} ({error.strerror}); name another") from None


@contextmanager
def answering() -> Iterator[None]:
    """What goes away, or is deleted, within this block is the user's to mend, not a bug.

    Raises:
        RefusedError: the address refuses this account.
        TrackingError: the address stopped answering.
        ModelError: what is needed was deleted in MLflow.
        OSError: the disk on which the database lies is full, or fails; or the system refuses a file.
    """
    try:
        yield
    except (MlflowException, OSError, SQLAlchemyError) as error:
        _require_disk(error)
        _require_accepted(error)
        if mlflow_errors.went_away(error):
            raise TrackingError(
                f"MLFLOW_TRACKING_URI: {shown_address()} stopped answering ({_told(error)}); nothing "
                "is lost: run the same command again when it is back"
            ) from None
        if refused := mlflow_errors.refusal(error):
            raise refused from None
        if mlflow_errors.is_gone(error):
            raise ModelError(
                f"MLFLOW_TRACKING_URI: {shown_address()}: something was deleted there ({_told(error)}); "
                "`python -m pipeline register` brings back what the files of this folder hold"
            ) from None
        raise


def _require_disk(error: Exception) -> None:
    if records := database():
        for words, number in _OF_A_DISK.items():
            if words in str(error):
                raise OSError(number, os.strerror(number), str(records)) from None


def _require_accepted(error: Exception) -> None:
    if _REFUSED.search(str(error)):
        raise RefusedError(
            f"MLFLOW_TRACKING_URI: {shown_address()} refuses ({_told(error)}); are MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD right, and is it MLflow's port?"
        ) from None


def deciding() -> AbstractContextManager[bool]:
    """Alone with the names of the models, by REGISTRY_LOCK where the environment names one, else by this address.

    It gives False when nothing can ensure that; see `locks.deciding`.
    """
    return locks.deciding(os.environ.get("REGISTRY_LOCK") or address(), home() / DATABASE)


@contextmanager
def alone() -> Iterator[None]:
    """Be alone, as by `deciding`, for those who must not go on otherwise.

    Raises:
        ConfigError: nothing can keep others from deciding at the same time.
        TrackingError: as `deciding`.
    """
    with deciding() as locked:
        if not locked:
            raise ConfigError(
                f"MLFLOW_TRACKING_URI: {shown_address()} is another machine, where others may decide at the same time; let "
                "REGISTRY_LOCK name a PostgreSQL database that all share"
            )
        yield


@contextmanager
def follow_training(spec: Mapping[str, Any]) -> Iterator[Follower]:
    """A run in MLflow that shows a training while it happens.

    Raises:
        TrackingError: MLflow does not answer at the start, or breaks off, before an epoch is spent.
    """
    client = connect()
    with answering():
        follower = _Live(client, mlflow_runs.of_training(client, spec))
    try:
        yield follower
    except BaseException:
        follower.abandon()
        raise


class _Live:
    """Sends each epoch once, and the machine's load; stops at the first failure, with one warning."""

    def __init__(self, client: Client, run: Run) -> None:
        self._client, self._run_id, self._known = client, run.info.run_id, mlflow_runs.epochs_logged(client, run)
        self._lost = False
        self._load = _follow_load(self._run_id)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        if int(row["epoch"]) not in self._known:
            self._send(lambda: mlflow_runs.log_epoch(self._client, self._run_id, row))

    def finish(self, folder: Path) -> None:
        self._send(self._load.finish)
        self._send(lambda: mlflow_runs.complete(self._client, self._run_id, folder))

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
                f"MLflow at {shown_address()} is lost ({_told(error)}); the training goes on, and "
                "`python -m pipeline register` completes its run from the files"
            )


def _follow_load(run_id: str) -> Any:
    """Sends processor, memory, disk, network and GPU every few seconds, until its `finish`."""
    unannotated: Any = SystemMetricsMonitor  # MLflow gives its methods no types
    monitor = unannotated(run_id, sampling_interval=_LOAD_EVERY_S, resume_logging=True)
    monitor.start()
    return monitor


def record_training(client: Client, folder: Path) -> str:
    """Make sure that the training whose files are in `folder` stands in MLflow, complete; returns its run's id."""
    spec = json.loads((folder / "spec.json").read_text())
    run = mlflow_runs.of_training(client, spec)
    if run.info.status != "FINISHED":
        known = mlflow_runs.epochs_logged(client, run)
        last = max(known.values(), default=run.info.start_time)  # for whoever else does so just now it is the same
        for row in mlflow_runs.history(folder).to_dict("records"):
            if int(row["epoch"]) not in known:
                told = {str(key): float(value) for key, value in row.items()}
                mlflow_runs.log_epoch(client, run.info.run_id, told, last)
        mlflow_runs.complete(client, run.info.run_id, folder)
    return str(run.info.run_id)
