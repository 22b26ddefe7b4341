"""A copy of this repository whose demo cohort and networks are tiny, and commands in it."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from conftest import ROOT, write_params
from processes import CLEAN
from ruamel.yaml import YAML

SUBTYPES = ["PML_RARA", "NPM1"]
TINY = {
    "subtypes": SUBTYPES,
    "ingest.demo.patients": {"control": 6, "PML_RARA": 5, "NPM1": 5},
    "ingest.demo.images_per_patient": [6, 9],
    "validate.min_images_per_patient": 5,
    "split.n_folds": 3,
    "pack.px": 24,
    "train.batch_size": 8,
    "train.max_epochs": 6,
    "train.min_epochs": 6,
    "candidates.published.networks": {
        "PML_RARA": {"first_conv": 8, "conv": [8], "dense": [8], "learning_rate": 0.001},
        "NPM1": {"first_conv": 8, "conv": [8, 8], "dense": [8], "learning_rate": 0.001},
    },
    "register.floors.cnn": {"image_accuracy": 0.0, "patient_sensitivity": 0.0, "patient_specificity": 0.0},
}
UNWRITABLE = "/proc"  # for root, too
OF_ANOTHER_PROJECT = ("dvc.lock", "data/decisions.jsonl", "data/delivery.json", "data/folds.csv")


def copy_of_the_repository(target: Path) -> Path:
    """What a fresh clone holds, the uncommitted changes included, with TINY's parameters."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name not in OF_ANOTHER_PROJECT and not name.startswith("reports/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
    write_params(target / "params.yaml", TINY)
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "copy"],
    ):
        subprocess.run(command, cwd=target, check=True)
    return target


def call(folder: Path, *command: str, **variables: str) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, cwd=folder, env={**CLEAN, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def lock(folder: Path) -> dict[str, Any]:
    """dvc.lock without the order in which its stages ran."""
    stages: dict[str, Any] = YAML(typ="safe", pure=True).load(folder / "dvc.lock")["stages"]
    return dict(sorted(stages.items()))


def versions(repository: Path) -> dict[str, list[str]]:
    """Straight from the file: a client in this process would go on with one that was deleted."""
    with contextlib.closing(sqlite3.connect(repository / "mlflow.db")) as database:
        found = database.execute("SELECT name, version FROM model_versions ORDER BY version").fetchall()
    return {subtype: [str(version) for name, version in found if name == subtype] for subtype in SUBTYPES}
