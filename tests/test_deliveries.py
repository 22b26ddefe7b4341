"""A source that changes, as a user meets it: a folder as COHORT_DIR, real `dvc repro` in a copy of the repository."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import write_params
from PIL import Image
from processes import CLEAN
from small_project import TINY, copy_of_the_repository

pytestmark = pytest.mark.rehearsal

PX = 32
FOLDER = {
    "subtypes": ["NPM1"],
    "image_px": PX,
    "ingest.source": "folder",
    "ingest.cohort": "tiny",
    "validate.min_patients_per_class": 3,
}
RNG = np.random.default_rng(1)


def add_patient(cohort: Path, class_name: str, patient: str, images: int = 6) -> None:
    folder = cohort / class_name / patient
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(list(folder.iterdir())) + 1, images + 1):
        Image.fromarray(RNG.integers(0, 256, (PX, PX, 3), dtype=np.uint8)).save(folder / f"image_{number}.tif")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose delivery in `cohort`, beside it, is taken in and valid."""
    work = tmp_path_factory.mktemp("delivered")
    for name, letter in (("control", "C"), ("NPM1", "N")):
        for patient in ("AA", "BB", "CC"):
            add_patient(work / "cohort", name, letter + patient)
    (work / "project").mkdir()
    copy_of_the_repository(work / "project")
    write_params(work / "project/params.yaml", {**TINY, **FOLDER})
    repro(work, "validate")
    return work


@pytest.fixture
def work(ingested: Path, tmp_path: Path) -> Path:
    """A copy of that, for one test to change."""
    shutil.copytree(ingested, tmp_path / "work", symlinks=True)
    return tmp_path / "work"


def run(work: Path, *command: str, **variables: str) -> tuple[int, str]:
    environment = {**CLEAN, "COHORT_DIR": str(work / "cohort"), **variables}
    done = subprocess.run(command, cwd=work / "project", env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def repro(work: Path, *arguments: str, **variables: str) -> str:
    status, said = run(work, "dvc", "repro", *arguments, **variables)
    assert status == 0, said
    return said


def images(work: Path, patient: str) -> int:
    return len(list((work / "project/data/raw/NPM1" / patient).glob("*.tif")))


def test_a_delivery_that_was_refused_once_is_taken_in_when_it_is_mended(work: Path) -> None:
    add_patient(work / "cohort", "NPM1", "NEW")
    (work / "cohort/metadata.csv").write_text("patient_id,age\nNEW,412\n")
    for command in (["--force", "--single-item", "ingest"], ["validate"]):
        status, said = run(work, "dvc", "repro", *command)
        assert status != 0
        assert "metadata.csv: patient NEW, age: not between 0 and 120" in said
    (work / "cohort/metadata.csv").write_text("patient_id,age\nNEW,41\n")
    repro(work, "validate")
    assert images(work, "NEW") == 6
    assert "NEW,NPM1,,41" in (work / "project/data/patients.csv").read_text()
    assert run(work, "python", "-m", "pipeline", "source")[0] == 0


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_cohort_completed_as_a_rule_says_stays_complete(work: Path, by_hand: bool) -> None:
    aside = work / "aside"
    aside.mkdir()
    for number in (4, 5, 6):
        shutil.move(work / f"cohort/NPM1/NAA/image_{number}.tif", aside)
    status, said = run(work, "dvc", "repro", "validate")
    assert status != 0
    assert "complete the source" in said
    for path in aside.iterdir():
        shutil.move(path, work / "cohort/NPM1/NAA")
    if by_hand:
        assert run(work, "python", "-m", "pipeline", "ingest")[0] == 0
        assert images(work, "NAA") == 6
    repro(work, "validate")
    assert images(work, "NAA") == 6
    assert run(work, "python", "-m", "pipeline", "source")[0] == 0


def test_an_earlier_delivery_that_is_back_comes_from_the_run_cache(work: Path) -> None:
    add_patient(work / "cohort", "NPM1", "NEW")
    repro(work, "validate")
    shutil.rmtree(work / "cohort/NPM1/NEW")
    assert "Stage 'ingest' is cached" in repro(work, "validate")
    assert not images(work, "NEW")


def test_an_unchanged_source_is_asked_and_nothing_else_is_stale(work: Path) -> None:
    asked = {"delivery": [{"changed deps": {"pipeline/cohort/always_asked.yaml": {"folder": "modified"}}}]}
    status, said = run(work, "dvc", "status", "--json", "ingest", "validate", "delivery")
    assert (status, json.loads(said.splitlines()[-1])) == (0, asked)
    said = repro(work, "validate")
    assert "Stage 'ingest' didn't change" in said
    assert "Stage 'validate' didn't change" in said


def test_what_changes_between_the_question_and_the_copy_is_recorded_as_it_was_taken(work: Path) -> None:
    repro(work, "delivery")
    add_patient(work / "cohort", "NPM1", "NEW")
    repro(work, "--force", "--single-item", "ingest")
    assert images(work, "NEW") == 6
    shutil.rmtree(work / "cohort/NPM1/NEW")
    repro(work, "ingest")
    assert not images(work, "NEW")


@pytest.mark.parametrize("directory", ["", "nowhere", "empty"])
def test_a_source_out_of_reach_is_taken_for_unchanged_with_one_warning(work: Path, directory: str) -> None:
    (work / "empty").mkdir()
    where = str(work / directory) if directory else ""
    said = repro(work, "validate", COHORT_DIR=where)
    (warning,) = [line for line in said.splitlines() if line.startswith("warning")]
    assert "taken for unchanged" in warning
    assert "Stage 'ingest' didn't change" in said
    (work / "project/data/delivery.json").unlink()
    status, said = run(work, "dvc", "repro", "validate", COHORT_DIR=where)
    assert status != 0
    assert "error: COHORT_DIR" in said


def test_what_another_repository_kept_with_dvc_is_left_out(work: Path) -> None:
    for name in (".dvcignore", "image_1.tif.dvc", "dvc.yaml", "dvc.lock"):
        (work / "cohort/NPM1/NAA" / name).write_text("*.tif\n")
    (work / "cohort/.dvcignore").write_text("*.tif\n")
    (work / "cohort/NPM1/NAA/image_6.tif").write_bytes((work / "cohort/NPM1/NAA/image_5.tif").read_bytes() + b"\0")
    repro(work, "ingest")
    assert sorted(path.name for path in (work / "project/data/raw/NPM1/NAA").iterdir()) == [
        f"image_{number}.tif" for number in range(1, 7)
    ]
