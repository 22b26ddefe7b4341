"""`python -m infra.to_postgres sqlite:///mlflow.db postgresql+psycopg2://...`: MLflow's records, moved with their history.

Both databases are brought to this MLflow's schema, the tables copied in one transaction, what was copied counted again. With
`--artifacts s3://pipeline/mlflow`, which is where the server keeps them, the artifacts are copied too, and all records that
name a local folder name the server instead. The sqlite file is only read from (a copy of it is upgraded); it stays as it was.
Those records hold absolute paths: run it where the folders have them.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import JSON, Boolean, Connection, MetaData, String, Table, create_engine, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from pipeline.common import addresses

_VERSIONS = ("alembic_version",)
_ROWS_AT_ONCE = 5000
_SERVED = "mlflow-artifacts:"
_LOCATIONS = {  # table -> columns that say where artifacts lie
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


class MoveError(Exception):
    """The records cannot be moved; the message says why and what to do. The target is as it was."""


def move(source: str, target: str, artifacts: str | None) -> dict[str, int]:
    """Copy all records from `source` to `target`; the number of rows of each table.

    Raises:
        MoveError: the source or the target cannot be used, or something did not arrive; nothing was kept.
    """
    file = Path(source.removeprefix("sqlite:///"))
    if not source.startswith("sqlite:///") or not file.is_file():
        raise MoveError(f"{source}: not an existing sqlite file; write sqlite:///mlflow.db")
    if not target.startswith("postgresql"):
        raise MoveError("the target: not PostgreSQL; write postgresql+psycopg2://user@host:5432/database")
    if artifacts:
        _require_artifacts(file)
    new = create_engine(target, poolclass=NullPool)
    with new.connect() as connection:
        _require_empty(connection)
    _upgrade(target)
    with _copy_of(file, target) as copy:
        old = create_engine(f"sqlite:///{copy}", poolclass=NullPool)
        with old.connect() as reading, new.begin() as writing:
            tables = _tables(writing)
            roots = _local_roots(reading) if artifacts else []
            for table in reversed(tables):
                writing.execute(table.delete())  # what `mlflow db upgrade` puts there
            copied = {table.name: _copy(reading, writing, table, roots) for table in tables}
            _reset_sequences(writing, tables)
            for table in tables:
                if (there := _count(writing, table)) != copied[table.name]:
                    raise MoveError(f"{table.name}: {copied[table.name]} rows were copied, {there} are there; nothing was kept")
            for root in roots:
                if root.is_dir():
                    _upload(root, str(artifacts))
    return copied


@contextmanager
def _copy_of(file: Path, target: str) -> Iterator[Path]:
    """Make a copy of the sqlite file, with the target's schema; sqlite's own backup is consistent while somebody writes."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "mlflow.db"
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as old, sqlite3.connect(copy) as new:
            old.backup(new)
        new.close()
        old.close()
        if _schema(f"sqlite:///{copy}") != _schema(target):
            _upgrade(f"sqlite:///{copy}")
        yield copy


def _schema(address: str) -> str | None:
    engine = create_engine(address, poolclass=NullPool)
    if not inspect(engine).has_table(_VERSIONS[0]):
        return None
    with engine.connect() as connection:
        return str(connection.scalar(text(f"SELECT version_num FROM {_VERSIONS[0]}")))


def _upgrade(address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "db", "upgrade", address], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason given"
        told = addresses.first_line(MoveError(said), address)
        raise MoveError(f"{addresses.shown(address)}: mlflow db upgrade failed: {told}")


def _tables(connection: Connection) -> list[Table]:
    """The tables to copy, in an order in which every row's references are there before it."""
    known = MetaData()
    known.reflect(connection)
    return [table for table in known.sorted_tables if table.name not in _VERSIONS and not table.name.startswith("alembic_")]


def _require_empty(connection: Connection) -> None:
    for name in ("runs", "registered_models", "logged_models"):
        if inspect(connection).has_table(name) and connection.scalar(text(f"SELECT count(*) FROM {name}")):
            raise MoveError(f"the target holds {name.replace('_', ' ')} already; move into a new database")


def _copy(reading: Connection, writing: Connection, table: Table, roots: list[Path]) -> int:
    if not inspect(reading).has_table(table.name):
        return 0
    columns = [f'"{column.name}"' for column in table.columns]
    rows = reading.execute(text(f'SELECT {", ".join(columns)} FROM "{table.name}"')).mappings()
    total = 0
    while batch := rows.fetchmany(_ROWS_AT_ONCE):
        writing.execute(table.insert(), [_row(table, row, roots) for row in batch])
        total += len(batch)
    return total


