"""What a project holds, and what is wrong with it beside another that nothing disturbed.

Results are compared by their bytes, DVC's cache by the digests that its files are named by, MLflow by what its records say of
runs, models and names: a record without its number and its hour.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import alive_of
from small_project import lock
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

_RESULTS = ("data", "models", "reports")
_OWN_HOURS = ("decisions.jsonl", "verdicts.html")  # compared by what they say
_UNFINISHED = re.compile(r"[.-]unfinished$|\.tmp$|-journal$|-wal$")
_OF_A_SERVER = "mlflow-artifacts:/"  # which keeps its files in a folder beside the project
_RUNS = """SELECT e.name, r.name, r.status, r.lifecycle_stage, r.run_uuid
           FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id"""
_POINTS = (
    "SELECT run_uuid, key, count(*), min(value), max(value) FROM metrics WHERE key NOT LIKE 'system/%' GROUP BY run_uuid, key"
)
_MODELS = """SELECT r.name, count(*) FROM logged_models m JOIN runs r ON r.run_uuid = m.source_run_id
             WHERE m.lifecycle_stage = 'active' GROUP BY r.name"""
_VERSIONS = """SELECT v.name, v.version, t.value, v.storage_location FROM model_versions v LEFT JOIN model_version_tags t
               ON t.name = v.name AND t.version = v.version AND t.key = 'candidate'"""


@dataclass(frozen=True)
class State:
    """What is compared."""

    lock: dict[str, Any]
    results: dict[str, str]  # file -> digest
    records: dict[str, Counter[tuple[object, ...]]]  # of MLflow and of the decisions


def look(folder: Path, database: str = "") -> State:
    """The state of a project whose records lie in `database`, its own if empty."""
    return State(lock(folder), _results(folder), _records(folder, database or f"sqlite:///{folder}/mlflow.db"))


def faults(folder: Path, expected: State, database: str = "") -> list[str]:
    """What is lost, twice, half-written or still at work; nothing, where all is as it must be."""
    try:
        found = look(folder, database)
    except Exception as error:  # whatever cannot be read is what this looks for
        return [f"cannot be read: {type(error).__name__}: {str(error)[:300]}"]
    said = [f"dvc.lock: {stage} differs" for stage in _different(expected.lock, found.lock)]
    said += [f"{file}: {_how(expected.results, found.results, file)}" for file in _different(expected.results, found.results)]
    for kind, records in expected.records.items():
        said += [f"{kind}: lost {line}" for line in records - found.records[kind]]
        said += [f"{kind}: more {line}" for line in found.records[kind] - records]
    said += [f"half-written: {path.relative_to(folder)}" for path in _half_written(folder)]
    said += [f"DVC's cache: {path.relative_to(folder)} is not what its name says" for path in _damaged(folder)]
    return said + [f"still at work: {line}" for line in alive_of(folder)]


def _different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _how(one: dict[str, str], other: dict[str, str], key: str) -> str:
    return "lost" if key not in other else "nobody's" if key not in one else "other bytes"


def _results(folder: Path) -> dict[str, str]:
    files = [path for name in _RESULTS for path in (folder / name).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): "there" if path.name in _OWN_HOURS else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _records(folder: Path, database: str) -> dict[str, Counter[tuple[object, ...]]]:
    engine = create_engine(database, poolclass=NullPool)
    with engine.connect() as connection:
        rows = {name: connection.execute(text(query)).fetchall() for name, query in (("runs", _RUNS), ("points", _POINTS))}
        versions = [(*row[:-1], _files(folder, row[-1])) for row in connection.execute(text(_VERSIONS))]
        models = [tuple(row) for row in connection.execute(text(_MODELS))]
        aliases = [tuple(row) for row in connection.execute(text("SELECT name, alias, version FROM registered_model_aliases"))]
    names = {row[-1]: tuple(row[:-1]) for row in rows["runs"]}
    points = [(*names[run][:2], key, count, low, high) for run, key, count, low, high in rows["points"]]
    decisions = map(json.loads, (folder / "data/decisions.jsonl").read_text().splitlines())
    kept = ("subtype", "candidate", "decision", "reason", "digest", "replaced", "results_md5")
    return {
        "runs": Counter(names.values()),
        "points": Counter(points),
        "models": Counter(models),
        "versions": Counter(versions),
        "aliases": Counter(aliases),
        "decisions": Counter(tuple(line[key] for key in kept) for line in decisions),
    }


def _files(project: Path, place: str) -> str:
    """One digest of a registered model's files, but of `MLmodel`, which says when it was registered."""
    folder = project / place.removeprefix("file://")
    if place.startswith(_OF_A_SERVER):
        folder = project.with_name("mlflow") / "artifacts" / place.removeprefix(_OF_A_SERVER)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = [str(path.relative_to(folder)).encode() + (b"" if path.name == "MLmodel" else path.read_bytes()) for path in files]
    return hashlib.sha256(b"\0".join(told)).hexdigest()


def _half_written(folder: Path) -> list[Path]:
    """What is called unfinished, by us or by a tool, wherever it lies."""
    return [path for path in folder.rglob("*") if ".git" not in path.parts and _UNFINISHED.search(path.name) and path.exists()]


def _damaged(folder: Path) -> list[Path]:
    objects = (folder / ".dvc/cache/files/md5").glob("*/*")
    return [path for path in objects if not path.name.endswith(".tmp") and _name(path) != path.parent.name + path.name]


def _name(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() + (".dir" if path.suffix == ".dir" else "")
