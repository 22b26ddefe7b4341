"""One at a time, among all who use one address of MLflow's: lock files on one machine, PostgreSQL's advisory locks for many.

The locks go with the process that holds them, however it ends.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from pipeline.common import addresses
from pipeline.common.errors import ConfigError, TrackingError

_PATIENCE_S = 600
_DECIDING, _CREATING = (
    int.from_bytes(hashlib.sha256(what).digest()[:8], signed=True) for what in (b"who is champion", b"MLflow's tables")
)


@contextmanager
def deciding(uri: str, database: Path) -> Iterator[bool]:
    """Alone with the names of the models, among all who use `uri`; False when nothing can ensure that.

    MLflow has no compare-and-set for an alias, so who reads the champion, decides and names another must not be interrupted:
    a lock file where the records are used from one machine, PostgreSQL's advisory lock where they lie in PostgreSQL.
    `database` is this folder's, which a server on this machine may serve.

    Raises:
        ConfigError: the lock cannot be taken, whenever it is tried: another user's, or no address.
        TrackingError: another one has held the lock for ten minutes, or the database does not answer.
    """
    with ExitStack() as held:
        try:
            if uri.startswith("postgresql"):
                held.enter_context(_advisory_lock(uri, _DECIDING))
            for path in (files := lock_files(uri, database)):
                require_possible(path)
                held.enter_context(FileLock(path, timeout=_PATIENCE_S, mode=0o666))
        except (ValueError, ArgumentError, ImportError) as error:  # for a port that is none, no address, no such driver here
            raise ConfigError(
                f"REGISTRY_LOCK or MLFLOW_TRACKING_URI: {addresses.shown(uri)} is no address "
                f"({addresses.first_line(error, uri)}); write postgresql+psycopg2://user:password@host:5432/database"
            ) from None
        except SQLAlchemyError as error:
            raise TrackingError(
                f"{addresses.shown(uri)}: the lock for deciding over models cannot be taken "
                f"({addresses.first_line(error, uri)}); look at the database, run this again"
            ) from None
        except Timeout as error:
            raise TrackingError(
                f"{error.lock_file}: locked by another process for {_PATIENCE_S} s; end that, run this again"
            ) from None
        except FileNotFoundError as error:
            raise ConfigError(
                f"REGISTRY_LOCK or MLFLOW_TRACKING_URI: {addresses.shown(uri)}: no file can be made in its folder "
                f"({error.strerror}); name another"
            ) from None
        except PermissionError as error:
            raise ConfigError(
                f"{error.filename}: another user's lock; let REGISTRY_LOCK name a PostgreSQL database that all share"
            ) from None
        yield uri.startswith("postgresql") or bool(files)


def lock_files(uri: str, database: Path) -> list[Path]:
    """An address's lock files: beside a database file; of a server here by its port, and `database`'s, which it may serve."""
    if uri.startswith("sqlite:///"):
        return [Path(f"{uri.removeprefix('sqlite:///')}.decide.lock")]
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port or parts.scheme
    except ValueError:  # whose words may hold a part of a password
        raise ConfigError(
            f"REGISTRY_LOCK or MLFLOW_TRACKING_URI: {addresses.shown(uri)} is no address: host or port are none; write / in a "
            "password as %2F"
        ) from None
    if host == "localhost" or host.startswith("127.") or host == "::1":
        server = f"{port}{parts.path.rstrip('/')}".replace("/", "-")
        return [Path(f"{database}.decide.lock"), Path(tempfile.gettempdir()) / f"mlflow-{server}.decide.lock"]
    return []


def require_possible(path: Path) -> None:
    """See whether a lock can lie there: in a folder such as /proc it would be waited for, for ever.

    Raises:
        OSError: it cannot.
    """
    if path.parent.is_dir() and not path.exists():
        tempfile.TemporaryFile(dir=path.parent).close()


@contextmanager
def creating(uri: str) -> Iterator[None]:
    """Be alone with a database that may have no tables yet, within the block; a server sees to that itself."""
    if uri.startswith("postgresql"):
        with _advisory_lock(uri, _CREATING):
            yield
    elif uri.startswith("sqlite:///"):
        with FileLock(f"{uri.removeprefix('sqlite:///')}.lock", mode=0o666):
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
