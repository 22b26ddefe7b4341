"""Where Optuna's studies are kept: a database file of this folder, or the PostgreSQL that TUNE_STORAGE names.

A worker says every HEARTBEAT_S seconds that it lives; one silent for SILENCE_S counts as gone, and its trial is taken up again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from pipeline.common import addresses, paths
from pipeline.common.errors import ConfigError, UnreachableError

HEARTBEAT_S, SILENCE_S = 15, 90
_TABLES = 20  # of a database, and more: so often another machine may be quicker


def address() -> str:
    """The address at which the studies are kept: TUNE_STORAGE, else a database file in this folder."""
    return os.environ.get("TUNE_STORAGE") or f"sqlite:///{paths.STUDIES}"


def shown_address() -> str:
    """The address without a password that may stand in it."""
    return addresses.shown(address())


def _told(error: Exception) -> str:
    return addresses.first_line(error, address())


def opened() -> RDBStorage:
    """The database, with Optuna's tables.

    Raises:
        ConfigError: TUNE_STORAGE is no address of a database.
    """
    url = address()
    is_file = url.startswith("sqlite")
    try:
        storage = _with_tables(
            partial(
                RDBStorage,
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if is_file else {"pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT_S,
                grace_period=SILENCE_S,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
        )
    except ValueError as error:  # SQLAlchemy's word for a port that is none, or an address that is none
        raise ConfigError(f"TUNE_STORAGE: {shown_address()} is no address ({_told(error)})") from None
    if is_file:  # sqlite knows no FOR UPDATE, by which Optuna gives a waiting trial to one worker only
        event.listen(storage.engine, "connect", _leave_transactions_to_us)
        event.listen(storage.engine, "begin", _begin_at_once)
        storage.engine.dispose()
    return storage


def _with_tables(made: Callable[[], RDBStorage]) -> RDBStorage:
    """The storage; Optuna looks which tables there are, then makes the others, and one that another machine made is refused."""
    for _ in range(_TABLES):
        try:
            return made()
        except (IntegrityError, ProgrammingError):
            continue
    return made()


def _leave_transactions_to_us(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin_at_once(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def answering() -> Iterator[None]:
    """Say in one line what a database does not do.

    Raises:
        ConfigError: there is no driver for such a database here.
        UnreachableError: it does not answer.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"TUNE_STORAGE: {shown_address()} names a database that is not known here ({_told(error)})") from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise UnreachableError(
            f"TUNE_STORAGE: {shown_address()} does not answer ({_told(error)}); start it, run this again"
        ) from None
