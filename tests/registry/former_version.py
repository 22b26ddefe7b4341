"""What the version with all modules in one folder left of a tiny cohort (tests/artefacts), laid where the stages now look."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path
from typing import Any

from conftest import ROOT, write_params

from pipeline.common import paths
from pipeline.registry import mlflow_server

SUBTYPE, CANDIDATE, FOLDS = "NPM1", "published", [0, 1]
_ARCHIVE = ROOT / "tests" / "artefacts" / "former_version.tar.xz"
_MADE_IN = "file:///tmp/former"
_PLACES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
_WHOLE = {"low": 2, "high": 256, "step": 2}
# What its params.yaml says, in today's words.
SETTINGS: dict[str, Any] = {
    "subtypes": [SUBTYPE],
    "ingest.demo.patients": {"control": 8, SUBTYPE: 8},
    "split.n_folds": 4,
    "pack.px": 16,
    "folds": FOLDS,
    "train.batch_size": 8,
    "train.max_epochs": 2,
    "train.min_epochs": 1,
    "train.precision": "float32",
    "candidates.published.networks": {SUBTYPE: {"first_conv": 2, "conv": [4], "dense": [4], "learning_rate": 0.01}},
    "evaluate.draws": 200,
    "register.floors.cnn": dict.fromkeys(("image_accuracy", "patient_sensitivity", "patient_specificity"), 0.0),
    "tune.trials": 2,
    "tune.max_epochs": 2,
    "tune.space.first_conv": _WHOLE,
    "tune.space.conv": _WHOLE,
    "tune.space.dense": _WHOLE,
    "tune.space.learning_rate": {"low": 1e-5, "high": 0.1},
    "tune.space.px": [16],
}


def unpack(folder: Path) -> None:
    """All of it, as if it had been made in `folder`; the settings as they were are in former_params.yaml."""
    with tarfile.open(_ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    with sqlite3.connect(folder / "mlflow.db") as database:
        for table, column in _PLACES.items():
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (_MADE_IN, folder.as_uri()))
    (folder / "params.yaml").rename(folder / "former_params.yaml")
    write_params(folder / "params.yaml", SETTINGS)


def move_results(folder: Path) -> None:
    """What it had trained and measured, to where that belongs now (docs/operations.md)."""
    moved = {f"models/{SUBTYPE}/fold-{fold}": paths.fold(SUBTYPE, CANDIDATE, fold) for fold in FOLDS}
    for former, now in (moved | {f"reports/{SUBTYPE}": paths.report(SUBTYPE, CANDIDATE)}).items():
        (folder / former).rename(folder / "moving")
        (folder / now).parent.mkdir(parents=True, exist_ok=True)
        (folder / "moving").rename(folder / now)


def runs() -> list[Any]:
    """All runs of its experiment in MLflow."""
    client = mlflow_server.connect()
    return list(client.search_runs([client.get_experiment_by_name(SUBTYPE).experiment_id]))
