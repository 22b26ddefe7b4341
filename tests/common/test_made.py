"""A file of an earlier stage that is not what it was is named, with the command that brings it back; nothing of it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from pipeline.common import made
from pipeline.common.errors import DataError, PipelineError
from pipeline.folds import image_weights, ledger, split_table

SPLIT = "patient,label,fold,images\n007,0,0,3\nNA,1,1,2\n"


def _parquet(columns: dict[str, list[object]], damage: Callable[[bytes], bytes] = bytes) -> Callable[[Path], None]:
    return lambda file: Path.write_bytes(file, damage(pd.DataFrame(columns).to_parquet())) and None


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda file: Path.write_bytes(file, content) and None


def _arrays(**arrays: list[object]) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with file.open("wb") as stream:
            np.savez(stream, **{name: np.array(values) for name, values in arrays.items()})

    return write


@pytest.mark.parametrize(
    ("read", "write", "said"),
    [
        (made.values, _bytes(b'{"px": 4'), "delimiter"),
        (made.values, _bytes(b"[1]"), "holds no values by name"),
        (made.values, _bytes(b"[" * 100_000), "recursion"),
        (made.values, _bytes(b"\xff"), "utf-8"),
        (made.rows, _bytes(b"label,label\n0,1\n"), "has the column label twice"),
        (made.rows, _bytes(b"label\n1.5\n"), "label holds something else than whole numbers"),
        (made.rows, _bytes(b"label\n0,1\n"), "more cells than there are columns"),
        (made.rows, _bytes(b""), "No columns"),
        (made.table, _bytes(b"PAR1"), "Parquet|parquet"),
        (made.table, _parquet({"mode": ["RGB", "\xe9"]}, lambda data: data.replace("\xe9".encode(), b"\xff\xff")), "."),
        (made.table, _parquet({"patient": ["A", None]}), "patient holds something else than text"),
        (made.table, _parquet({"patient": [["A"], ["B"]]}), "patient holds something else than text"),
        (made.table, _parquet({"fold": [1.0, 2.0]}), "fold holds something else than whole numbers"),
        (made.array, _bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '|O'"), "."),
        (made.arrays, _bytes(b"PK\5\6"), "."),
        (made.arrays, _arrays(weights=[1.0, float("nan")]), "holds something else than finite numbers"),
        (made.arrays, _arrays(weights=["a"]), "holds something else than finite numbers"),
        (made.arrays, _arrays(weights=[None]), "pickle"),
    ],
)
def test_what_is_damaged_is_one_line(
    here: Path, read: Callable[[Path], object], write: Callable[[Path], None], said: str
) -> None:
    file = Path("file")
    write(file)
    with pytest.raises(DataError, match=rf"^file: damaged \(.*({said}).*\); run `dvc checkout --force file`$"):
        read(file)
    file.unlink()
    with pytest.raises(DataError, match="file: not there; run `dvc repro`"):
        read(file)


def test_what_is_sound_is_as_it_was_written(here: Path) -> None:
    Path("a.json").write_text(json.dumps({"px": 4}))
    assert made.values(Path("a.json")) == {"px": 4}
    with pytest.raises(DataError, match=r"a\.json: damaged \(has no um\)"):
        made.values(Path("a.json"))["um"]
    Path("a.csv").write_text("class,reason,score\nNA,,\nnone,x,0.5\n")
    assert made.rows(Path("a.csv"))["class"].tolist() == ["NA", "none"]
    assert made.rows(Path("a.csv"))["score"].isna().tolist() == [True, False]
    np.save("a.npy", np.arange(3))
    assert made.array(Path("a.npy")).tolist() == [0, 1, 2]
    Path("data/splits").mkdir(parents=True)
    Path("data/splits/NPM1.csv").write_text(SPLIT)
    assert split_table.read("NPM1")["patient"].tolist() == ["007", "NA"]


def test_what_git_keeps_is_not_looked_for_in_dvc_s_cache(here: Path) -> None:
    listed = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    stages = [stage.get("do", stage) for stage in listed.values()]
    in_git = {place for stage in stages for one in stage.get("metrics", []) for place in one}
    assert {Path(place).name for place in in_git} == {"metrics.json"}
    Path("metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"^metrics\.json: damaged \(.*\); delete it and run `dvc repro`$"):
        made.values(Path("metrics.json"))


def test_want_of_memory_is_not_told_as_damage_alone(here: Path) -> None:
    Path("a").touch()
    with pytest.raises(DataError, match="a: not enough memory to read it; end other programs"), made.reading(Path("a")):
        raise pyarrow.ArrowMemoryError("malloc of size 4611686018427387904 failed")


@pytest.mark.parametrize("content", [SPLIT.replace("0,0,3", "2,0,3"), SPLIT.replace(",1,2", ",-1,2"), "patient,label\n"])
def test_a_split_that_cannot_be_is_refused(here: Path, content: str) -> None:
    Path("data/splits").mkdir(parents=True)
    Path("data/splits/NPM1.csv").write_text(content)
    with pytest.raises(DataError, match=r"NPM1\.csv: damaged"):
        split_table.read("NPM1")


@pytest.mark.parametrize("content", ["path,weight\na,1.5\n", "path,weight\na,\n", "path,weight\na,0\na,0.5\n", "path\na\n"])
def test_weights_that_cannot_be_are_refused(here: Path, content: str) -> None:
    Path("fold-0.csv").write_text(content)
    with pytest.raises(DataError, match=r"fold-0\.csv: damaged"):
        image_weights.read(Path("fold-0.csv"))


@pytest.mark.parametrize("content", ["patient,patient,fold\nA,B,0\n", f"patient,fold\nA,{10**30}\n", "patient,fold\nA,1.5\n"])
def test_a_ledger_that_says_two_things_or_none_is_refused(here: Path, content: str) -> None:
    Path("folds.csv").write_text(content)
    with pytest.raises(DataError, match=r"folds\.csv: not a table of patient and fold; bring it back with git"):
        ledger.read(Path("folds.csv"))


def test_an_error_is_one_line_and_moves_no_terminal_whatever_name_is_in_it() -> None:
    assert (
        str(PipelineError("Müller\n\x1b[31m/x\r\u202e\udc80: not there")) == "Müller\\n\\x1b[31m/x\\r\\u202e\\udc80: not there"
    )


@pytest.mark.parametrize("columns", [None, ["path", "label"]])
def test_a_parquet_table_is_what_pandas_reads(tmp_path: Path, columns: list[str] | None) -> None:
    """Only that no thread of Arrow's is waited for, which may have had no memory to answer."""
    table = pd.DataFrame({"path": ["a", "NA", ""], "label": [0, 1, 1], "x": [0.5, np.nan, 1.0], "hue": [None, "b", "c"]})
    table.to_parquet(tmp_path / "table.parquet", index=False)
    found = made.parquet(tmp_path / "table.parquet", columns)
    pd.testing.assert_frame_equal(found, pd.read_parquet(tmp_path / "table.parquet", columns=columns))
    with pytest.raises(ValueError, match="has no column hew"):
        made.parquet(tmp_path / "table.parquet", ["path", "hew"])
