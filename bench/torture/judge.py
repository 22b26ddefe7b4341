"""What a project holds, and what is wrong with it beside another that nothing disturbed.

Results are compared by their bytes, DVC's cache by the digests that its files are named by, MLflow by what its records and
files say of runs, models and names: a record without its number and its hour.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from small_project import lock
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

MARK = "TORTURE_PROJECT"  # in the environment of all that a round starts, and of all that this starts, wherever it works
_RESULTS = ("data", "models", "reports")
_OWN_HOURS = ("decisions.jsonl", "verdicts.html")  # compared by what they say, and by being there
_UNFINISHED = re.compile(r"[.-]unfinished$|\.tmp$|-journal$|-wal$")
_OF_A_SERVER = "mlflow-artifacts:/"  # which keeps its files in a folder beside the project
_OF_RUNS = {
    "points": "SELECT run_uuid, key, step, value FROM metrics WHERE key NOT LIKE 'system/%'",
    "params": "SELECT run_uuid, key, value FROM params",
    "tags": "SELECT run_uuid, key, value FROM tags WHERE key <> 'prefect_flow_run'",  # that of the undisturbed run is none
    "data sets": """SELECT i.destination_id, d.name, d.digest FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
                    WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN'""",
    "models": "SELECT source_run_id, name, status FROM logged_models WHERE lifecycle_stage = 'active'",
}
_RUNS = """SELECT r.run_uuid, e.name, r.name, r.status, r.lifecycle_stage, r.artifact_uri
           FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id"""
_VERSIONS = """SELECT v.name, v.version, t.value, v.storage_location FROM model_versions v LEFT JOIN model_version_tags t
               ON t.name = v.name AND t.version = v.version AND t.key = 'candidate'"""
_VERSION_TAGS = "SELECT name, version, key, value FROM model_version_tags"
_HOURS = re.compile(r"(?<=^decided\.).*")  # in the name of a tag
_OF_AN_HOUR = ("champion_since", "sha256.MLmodel")  # tags whose values say when, as `MLmodel` does
_DECIDED = ("subtype", "candidate", "decision", "reason", "digest", "replaced", "results_md5")


@dataclass(frozen=True)
class State:
    """What is compared."""

    lock: dict[str, Any]
    results: dict[str, str]  # file -> digest
    cache: frozenset[Path]  # what DVC's holds, each under its digest
    records: dict[str, Counter[tuple[object, ...]]]  # of MLflow and of the decisions


def look(folder: Path, database: str = "") -> State:
    """The state of a project whose records lie in `database`, its own if empty."""
    records = _records(folder, database or f"sqlite:///{folder}/mlflow.db")
    return State(lock(folder), _results(folder), frozenset(path.relative_to(folder) for path in _cached(folder)), records)


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
    said += [f"DVC's cache: lost {path}" for path in sorted(expected.cache - found.cache)]
    said += [f"DVC's cache: {path.relative_to(folder)} is not what its name says" for path in _damaged(folder)]
    return said + [f"still at work: {line}" for line in at_work(folder).values()]


def at_work(folder: Path) -> dict[psutil.Process, str]:
    """Processes that work in the project, or that one of a round has started to work elsewhere, by their command lines."""
    found = {}
    for process in psutil.process_iter():
        try:
            of_a_round = process.environ().get(MARK) == str(folder)
            if process.pid != os.getpid() and (of_a_round or Path(process.cwd()).is_relative_to(folder)):
                found[process] = " ".join(process.cmdline())
        except (psutil.Error, OSError):  # gone, or another account's
            continue
    return found


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
    with create_engine(database, poolclass=NullPool).connect() as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.execute(text(query))]

        runs = rows(_RUNS)
        names = {run: (experiment, name) for run, experiment, name, *_ in runs}
        of_runs = {kind: Counter(_named(names, row) for row in rows(query)) for kind, query in _OF_RUNS.items()}
        versions = [(*row, _files(folder, place)) for *row, place in rows(_VERSIONS)]
        version_tags = {  # once each: a flow has what was there judged again, to the same verdict
            (*row, _HOURS.sub("", key), "" if key in _OF_AN_HOUR else value) for *row, key, value in rows(_VERSION_TAGS)
        }
        aliases = rows("SELECT name, alias, version FROM registered_model_aliases")
    decisions = map(json.loads, (folder / "data/decisions.jsonl").read_text().splitlines())
    return of_runs | {
        "runs": Counter((*row, _files(folder, place)) for _, *row, place in runs),
        "versions": Counter(versions),
        "tags of versions": Counter(version_tags),
        "aliases": Counter(aliases),
        "decisions": Counter(tuple(line[key] for key in _DECIDED) for line in decisions),
    }


def _named(names: dict[str, tuple[str, str]], row: tuple[Any, ...]) -> tuple[object, ...]:
    """A row about a run by its name, in values as well: a run's tag may name the run above it."""
    return tuple(names.get(cell, cell) for cell in row)


def _files(project: Path, place: str) -> str:
    """One digest of all files of a run or of a registered model, but of `MLmodel`, which says when it was registered."""
    folder = project / place.removeprefix("file://")
    if place.startswith(_OF_A_SERVER):
        folder = project.with_name("mlflow") / "artifacts" / place.removeprefix(_OF_A_SERVER)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = [str(path.relative_to(folder)).encode() + (b"" if path.name == "MLmodel" else path.read_bytes()) for path in files]
    return hashlib.sha256(b"\0".join(told)).hexdigest()


def _half_written(folder: Path) -> list[Path]:
    """What is called unfinished, by us or by a tool, wherever it lies."""
    return [path for path in folder.rglob("*") if ".git" not in path.parts and _UNFINISHED.search(path.name) and path.exists()]


def _cached(folder: Path) -> list[Path]:
    return [path for path in (folder / ".dvc/cache/files/md5").glob("*/*") if not path.name.endswith(".tmp")]


def _damaged(folder: Path) -> list[Path]:
    return [path for path in _cached(folder) if _name(path) != path.parent.name + path.name]


def _name(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() + (".dir" if path.suffix == ".dir" else "")