def _row(table: Table, row: Mapping[Any, Any], roots: list[Path]) -> dict[str, Any]:
    """A row as PostgreSQL takes it, artifacts at the server's; sqlite keeps booleans as numbers and JSON as text."""
    values: dict[str, Any] = dict(row)
    for column in table.columns:
        value = values[column.name]
        if value is None:
            continue
        if isinstance(column.type, Boolean):
            values[column.name] = bool(value)
        elif isinstance(column.type, JSON) and isinstance(value, str):
            values[column.name] = json.loads(value)
        elif isinstance(column.type, String) and isinstance(value, bytes):
            values[column.name] = value.decode()
        elif column.name in _LOCATIONS.get(table.name, ()):
            values[column.name] = _served(str(value), roots)
    return values


def _require_artifacts(file: Path) -> None:
    """Refuse to move where a folder that holds files is missing: records name it by its absolute path, and would lose them."""
    old = create_engine(f"sqlite:///file:{file}?mode=ro&uri=true", poolclass=NullPool)
    with old.connect() as reading:
        missing = [root for root in _local_roots(reading) if not root.is_dir()]
        for table, location in _locations_of_files(reading):
            if gone := [root for root in missing if _served(location, [root]) != location]:
                raise MoveError(
                    f"{gone[0]}: files of {table.replace('_', ' ')} lie there, and it is no folder here; "
                    "run this where it has this path, or make it, empty, if they are lost"
                )


def _locations_of_files(connection: Connection) -> Iterator[tuple[str, str]]:
    """The table and the location of whatever has files; an experiment without runs has none, and needs no folder."""
    for table, columns in _LOCATIONS.items():
        if table != "experiments" and inspect(connection).has_table(table):
            there = {column["name"] for column in inspect(connection).get_columns(table)}  # older ones have fewer
            for column in there.intersection(columns):
                for location in connection.execute(text(f"SELECT {column} FROM {table}")).scalars():
                    yield table, location or ""


def _local_roots(connection: Connection) -> list[Path]:
    """The folders that hold the artifacts of whole experiments, the parents of their locations."""
    locations = connection.execute(text("SELECT artifact_location FROM experiments")).scalars()
    return sorted({Path(path).parent for path in map(_local_path, locations) if path})


def _local_path(location: str | None) -> str | None:
    """The path of a location on this machine, None for any other."""
    parts = urlsplit(location or "")
    return unquote(parts.path) if location and parts.scheme in ("", "file") and parts.path.startswith("/") else None


def _served(location: str, roots: list[Path]) -> str:
    """A location below one of `roots` as the server names it; any other as it is."""
    path = _local_path(location)
    for root in roots:
        if path and Path(path).is_relative_to(root):
            return f"{_SERVED}/{Path(path).relative_to(root).as_posix()}"
    return location


def _upload(folder: Path, target: str) -> None:
    from fsspec.core import url_to_fs
    from fsspec.generic import rsync

    rsync(folder.resolve().as_uri(), target)
    store, prefix = url_to_fs(target)
    store.invalidate_cache()
    there = {name.removeprefix(f"{prefix}/"): about["size"] for name, about in store.find(prefix, detail=True).items()}
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    if missing := sorted(name for name, size in files.items() if there.get(name) != size):
        raise MoveError(
            f"{target}: {len(missing)} of {len(files)} files of {folder} did not arrive, {missing[0]} is one; nothing was kept"
        )


def _reset_sequences(connection: Connection, tables: Iterable[Table]) -> None:
    """Set the counters of new rows behind the rows that were copied, so that the next row gets a number that none has."""
    for table in tables:
        for column in table.primary_key.columns:
            name = connection.scalar(select(func.pg_get_serial_sequence(f'"{table.name}"', column.name)))
            if name:
                top = connection.scalar(select(func.max(column)))
                connection.execute(select(func.setval(name, top or 1, top is not None)))


def _count(connection: Connection, table: Table) -> int:
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)


def main(arguments: list[str] | None = None) -> int:
    """Move the records and say how many there were; 2 when it could not be done."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.to_postgres", description="MLflow's records from sqlite to PostgreSQL."
    )
    parser.add_argument("source", help="sqlite:///mlflow.db")
    parser.add_argument("target", help="postgresql+psycopg2://mlflow@host:5432/mlflow; the password in PGPASSFILE")
    parser.add_argument("--artifacts", help="where the server keeps artifacts: s3://pipeline/mlflow")
    chosen = parser.parse_args(arguments)
    try:
        copied = move(chosen.source, chosen.target, chosen.artifacts)
    except MoveError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except (SQLAlchemyError, OSError, ValueError) as error:  # the last for a port that is none
        said = addresses.first_line(getattr(error, "orig", None) or error, chosen.target)
        sys.stderr.write(f"error: {said}; nothing was kept\n")
        return 2
    for name, rows in sorted(copied.items()):
        if rows:
            sys.stdout.write(f"{name:<32}{rows:>8,}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
