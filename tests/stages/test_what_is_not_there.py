"""Empty folders and stand-ins are seen by the rules, litter by nobody: from the delivery to the rules' results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from delivery import FILES, FOLDERS, STAND_INS, USUAL, add, packed
from small_cohort import put, quarantine, report, rule, settings, sound_cohort
from test_decoding import cell, tiff

from pipeline.common import config
from pipeline.common.errors import DataError
from pipeline.stages import deal, ingest, split, validate

Settings = Callable[[dict[str, Any]], config.Config]


def strew(folder: Path) -> None:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "image_1.tif").write_bytes(b"x")
    for name in FILES:
        (folder / name).write_bytes(b"x")


def test_litter_is_counted_in_one_line_and_changes_nothing(
    originals: Path,
    params: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ingest.run(params(USUAL))
    before = Path("data/source.json").read_bytes()
    capsys.readouterr()
    for folder in (originals, originals / "NPM1", originals / "NPM1/DDD"):
        strew(folder)
    strew(originals.parent / "disk")
    (originals.parent / "disk/__MACOSX/control/AAA").mkdir(parents=True)
    originals.rename(originals.parent / "disk/data")
    monkeypatch.setenv("COHORT_DIR", str(originals.parent / "disk"))
    for stage in (ingest, validate, deal, split):
        stage.run(params(USUAL))
    said = capsys.readouterr()
    assert said.err == ""
    count = 4 * (len(FOLDERS) + len(FILES))
    assert [line for line in said.out.splitlines() if "litter" in line] == [
        line
        for line in said.out.splitlines()
        if line.startswith(f"litter of file browsers, storage and sync tools, left out: {count} (")
    ]
    assert Path("data/source.json").read_bytes() == before
    assert not quarantine()


def test_litter_in_data_raw_is_no_patient_no_class_and_no_damage(here: Path) -> None:
    sound_cohort()
    for folder in ("data/raw", "data/raw/control", "data/raw/control/CAA"):
        strew(Path(folder))
    validate.run(settings("NPM1", share=0))
    assert set(quarantine().values()) == {"not an image: left behind by a file browser"}
    assert report()["classes"]["control"]["patients_delivered"] == 3


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_is_an_image_that_is_missing(
    originals: Path,
    params: Settings,
    name: str,
) -> None:
    for patient in ("DDD", "EEE", "FFF"):
        place = originals / "NPM1" / patient / name
        place.parent.mkdir(exist_ok=True)
        (originals / "NPM1" / patient / "image_3.tif").rename(place)
    strict = {**USUAL, "validate.max_quarantined_share": 0.16}
    ingest.run(params(strict))
    with pytest.raises(DataError, match=r"1 of 23 rules are broken, first few_quarantined \(3 of 18 files: 0.1667\)"):
        validate.run(params(strict))
    assert len(quarantine()) == 3
    assert all(reason.startswith("image not there: ") for reason in quarantine().values())


def test_an_unfinished_copy_beside_its_image_is_litter(
    originals: Path,
    params: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (originals / "NPM1/DDD/.image_3.tif.Ab12Cd").write_bytes(b"x")
    for stage in (ingest, validate):
        stage.run(params({**USUAL, "validate.max_quarantined_share": 0}))
    assert "left out: 1 (1 unfinished copies of what is there)" in capsys.readouterr().out
    put("NPM1/DDD/image_2.tif.part", b"x")
    validate.run(params({**USUAL, "validate.max_quarantined_share": 0}))


@pytest.mark.parametrize("content", [None, ".DS_Store"])
@pytest.mark.parametrize("zipped", [False, True])
def test_an_empty_folder_is_a_patient_without_images_until_excluded(
    originals: Path,
    params: Settings,
    monkeypatch: pytest.MonkeyPatch,
    zipped: bool,
    content: str | None,
) -> None:
    (originals / "NPM1/QQQ").mkdir()
    if content:
        (originals / "NPM1/QQQ" / content).write_bytes(b"x")
    if zipped:
        monkeypatch.setenv("COHORT_DIR", str(packed(originals, declared=True)))
    ingest.run(params(USUAL))
    with pytest.raises(DataError, match=r"first patient_has_images \(QQQ: image not there: the folder is empty; "):
        validate.run(params(USUAL))
    assert rule("patient_has_images")["offenders_total"] == 1
    assert quarantine() == {"NPM1/QQQ/": "image not there: the folder is empty; complete it, and run `dvc repro` again"}
    Path("data/exclude.csv").write_text("patient,path,reason\nQQQ,,never came\n")
    for stage in (validate, deal, split):
        stage.run(params(USUAL))
    assert "QQQ" not in set(pd.read_csv("data/splits/NPM1.csv")["patient"])


def test_a_patient_whose_files_are_all_something_else_has_no_images(
    originals: Path,
    params: Settings,
) -> None:
    (originals / "NPM1/QQQ").mkdir()
    (originals / "NPM1/QQQ/notes.txt").write_text("x")
    ingest.run(params(USUAL))
    with pytest.raises(DataError, match=r"first patient_has_images \(QQQ: not an image: its name does not end in "):
        validate.run(params(USUAL))


def test_a_folder_named_by_a_blank_is_nobodys(
    originals: Path,
    params: Settings,
) -> None:
    add(originals, "NPM1", " ")
    ingest.run(params(USUAL))
    with pytest.raises(
        DataError, match=r"first patient_has_images \(' ': the name of its patient's folder is blank; rename it\)"
    ):
        validate.run(params(USUAL))
    assert set(quarantine().values()) == {"the name of its patient's folder is blank; rename it"}


def test_an_image_of_the_same_pixels_elsewhere_is_found_however_the_rows_stand(here: Path) -> None:
    """Of one patient in two folders, between which others stand."""
    sound_cohort()
    for name in ("Pat12", "PAT12", "PBB"):
        put(f"NPM1/{name}/image_1.tif", tiff(cell(500)))
    with pytest.raises(DataError):
        validate.run(settings("NPM1"))
    assert rule("no_image_in_two_patients")["offenders"] == [
        "NPM1/PAT12/image_1.tif: NPM1/PBB/image_1.tif",
        "NPM1/PBB/image_1.tif: NPM1/PAT12/image_1.tif",
    ]
