"""Images come as they are, and a source that doesn't fit is named in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import REAL_CELLS

from pipeline.common import config, parallel, paths
from pipeline.common.errors import ConfigError, DataError
from pipeline.stages import ingest, source, validate

Settings = Callable[[dict[str, Any]], config.Config]
NETWORK = {"first_conv": 8, "conv": [8], "dense": [], "learning_rate": 0.001}
FOLDER = {"ingest.source": "folder", "subtypes": ["NPM1"], "candidates.published.networks": {"NPM1": NETWORK}}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COHORT_DIR", raising=False)


def cohort(root: Path, control: str = "control") -> Path:
    for class_name, patient in ((control, "AAA"), (control, "BBB"), ("NPM1", "CCC")):
        for n in (1, 2, 10):
            path = root / class_name / patient / f"image_{n}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{class_name}{patient}{n}".encode())
    return root


def test_a_folder_is_copied_byte_for_byte_and_left_as_it_is(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "originals" / "data", control="normal")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.rglob("*.tif")}
    monkeypatch.setenv("COHORT_DIR", str(tmp_path / "originals"))
    ingest.run(params({**FOLDER, "ingest.class_folders": {"normal": "control"}}))
    copies = {path.relative_to("data/raw"): path.read_bytes() for path in Path("data/raw").rglob("*.tif")}
    assert copies[Path("control/BBB/image_10.tif")] == b"normalBBB10"
    assert len(copies) == 9
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.rglob("*.tif")}
    assert all(path.stat().st_nlink == 1 for path in Path("data/raw").rglob("*.tif"))
    patients = pd.read_csv("data/patients.csv", keep_default_na=False)
    assert patients[["patient", "class"]].to_numpy().tolist() == [["CCC", "NPM1"], ["AAA", "control"], ["BBB", "control"]]
    assert json.loads(Path("data/source.json").read_text())["files"] == 9


def test_what_was_there_before_is_replaced_and_the_digest_follows_the_content(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "originals")
    monkeypatch.setenv("COHORT_DIR", str(source))
    digests = []
    for change in (None, "same", "new"):
        if change == "new":
            (source / "NPM1/CCC/image_10.tif").write_bytes(b"other")
            (source / "NPM1/CCC/image_2.tif").unlink()
        ingest.run(params(FOLDER))
        digests.append(json.loads(Path("data/source.json").read_text())["sha256"])
    assert digests[0] == digests[1] != digests[2]
    assert not Path("data/raw/NPM1/CCC/image_2.tif").exists()


@pytest.mark.parametrize(
    ("prepare", "error", "expected"),
    [
        (lambda root: None, ConfigError, "COHORT_DIR is not set"),
        (lambda root: root / "nowhere", ConfigError, "nowhere is neither a folder nor a ZIP archive"),
        (lambda root: root, ConfigError, "lie in each other"),
        (
            lambda root: root / "empty",
            DataError,
            r"no folder named like a class .*it holds the folders letters\. .*pipeline init",
        ),
        (
            lambda root: root / "half",
            DataError,
            r"no folder for class control; found NPM1. Correct its name .*\(control\), or say [^,]*$",
        ),
    ],
)
def test_a_source_that_does_not_fit_is_named_and_nothing_is_left_behind(
    tmp_path: Path,
    params: Settings,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path], Path | None],
    error: type[Exception],
    expected: str,
) -> None:
    (tmp_path / "empty" / "letters").mkdir(parents=True)
    (tmp_path / "half" / "NPM1" / "CCC").mkdir(parents=True)
    named = prepare(tmp_path)
    if named is not None:
        monkeypatch.setenv("COHORT_DIR", str(named))
    with pytest.raises(error, match=expected):
        ingest.run(params(FOLDER))
    assert not list(tmp_path.glob("data/*"))


def test_nothing_below_a_class_folder_is_left_out_silently(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "originals")
    (source / "NPM1" / "loose.tif").write_bytes(b"loose")
    (source / "NPM1" / "CCC" / "slide2").mkdir()
    (source / "NPM1" / "CCC" / "slide2" / "image_9.tif").write_bytes(b"deep")
    (source / "NPM1" / os.fsdecode(b"M\xfcller")).mkdir()
    (source / "NPM1" / os.fsdecode(b"M\xfcller") / "image_1.tif").write_bytes(b"latin")
    monkeypatch.setenv("COHORT_DIR", str(source))
    ingest.run(params(FOLDER))
    assert Path("data/raw/NPM1/loose.tif").read_bytes() == b"loose"
    assert Path("data/raw/NPM1/CCC/slide2/image_9.tif").read_bytes() == b"deep"
    assert json.loads(Path("data/source.json").read_text())["files"] == 11
    assert Path("data/not_copied.csv").read_text().splitlines()[1:] == [
        "NPM1/M\\xfcller/image_1.tif,its path is not UTF-8; rename it"
    ]
    assert "M\\xfcller" in pd.read_csv("data/patients.csv")["patient"].tolist()


def test_a_link_to_a_folder_and_two_cohorts_in_one_are_refused(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "originals")
    (source / "NPM1" / "LNK").symlink_to(source / "NPM1" / "CCC")
    monkeypatch.setenv("COHORT_DIR", str(source))
    with pytest.raises(DataError, match="LNK: a link to a folder"):
        ingest.run(params(FOLDER))
    for name in ("test", "train"):
        cohort(tmp_path / "both" / name)
    monkeypatch.setenv("COHORT_DIR", str(tmp_path / "both"))
    with pytest.raises(DataError, match=r"test and .*train both hold class folders"):
        ingest.run(params(FOLDER))
    assert not list(tmp_path.glob("data/*"))


def test_a_file_that_cannot_be_had_is_listed_and_quarantined(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "originals")
    folder = source / "NPM1" / "CCC"
    (folder / "gone.tif").symlink_to("nowhere.tif")
    (folder / "loop.tif").symlink_to("loop.tif")
    os.mkfifo(folder / "pipe.tif")
    expected = {
        "NPM1/CCC/gone.tif": "a link that leads nowhere",
        "NPM1/CCC/loop.tif": "a link that leads to itself",
        "NPM1/CCC/pipe.tif": "not a regular file",
    }
    if os.geteuid() != 0:  # root may read everything
        (folder / "image_2.tif").chmod(0)
        expected["NPM1/CCC/image_2.tif"] = "cannot be read: Permission denied"
    monkeypatch.setenv("COHORT_DIR", str(source))
    settings = params(FOLDER)
    ingest.run(settings)
    listed = pd.read_csv("data/not_copied.csv")
    assert dict(zip(listed["path"], listed["reason"], strict=True)) == expected
    with pytest.raises(DataError):  # its images are no images
        validate.run(settings)
    quarantine = pd.read_csv("reports/validation/quarantine.csv").set_index("path")["reason"]
    assert {path: quarantine[path] for path in expected} == {path: f"not copied: {why}" for path, why in expected.items()}


def test_what_lies_outside_a_patients_folder_is_no_patient_and_loops_are_no_tracebacks(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cohort(tmp_path / "originals")
    (source / "control" / "Thumbs.db").write_bytes(b"x")
    (source / "loop").symlink_to("loop")
    monkeypatch.setenv("COHORT_DIR", str(source))
    ingest.run(params(FOLDER))
    assert pd.read_csv("data/patients.csv")["patient"].tolist() == ["CCC", "AAA", "BBB"]
    (source / "metadata.csv").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"metadata\.csv: a link that leads nowhere"):
        ingest.run(params(FOLDER))


def test_originals_in_data_raw_are_refused(tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "data" / "raw" / "cohort.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"PK")
    monkeypatch.setenv("COHORT_DIR", str(place))
    with pytest.raises(ConfigError, match="lie in each other"):
        ingest.run(params(FOLDER))
    assert place.read_bytes() == b"PK"


def test_a_source_is_asked_whether_it_is_new(tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    originals = cohort(tmp_path / "originals")
    monkeypatch.setenv("COHORT_DIR", str(originals))
    settings = params(FOLDER)
    assert source.run(settings, take=False) == source.NEW
    ingest.run(settings)
    assert source.run(settings, take=False) == 0
    (originals / "metadata.csv").write_text("patient_id,age\nAAA,3\n")
    assert source.run(settings, take=False) == source.NEW
    ingest.run(settings)
    assert source.run(settings, take=False) == 0
    (originals / "NPM1/CCC/image_2.tif").write_bytes(b"other")
    assert source.run(settings, take=False) == source.NEW
    paths.SOURCE.write_text("{")
    with pytest.raises(DataError, match=r"^data/source\.json: damaged .*dvc checkout --force data/source\.json"):
        source.run(settings, take=False)


def test_the_demo_is_the_same_whoever_draws_it_and_knows_its_truth(params: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {
        "subtypes": ["NPM1"],
        "ingest.demo.patients": {"control": 2, "NPM1": 2},
        "ingest.demo.images_per_patient": [3, 5],
    }
    ingest.run(params(small))
    first = Path("data/source.json").read_text()
    truth = pd.read_parquet("data/truth.parquet")
    files = {path.relative_to("data/raw").as_posix() for path in Path("data/raw").rglob("*.tif")}
    assert set(truth["path"]) == files
    assert not truth.loc[truth["path"].str.startswith("control/"), "diseased"].any()
    monkeypatch.setattr(parallel, "available", lambda: 2)
    monkeypatch.setattr(parallel, "_FEW", 1)
    ingest.run(params(small))
    assert Path("data/source.json").read_text() == first
    assert pd.read_parquet("data/truth.parquet").equals(truth)


def test_the_demo_cannot_draw_another_leukaemia(params: Settings) -> None:
    changes = {"subtypes": ["BCR_ABL1"], "candidates.published.networks": {"BCR_ABL1": NETWORK}}
    with pytest.raises(ConfigError, match=r"BCR_ABL1.*for another cohort set ingest\.source: folder"):
        ingest.run(params({**changes, "ingest.demo.patients": {"control": 2, "BCR_ABL1": 2}}))


@pytest.mark.skipif(not REAL_CELLS.is_dir(), reason=f"the real cells are not here ({REAL_CELLS.name})")
def test_real_images_are_taken_in(params: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COHORT_DIR", str(REAL_CELLS))
    ingest.run(
        params({"ingest.source": "folder", "control": "neutrophil", "subtypes": ["lymphocyte"],
                "candidates.published.networks": {"lymphocyte": NETWORK}})
    )  # fmt: skip
    assert json.loads(Path("data/source.json").read_text())["files"] == 320


@pytest.mark.parametrize("name", ["metadata.tsv", "metadata.csv.txt", "Metadata.xls"])
def test_what_is_called_metadata_and_is_not_read_is_named(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = cohort(tmp_path / "originals" / "data")
    (tmp_path / "originals" / name).write_text("patient_id\tage\nAAA\t61\n")
    monkeypatch.setenv("COHORT_DIR", str(tmp_path / "originals"))
    ingest.run(params(FOLDER))
    warned = capsys.readouterr().err.replace("\n", "")
    assert warned.count(f"{name}: not read: metadata is a .csv or .xlsx file; save it as one") == 1
    (source / "metadata.csv").write_text("patient_id,age\nAAA,61\nBBB,\nCCC,\n")
    ingest.run(params(FOLDER))
    seen = capsys.readouterr()
    assert f"3 patients in {source / 'metadata.csv'}: age" in seen.out.replace("\n", "")
    assert not seen.err


def test_names_that_a_spreadsheet_shortened_and_columns_of_no_use_are_told(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = cohort(tmp_path / "originals")
    (source / "NPM1/CCC").rename(source / "NPM1/007")
    (source / "npm1").mkdir()
    (source / "metadata.csv").write_text("patient_id,gender\nAAA,f\nBBB,m\n7,f\n")
    monkeypatch.setenv("COHORT_DIR", str(source))
    ingest.run(params(FOLDER))
    warned = capsys.readouterr().err.replace("\n", "")
    assert "007 may be 7 of the metadata (1 such): write the name there as the folder has it" in warned
    assert "metadata.csv: says nothing of them that is understood" in warned
    assert warned.count("npm1: not a class of params.yaml, left out") == 1


def test_images_in_a_hidden_folder_are_left_out_with_a_warning(
    tmp_path: Path, params: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = cohort(tmp_path / "originals")
    for folder in (".DDD", ".thumbnails"):
        (source / "NPM1" / folder).mkdir()
        (source / "NPM1" / folder / "image_1.tif").write_bytes(b"x")
    monkeypatch.setenv("COHORT_DIR", str(source))
    ingest.run(params(FOLDER))
    assert "1 images lie in hidden folders, left out" in capsys.readouterr().err.replace("\n", " ")
    assert not Path("data/raw/NPM1/.DDD").exists()
