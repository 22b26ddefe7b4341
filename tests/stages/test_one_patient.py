"""One patient in two spellings never becomes two without a word: from delivery to folds, and wherever people name patients."""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from delivery import USUAL, add, packed
from small_cohort import quarantine, rule

from infra import keys
from pipeline.common import config
from pipeline.common.errors import DataError, LeakError, PipelineError
from pipeline.stages import deal, ingest, predict, split, validate

Settings = Callable[[dict[str, Any]], config.Config]
NFC, NFD = "M\u00fcller", unicodedata.normalize("NFD", "M\u00fcller")
PAIRS = [
    (NFC, NFD),
    ("Pat12", "PAT12"),
    ("Gro\u00df", "GROSS"),
    ("P12", "P12 "),
    ("P12", " P12"),
    ("P 12", "P  12"),
    ("P12", "P12\u00a0"),
    ("P12", "P12\u200b"),
    ("P12", "\ufeffP12"),
    ("P12", "P1\u00ad2"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("classes", [("NPM1", "NPM1"), ("NPM1", "control")])
def test_two_spellings_stop_the_run_and_are_told_apart(
    originals: Path, params: Settings, classes: tuple[str, str], one: str, other: str
) -> None:
    add(originals, classes[0], one)
    add(originals, classes[1], other, first=4)
    settings = params(USUAL)
    ingest.run(settings)
    both = " and ".join(ascii(name) for name in sorted([one, other]))
    with pytest.raises(DataError, match=r"rules are broken, first patient_spelled_once \(") as caught:
        validate.run(settings)
    assert both in str(caught.value)
    assert rule("patient_in_one_class")["success"] == (classes[0] == classes[1])
    page = Path("reports/validation/data_docs/index.html").read_text(encoding="utf-8")
    assert both.replace("'", "&#x27;") in page
    if other.isprintable():
        with pytest.raises(LeakError, match="are one patient's name"):
            deal.run(settings)
    assert not Path("data/folds.csv").exists()


def test_names_that_only_look_the_same_stop_the_run_and_those_that_nearly_do_are_told(
    originals: Path, params: Settings
) -> None:
    for first, (one, other) in enumerate([("P12", "P12."), ("A12", "\u041012"), ("007", "7")]):
        add(originals, "NPM1", one, first=20 * first)
        add(originals, "control", other, first=20 * first + 10)
    settings = params(USUAL)
    ingest.run(settings)
    with pytest.raises(DataError, match=r"1 of 23 rules are broken, first patient_told_apart \("):
        validate.run(settings)
    assert rule("patient_told_apart")["offenders_total"] == 4
    assert "A12: 'A12' and '\\u041012'" in rule("patient_told_apart")["offenders"]
    assert rule("patient_named_apart")["offenders"] == ["007: '007' and '7'", "7: '7' and '007'"]


@pytest.mark.parametrize("declared", [True, False])
def test_names_in_a_zip_are_those_in_the_folder(
    originals: Path, params: Settings, declared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(originals, "NPM1", NFC)
    ingest.run(params(USUAL))
    tables = [Path("data/patients.csv").read_bytes(), Path("data/source.json").read_bytes()]
    monkeypatch.setenv("COHORT_DIR", str(packed(originals, declared)))
    ingest.run(params(USUAL))
    assert [Path("data/patients.csv").read_bytes(), Path("data/source.json").read_bytes()] == tables
    assert NFC in tables[0].decode()


def test_two_spellings_in_a_zip_stop_the_run(originals: Path, params: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    add(originals, "NPM1", NFC)
    add(originals, "control", NFD)
    monkeypatch.setenv("COHORT_DIR", str(packed(originals, declared=False)))
    ingest.run(params(USUAL))
    with pytest.raises(DataError, match=r"'Mu\\u0308ller' and 'M\\xfcller': one patient, in NPM1, control"):
        validate.run(params(USUAL))


def test_one_spelling_is_kept_and_dealt_as_delivered(originals: Path, params: Settings) -> None:
    add(originals, "NPM1", NFD)
    add(originals, "control", "P12 ")
    for stage in (ingest, validate, deal, split):
        stage.run(params(USUAL))
    table = pd.read_csv("data/splits/NPM1.csv", dtype="str", keep_default_na=False)
    assert {NFD, "P12 "} < set(table["patient"])
    assert not quarantine()


def test_metadata_and_exclusions_name_a_patient_in_any_spelling(
    originals: Path, params: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    add(originals, "NPM1", NFD)
    add(originals, "control", "Pat12")
    add(originals, "control", "Pat13")
    (originals / "metadata.csv").write_text(
        f"patient_id,age\n{NFC},61\nPAT12\u00a0,44\naaa,3\nbbb,4\n\ufeffCcc,5\nDDD,6\npat13,7\nEee,8\nFFF,9\n"
    )
    ingest.run(params(USUAL))
    assert "warning" not in capsys.readouterr().err
    table = pd.read_csv("data/patients.csv", dtype="str", keep_default_na=False).set_index("patient")
    assert (table.loc[NFD, "age"], table.loc["Pat12", "age"]) == ("61", "44")
    Path("data/exclude.csv").write_text(
        f"patient,path,reason\n{NFC.upper()},,withdrawn\nPAT12,CONTROL/pat12/IMAGE_1.tif,dark\nPat13,control/Pat13/image_3.tif,dark\n"
    )
    validate.run(params(USUAL))
    assert quarantine() == {
        **{f"NPM1/{NFD}/image_{number}.tif": "excluded: withdrawn" for number in (1, 2, 3)},
        "control/Pat12/image_1.tif": "excluded: dark",
        "control/Pat13/image_3.tif": "excluded: dark",
    }
    (originals / "metadata.csv").write_text(f"patient_id,age\n{NFC},61\n{NFD},62\n")
    with pytest.raises(DataError, match=r"patient 'Mu\\u0308ller' and 'M\\xfcller' stands in it more than once"):
        ingest.run(params(USUAL))


def test_excluding_the_files_of_one_spelling_lets_the_other_stand(originals: Path, params: Settings) -> None:
    add(originals, "NPM1", "Pat12")
    add(originals, "NPM1", "PAT12")
    lines = "".join(f"Pat12,NPM1/PAT12/image_{number}.tif,a copy\n" for number in (1, 2, 3))
    Path("data").mkdir()
    Path("data/exclude.csv").write_text(f"patient,path,reason\n{lines}")
    for stage in (ingest, validate, deal, split):
        stage.run(params(USUAL))
    assert set(quarantine()) == {f"NPM1/PAT12/image_{number}.tif" for number in (1, 2, 3)}


@pytest.fixture
def safe(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("safe")
    keys.write_private(folder / "key", "a" * 64)
    monkeypatch.setenv("PSEUDONYMS_DIR", str(folder))
    return folder


def pseudonyms(folder: Path) -> dict[str, str]:
    table = pd.read_csv(folder / "table.csv", dtype="str", keep_default_na=False)
    return dict(zip(table["name"], table["pseudonym"], strict=True))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_patient_has_one_pseudonym_in_every_spelling(
    originals: Path, safe: Path, params: Settings, one: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = params({**USUAL, "ingest.pseudonyms": True})
    add(originals, "NPM1", one)
    ingest.run(settings)
    first = pseudonyms(safe)
    (originals / "NPM1" / one).rename(originals / "NPM1" / other)
    ingest.run(settings)
    assert pseudonyms(safe)[other] == first[one]
    add(originals, "NPM1", one, first=7)
    with pytest.raises(DataError, match=f"{first[one]}: 2 folders of a class are this one patient") as caught:
        ingest.run(settings)
    said = str(caught.value) + "".join(capsys.readouterr())
    assert not any(name in said for way in (one, other) for name in (way, ascii(way)[1:-1]))
    assert {one, other} <= set(pseudonyms(safe))


def test_a_table_from_before_is_kept_to(originals: Path, safe: Path, params: Settings) -> None:
    """As an earlier version wrote it: of every spelling a pseudonym of its own, made of the name's bytes as they were."""
    settings = params({**USUAL, "ingest.pseudonyms": True})
    before = {}
    for own in ("PAT12 ", NFD):
        digest = hmac.new(b"a" * 64, b"patient\0" + own.encode(), hashlib.sha256).digest()
        before[own] = f"P{base64.b32encode(digest).decode()[:10]}"
    rows = "".join(f"{own},{name}\n" for own, name in before.items())
    keys.write_private(safe / "table.csv", f"name,pseudonym\n{rows}")
    add(originals, "NPM1", "pat12")
    add(originals, "control", NFC)
    ingest.run(settings)
    known = pseudonyms(safe)
    assert (known["pat12"], known[NFC]) == (before["PAT12 "], before[NFD])
    assert before.items() < known.items()


def test_two_folders_of_one_patient_are_not_scored(here: Path, params: Settings) -> None:
    for number, name in enumerate((NFC, NFD, "EEE")):
        add(here / "ward", ".", name, first=3 * number)
    with pytest.raises(DataError, match=r"ward: 'Mu\\u0308ller' and 'M\\xfcller' are one patient's name"):
        predict.run(params(USUAL), Path("ward"), None, None)
    add(here / "icu", ".", "EEE")
    add(here / "icu", ".", "\u0415EE", first=3)  # with a Cyrillic letter
    with pytest.raises(DataError, match=r"icu: 'EEE' and '\\u0415EE' look the same; make them one folder, or rename one"):
        predict.run(params(USUAL), Path("icu"), None, None)


def test_folders_without_an_image_are_said_and_litter_is_not(
    here: Path, params: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    add(here / "ward", ".", "EEE")
    (here / "ward/QQQ").mkdir()
    for name in ("@eaDir", ".ipynb_checkpoints"):
        add(here / "ward", ".", name)
        add(here / "ward", "EEE", name)
    with pytest.raises(PipelineError, match="champion"):  # nothing is registered here
        predict.run(params(USUAL), Path("ward"), None, None)
    assert "warning: 1 of the folders hold no image and are left out, first QQQ\n" in capsys.readouterr().err


def test_a_file_system_that_takes_two_names_for_one_is_noticed(here: Path) -> None:
    """As on macOS: the second folder is the first."""
    (here / "NPM1" / "Pat12").mkdir(parents=True)
    with pytest.raises(DataError, match="NPM1: 'PAT12' and 'Pat12': the file system of data/raw takes it for one"):
        ingest._require_apart(["NPM1/Pat12/image_1.tif", "NPM1/PAT12/image_2.tif"], here)
    ingest._copy_file(iter([b"x"]), here / "NPM1/Pat12/image_1.tif")
    with pytest.raises(DataError, match=r"NPM1/Pat12/image_1\.tif: the file system of data/raw takes it for one"):
        ingest._copy_file(iter([b"y"]), here / "NPM1/Pat12/image_1.tif")
    assert (here / "NPM1/Pat12/image_1.tif").read_bytes() == b"x"
