"""The database file of MLflow: made whole or not at all, looked at before MLflow opens it, and told where it lies now.

All of it under `locks.creating`. A file that cannot be used is the user's to mend, and never changed here; one that a kill left
half made holds nothing yet and is made again.
"""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import mlflow.db
import mlflow.store
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from pipeline.common import addresses
from pipeline.common.errors import ConfigError

ARTIFACTS = "mlartifacts"
_upgrade: Any = mlflow.db.upgrade.callback  # what `mlflow db upgrade` calls; of an empty file it makes a database
_HEADER = b"SQLite format 3\0"
# Where a file of a run or a model is kept, by its whole path.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def prepare(path: Path) -> None:
    """Make the file if there is none, or see whether this MLflow can use the one that is there.

    Raises:
        ConfigError: it cannot be made, or is no database of this MLflow's.
    """
    if not path.exists() or path.stat().st_size == 0 or not _is_usable(path):
        _make(path)
    _say_where_it_lies(path)


def _make(path: Path) -> None:
    """In a file beside it, which takes its name when all tables are there: whoever is killed before leaves no database."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    _remove(unfinished)
    try:
        _upgrade(f"sqlite:///{unfinished}")
        unfinished.replace(path)
    except (SQLAlchemyError, OSError) as error:
        raise ConfigError(
            f"{path}: cannot be made ({addresses.first_line(error)}); make room, or correct permissions"
        ) from None
    finally:
        _remove(unfinished)


def _remove(unfinished: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        unfinished.with_name(f"{unfinished.name}{ending}").unlink(missing_ok=True)


def _is_usable(path: Path) -> bool:
    """Whether MLflow can open it; False where it holds nothing yet.

    Raises:
        ConfigError: it holds something and cannot be used.
    """
    again = f"`mv {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}`, then `python -m pipeline register` fills a new one"
    try:
        with path.open("rb") as file:
            if file.read(len(_HEADER)) != _HEADER:
                raise ConfigError(f"{path}: is no SQLite database; name another file in MLFLOW_TRACKING_URI, or {again}")
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            known = (
                database.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in tables else None
            )
            holds = "experiments" in tables and database.execute("SELECT count(*) FROM experiments").fetchone()[0] > 0
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); correct its permissions") from None
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return True  # somebody writes to it; MLflow waits for that
        raise ConfigError(f"{path}: cannot be opened ({error}); correct its permissions, or {again}") from None
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path}: is damaged ({error}); bring back a copy, or {again}") from None
    if known is not None and known[0] in _revisions().get_heads():
        return True
    if not holds and tables <= {"alembic_version", *_tables_of_mlflow()}:
        return False
    if known is None:
        raise ConfigError(f"{path}: is no database of MLflow's; name another file in MLFLOW_TRACKING_URI")
    try:
        _revisions().get_revision(known[0])
    except CommandError:
        raise ConfigError(f"{path}: was made by a newer MLflow than {mlflow.__version__}; use that one, or {again}") from None
    raise ConfigError(
        f"{path}: was made by an older MLflow; `cp {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}`, then "
        f"`mlflow db upgrade {shlex.quote(f'sqlite:///{path}')}`"
    )


@cache  # to read them takes a tenth of a second
def _revisions() -> ScriptDirectory:
    return ScriptDirectory(str(Path(str(mlflow.store.__path__[0]), "db_migrations")))


def _tables_of_mlflow() -> set[str]:
    """The names of all tables that MLflow makes, and of those that its migrations copy through."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels.initial_models import Base as First

    names = {*Base.metadata.tables, *First.metadata.tables}
    return names | {f"_alembic_tmp_{name}" for name in names}


def _say_where_it_lies(path: Path) -> None:
    """MLflow keeps whole paths: those of a checkout that was moved or copied are made to name the folder beside this file.

    Otherwise a copy would read and write the files of the original. Artifacts that lie elsewhere on purpose stay there.
    """
    here = (path.resolve().parent / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        places = database.execute("SELECT name, artifact_location FROM experiments WHERE artifact_location LIKE 'file:///%'")
        formerly = {
            place.removesuffix(f"/{Path(name).as_posix()}")
            for name, place in places.fetchall()
            if place.endswith(f"/{ARTIFACTS}/{name}")
        } - {here}
        for former in formerly:
            for table, column in _PLACES:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (here, len(former) + 1, len(former) + 1, f"{former}/"),
                )
