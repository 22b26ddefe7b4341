"""`init` writes a params.yaml that the pipeline takes, for whatever cohort lies there, and says what it assumed."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from pipeline.__main__ import main
from pipeline.common import config


@pytest.fixture
def work(here: Path) -> Path:
    shutil.copy(ROOT / "params.kaggle.yaml", here)
    return here


def cohort(root: Path, classes: dict[str, int], px: int = 48, images: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for name, patients in classes.items():
        for number in range(patients):
            (folder := root / name / f"P{number}").mkdir(parents=True)
            for image in range(images):
                Image.fromarray(rng.integers(0, 255, (px, px, 3), np.uint8)).save(folder / f"image_{image}.png")
    return root


def test_classes_sizes_and_counts_are_those_that_lie_there(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = cohort(work / "mine" / "data", {"healthy": 4, "AML M3 (new)": 6, "NPM1": 5})
    assert main(["init", str(work / "mine"), "--um", "30", "--name", "mine 2026"]) == 0
    written = config.load()
    assert (written.control, written.subtypes) == ("healthy", ["AML_M3_new", "NPM1"])
    assert written.ingest.class_folders == {"AML M3 (new)": "AML_M3_new"}
    assert (written.ingest.source, written.ingest.cohort) == ("folder", "mine 2026")
    assert (written.image_px, written.image_um, written.pack.px) == (48, 30.0, 48)
    assert (written.split.n_folds, written.folds) == (4, [0, 1, 2, 3]), "four patients of a class are no five folds"
    assert written.validate_.expected is None
    said = capsys.readouterr().out
    assert "control: healthy, by its name" in said
    assert "an epoch has only some" in said
    assert "folds: all 4 (5 where each class has so many patients), so 8 networks are trained (each says first how long" in said
    assert "`folds: [0]` in params.yaml trains 2, to see that all runs" in said
    assert "AML_M3_new: {patients: 6, images: 24}" in Path("params.yaml").read_text()
    assert f"export COHORT_DIR={work}/mine; dvc repro" in said
    assert place.is_dir()


def test_a_patient_without_an_image_is_told(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = cohort(work / "mine", {"healthy": 4, "NPM1": 5})
    (place / "NPM1" / "P-empty").mkdir()
    (place / "NPM1" / ".git").mkdir()
    assert main(["init", "mine", "--um", "30"]) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "patients: not" in line]
    assert said.startswith("assumed  patients: not mine/NPM1/P-empty, without an image; complete it or take it away: ")


def test_the_file_names_no_subtype_and_no_value_of_the_template_that_the_cohort_has_not(work: Path) -> None:
    cohort(work / "mine", {"healthy": 4, "lymphoma": 4, "NPM1": 4}, images=1)
    assert main(["init", "mine", "--um", "20"]) == 0
    written, text = config.load(), Path("params.yaml").read_text()
    assert set(networks := written.candidates["cells"].model_dump()["networks"]) == {"default", "NPM1"}
    assert (written.kinds.cnn, written.transfer.base) == (["cells"], "cells"), "of a lymphoma nothing is published"
    drawn, others = text.partition("\n  demo:")[0], text.partition("\nvalidate:")[2]
    assert not re.search("PML|RUNX1|CBFB|20305|some mirrors", drawn + others)
    assert {network["learning_rate"] for network in networks.values()} == {1e-4}
    assert "# The rates are not the published ones" in text
    assert "ambiguous" not in text
    for line in re.findall(r"^ *(?:folds|batch_norm_momentum|expected|class_folders|control):.*", text, re.MULTILINE):
        value, _, said = line.partition("#")
        assert not re.match(r" *(Keras' default|the class of healthy)", said), line
        assert "[0, 1, 2, 3, 4]" not in line, line
        assert value


def test_what_so_few_patients_cannot_give_is_told_with_what_to_set(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort(work / "mine", {"control": 12, "NPM1": 3}, images=1)
    assert main(["init", "mine", "--um", "20"]) == 0
    told = {line.split(":")[0].removeprefix("too few  "): line for line in _too_few(capsys)}
    assert "none of the 3 patients of NPM1 wrongly" in told["register.floors"]
    assert "of 29% of such patients only" in told["register.floors"], ".025 ** (1 / 3), by Clopper & Pearson"
    assert "NPM1 has 3: the first that reaches the floors stays champion" in told["register.gate.fewest_patients"]
    assert "there are 8: the threshold stays 0.5" in told["evaluate.fewest_controls"]
    assert "target_specificity: 0.88 at most" in told["evaluate.fewest_controls"]
    assert "NPM1 has 1: none is made" in told["call"]
    cohort(work / "larger", {"control": 30, "NPM1": 8}, images=1)
    assert main(["init", "larger", "--um", "20", "--replace"]) == 0
    told = {line.split(":")[0].removeprefix("too few  "): line for line in _too_few(capsys)}
    assert set(told) == {"register.floors", "register.gate.fewest_patients", "call.coverage"}
    assert "take 9 patients" in told["call.coverage"]
    assert "of NPM1 there are 6: " in told["call.coverage"], "two of 8 are in the largest of 5 folds"
    assert "coverage: 0.85 at most" in told["call.coverage"]
    assert "written 8 in place of 10" in told["register.gate.fewest_patients"]
    cohort(work / "enough", {"control": 30, "NPM1": 20}, images=1)
    assert main(["init", "enough", "--um", "20", "--replace"]) == 0
    assert _too_few(capsys) == []


def test_a_cohort_that_a_commit_would_take_is_told(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort(work / "mine" / "here", {"control": 3, "NPM1": 3}, images=1)
    command = ["init", "mine/here", "--um", "20", "--replace"]
    assert main(command) == 0
    assert "git" not in capsys.readouterr().err, "no checkout is there"
    subprocess.run(["git", "init", "--quiet"], check=True)
    assert main(command) == 0
    advice = re.search(r"warning: mine/here: lies in this checkout, .*: (echo /mine/here >> .*)", capsys.readouterr().err)
    assert advice
    subprocess.run(["bash", "-c", advice[1]], check=True)
    assert main(command) == 0
    assert capsys.readouterr().err == ""
    listed = ["git", "ls-files", "-o", "--exclude-standard"]
    assert "mine" not in subprocess.run(listed, check=True, capture_output=True, text=True).stdout


def _too_few(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("too few")]


def test_of_the_published_size_nothing_but_the_cohort_changes(work: Path) -> None:
    template = config.load(Path("params.kaggle.yaml"))
    place = cohort(work / "large", {"control": 20, "NPM1": 20}, px=144, images=1)
    for patient in place.glob("*/*"):
        for number in range(1, 250):  # named and not opened: one image a patient is looked at
            (patient / f"image_{number}.png").touch()
    assert main(["init", str(place), "--um", "24.9"]) == 0
    written = config.load()
    candidates = {name: candidate.model_dump() for name, candidate in template.candidates.items()}
    networks = candidates["published"]["networks"]
    candidates["published"]["networks"] = {name: networks[name] for name in ("default", "NPM1")}
    assert {name: candidate.model_dump() for name, candidate in written.candidates.items()} == candidates
    assert (written.train, written.pack, written.tune) == (template.train, template.pack, template.tune)


def test_an_archive_is_looked_at_as_a_folder_is(work: Path) -> None:
    place = cohort(work / "mine", {"normal": 3, "ALL": 3})
    with zipfile.ZipFile(work / "mine.zip", "w") as archive:
        for file in place.rglob("*.png"):
            archive.write(file, file.relative_to(work))
    shutil.rmtree(place)
    assert main(["init", "mine.zip", "--um", "20"]) == 0
    assert config.load().subtypes == ["ALL"]
    assert config.load().ingest.cohort == "mine"


def test_a_params_file_that_is_there_stays_unless_asked(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort(work / "mine", {"control": 3, "NPM1": 3})
    Path("params.yaml").write_text("mine")
    assert main(["init", "mine", "--um", "20"]) == 0
    assert Path("params.yaml").read_text() == "mine"
    assert "mv params.init.yaml params.yaml" in capsys.readouterr().out
    assert config.load(Path("params.init.yaml")).subtypes == ["NPM1"]
    assert main(["init", "mine", "--um", "20", "--replace"]) == 0
    assert config.load().subtypes == ["NPM1"]


@pytest.mark.parametrize(
    ("classes", "more", "said"),
    [
        ({"control": 3, "NPM1": 3}, [], "say it: --um"),
        ({"control": 3, "NPM1": 3}, ["--um", "0"], "is above 0, not 0"),
        ({"first": 3, "second": 3}, ["--um", "20"], "which class is the control? Say it: --control NAME, one of first, second"),
        ({"first": 3, "second": 3}, ["--um", "20", "--control", "third"], "there is no class third; found: first, second"),
        ({"control": 2, "NPM1": 3}, ["--um", "20"], "control: 2 patients; training, validation and test need one each"),
        ({"control": 3}, ["--um", "20"], "no two folders side by side that hold folders of patients"),
        ({"control": 3, "N-1": 3, "N_1": 3}, ["--um", "20"], "its name makes no class name of its own (N_1)"),
        ({"control": 3, "tune": 3}, ["--um", "20"], "a class cannot be named tune"),
    ],
)
def test_what_cannot_be_told_is_one_line_and_nothing_is_written(
    work: Path, capsys: pytest.CaptureFixture[str], classes: dict[str, int], more: list[str], said: str
) -> None:
    cohort(work / "mine", classes, images=1)
    assert main(["init", "mine", *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert {path.name for path in work.iterdir()} == {"mine", "params.kaggle.yaml"}


def test_images_that_cannot_be_used_are_told(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = cohort(work / "mine", {"control": 3, "NPM1": 3}, images=1)
    first = place / "control/P0/image_0.png"
    first.write_bytes(b"GIF8")
    assert main(["init", "mine", "--um", "20"]) == 0
    assert "1 others would be quarantined (mine/control/P0/image_0.png: not a TIFF" in capsys.readouterr().out
    for file in place.rglob("*.png"):
        file.write_bytes(b"GIF8")
    assert main(["init", "mine", "--um", "20", "--replace"]) == 2
    assert "of 6 images looked at, one a patient, none can be used" in capsys.readouterr().err
    assert main(["init", "nowhere", "--um", "20"]) == 2
    assert "nowhere: is not there" in capsys.readouterr().err
