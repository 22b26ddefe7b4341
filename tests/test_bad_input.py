"""The judge of `python -m bench.bad_input` sees what is planted: what no input may bring about is neither clear nor right."""

from __future__ import annotations

import os
import random
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.bad_input import archives, csv_cells, guarded, metadata
from bench.bad_input.guarded import CLEAR, CRASH, RIGHT, WRONG, Kind
from pipeline.cohort import patients
from pipeline.common.errors import WANT_OF_MEMORY, DataError

HEADER = ["patient_id", "age", "sex_1f_2m", "pb_myeloblast"]


def refuse(said: str = "table.csv: wrong", left: str = "") -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        if left:
            (folder / left).write_text("")
        raise DataError(said)

    return read


def outside(folder: Path) -> None:
    os.close(os.open(folder.parents[3] / "etc-passwd", os.O_RDWR | os.O_CREAT))
    (folder.parents[3] / "etc-passwd").unlink()


PLANTED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a clear error": (refuse(), CLEAR),
    "accepted": (lambda folder: "", RIGHT),
    "accepted and wrong": (lambda folder: "other", WRONG),
    "a traceback": (lambda folder: {}["x"], CRASH),
    "a message that names nothing": (refuse("wrong"), CRASH),
    "a refusal that leaves a file": (refuse(left="half.csv"), CRASH),
    "a half-written file": (lambda folder: (folder / "a.unfinished").touch(), CRASH),
    "code in the input": (lambda folder: (folder / guarded.PLANTED).mkdir(), CRASH),
    "a file elsewhere, by the system's call, and gone": (outside, CRASH),
    "more memory than is allowed": (lambda folder: bytes(2 * guarded.LIMIT_BYTES), CRASH),
    "want of memory in words": (refuse(f"table.csv: {WANT_OF_MEMORY}"), CRASH),
    "the end of the process": (lambda folder: os._exit(0), CRASH),
}


def test_what_is_planted_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (place := tmp_path / "of cases").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    for what, (read, outcome) in PLANTED.items():
        kind = Kind("toy", lambda rng, folder: "", read, lambda folder, found: found or "", ("table.csv",))
        (case,) = guarded.run(kind, range(1), 1)
        assert case.outcome == outcome, (what, case)


def test_the_judge_of_archives_misses_no_original(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(archives, "_originals", lambda: {"control/A/a.tif": b"1", "control/A/b.tif": b"2"})
    with zipfile.ZipFile(tmp_path / "cohort.zip", "w") as archive:
        for name, data in archives._originals().items():
            archive.writestr(name, data)
    raw = tmp_path / "data/raw/control/A"
    raw.mkdir(parents=True)
    (tmp_path / "data/not_copied.csv").write_text("path,reason\n")
    (raw / "a.tif").write_bytes(b"1")
    assert "did not come" in archives._wrong_archive(tmp_path, None)
    (raw / "b.tif").write_bytes(b"1")
    assert "or another one" in archives._wrong_archive(tmp_path, None)
    (raw / "b.tif").write_bytes(b"2")
    assert archives._wrong_archive(tmp_path, None) == ""


@pytest.mark.parametrize("column", [1, 2, 3])
def test_the_judge_of_metadata_compares_what_is_said_of_a_patient(tmp_path: Path, column: int) -> None:
    row = ["AAA", "40", "1", "3"]
    found = patients.read(csv_cells.csv_text([HEADER, row]).encode(), "metadata.csv")
    (tmp_path / "metadata.csv").write_text(csv_cells.csv_text([HEADER, row]))
    assert metadata._wrong_metadata(tmp_path, found) == ""
    row[column] = "2"
    (tmp_path / "metadata.csv").write_text(csv_cells.csv_text([HEADER, row]))
    assert metadata._wrong_metadata(tmp_path, found).startswith("aaa: ")


def test_the_same_number_is_the_same_case(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        metadata._make_metadata(random.Random("5 metadata.csv 17"), tmp_path / name)
    one, other = ((tmp_path / name / "metadata.csv").read_bytes() for name in ("one", "other"))
    assert one == other
