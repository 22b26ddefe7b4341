"""The flow `refresh` as a user runs it: a folder in which new patients appear, the real pipeline, no Prefect server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_params
from PIL import Image
from processes import CLEAN, alive_of
from small_project import TINY, call, copy_of_the_repository

pytestmark = pytest.mark.rehearsal

PX = 48
FOLDER = {
    "subtypes": ["NPM1"],
    "image_px": PX,
    "ingest.source": "folder",
    "validate.min_patients_per_class": 3,
    "train.max_epochs": 2,
    "train.min_epochs": 1,
}


def add_patient(cohort: Path, class_name: str, patient: str, rng: np.random.Generator) -> None:
    folder = cohort / class_name / patient
    folder.mkdir(parents=True)
    for number in range(1, 7):
        Image.fromarray(rng.integers(0, 256, (PX, PX, 3), dtype=np.uint8)).save(folder / f"image_{number}.tif")


def refresh(folder: Path, cohort: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "flows", "refresh"],
        cwd=folder,
        env={**CLEAN, "COHORT_DIR": str(cohort), "PREFECT_HOME": str(folder / ".prefect")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()[-1]


def test_new_patients_are_taken_in_and_otherwise_nothing_runs(tmp_path: Path) -> None:
    cohort, folder, rng = tmp_path / "cohort", tmp_path / "project", np.random.default_rng(1)
    for name, letter in (("control", "C"), ("NPM1", "N")):
        for patient in ("AA", "BB", "CC"):
            add_patient(cohort, name, letter + patient, rng)
    folder.mkdir()
    copy_of_the_repository(folder)
    write_params(folder / "params.yaml", {**TINY, **FOLDER})
    call(folder, "dvc", "repro", "ingest", COHORT_DIR=str(cohort))
    assert refresh(folder, cohort) == (0, "refresh: Completed. the source has nothing new")
    add_patient(cohort, "NPM1", "NDD", rng)
    assert refresh(folder, cohort) == (
        0,
        "refresh: Completed. new data: 15 stages: 11 ran, 4 unchanged",
    )  # what a look needs ran before
    assert "NDD" in set(pd.read_csv(folder / "data" / "splits" / "NPM1.csv")["patient"])
    assert set(json.loads(call(folder, "dvc", "status", "--json"))) == {"delivery"}  # which is asked each time
    assert alive_of(folder) == []
