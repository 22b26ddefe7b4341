"""What MLflow keeps that no registered version needs, no decision and no training of a commit: runs, and files of no run.

Nothing is deleted here. A run is needed that a version was made from, or that is of a candidate or training asked for; and so
are those below it.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.entities import Run, ViewType
from mlflow.store.entities import PagedList

from pipeline.registry import mlflow_address, mlflow_database, mlflow_server

_ABOVE = ("mlflow.parentRunId", "model_run")  # tags that name a run to which another belongs: its model's, if tried elsewhere
_KINDS = (
    ("training", "trainings that no commit holds"),
    ("trial", "trials of searches"),
    ("search", "searches"),
    ("external", "models tried on others' patients"),
    ("candidate", "candidates without a version"),
)


def find(client: mlflow_server.Client, candidates: Collection[str], trainings: Collection[str] | None) -> dict[str, Any]:
    """Runs that may go, how many of which kind, their size, the commands; and folders of artifacts of no run or model.

    Of trainings none may go where `trainings`, those that are needed, are not known (None). Sizes are those of files on this
    machine.
    """
    folders = _folders()  # before MLflow is asked: whatever is begun meanwhile is no stray
    experiments = [one.experiment_id for one in _all(partial(client.search_experiments, ViewType.ALL))]
    runs = list(_all(partial(client.search_runs, experiments, run_view_type=ViewType.ALL))) if experiments else []
    registered = list(_all(client.search_model_versions))
    needed = _needed(runs, {version.run_id for version in registered if version.run_id}, candidates, trainings)
    gone = [run for run in runs if run.info.run_id not in needed and not _is_kept_anyway(run, trainings)]
    places = {run.info.run_id: _folder(run.info.artifact_uri) for run in gone}
    logged = _all(partial(client.search_logged_models, experiments)) if experiments else []
    known = {*(run.info.run_id for run in runs), *(model.model_id for model in [*logged, *registered])}
    strays = [folder for folder in folders if folder.name not in known]
    return {
        "runs": [run.info.run_id for run in gone],
        "kept": len(runs) - len(gone),
        "kinds": dict(Counter(map(_kind, gone))),
        "bytes": sum(_size(place) for place in places.values() if place),
        "commands": _commands(gone),
        "strays": [shlex.quote(str(stray)) for stray in strays],
        "stray_bytes": sum(map(_size, strays)),
    }


def _all(search: Callable[..., PagedList[Any]]) -> Iterator[Any]:
    """What a search of MLflow's finds, page by page."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        if not (token := page.token):
            return


def _needed(
    runs: Collection[Run], of_versions: Collection[str], candidates: Collection[str], trainings: Collection[str] | None
) -> set[str]:
    found = set(of_versions)
    for run in runs:
        tags = run.data.tags
        if tags.get("candidate") in candidates or (trainings is not None and tags.get("training") in trainings):
            found.add(run.info.run_id)
    while below := {run.info.run_id for run in runs if found & {run.data.tags.get(tag) for tag in _ABOVE}} - found:
        found |= below
    return found


def _is_kept_anyway(run: Run, trainings: Collection[str] | None) -> bool:
    """While it runs, or where nobody knows whether its training is needed; but for those in MLflow's bin."""
    if run.info.lifecycle_stage == "deleted":
        return False
    return run.info.status in ("RUNNING", "SCHEDULED") or (trainings is None and "training" in run.data.tags)


def _kind(run: Run) -> str:
    if run.info.lifecycle_stage == "deleted":
        return "deleted in MLflow already, and in its bin"
    return next((words for tag, words in _KINDS if tag in run.data.tags), "other runs")


def _commands(gone: Collection[Run]) -> list[str]:
    if not gone:
        return []
    address = mlflow_address.address()
    name = f"MLFLOW_TRACKING_URI={shlex.quote(address)} " if mlflow_address.database() else ""
    active = [run.info.run_id for run in gone if run.info.lifecycle_stage != "deleted"]
    store = shlex.quote(address) if mlflow_address.database() else "<the server's backend store>"
    every = ",".join(run.info.run_id for run in gone)
    delete = [f"for run in {' '.join(active)}; do {name}mlflow runs delete --run-id $run; done"] if active else []
    return [*delete, f"{name}mlflow gc --backend-store-uri {store} --run-ids {every}"]


def _folders() -> list[Path]:
    """Those of runs and models beside the database file; some are of none: a run was purged while its files were away."""
    database = mlflow_address.database()
    if database is None:
        return []
    found = sorted((database.parent / mlflow_database.ARTIFACTS).glob("*/*"))
    models = [model for folder in found if folder.name == "models" for model in sorted(folder.iterdir())]
    return [folder for folder in found if folder.name != "models"] + models


def _folder(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
