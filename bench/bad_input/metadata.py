"""What a hospital says of its patients, as CSV or as a workbook, damaged; and whom others read in what is accepted."""

from __future__ import annotations

import io
import random
import re
import unicodedata
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import openpyxl
import pandas as pd

from bench.bad_input import damage, odd_values
from bench.bad_input.csv_cells import cells
from bench.bad_input.guarded import Kind
from bench.bad_input.made_up import PEOPLE
from pipeline.cohort import patients
from pipeline.names import patient_names


def _metadata_rows() -> list[list[str]]:
    header = ["patient_id", "sex_1f_2m", "age", "bag_label", "instance_count", "leucocytes_per_µl", "pb_myeloblast", "remark"]
    cells = [
        [who, str(1 + n % 2), str(30 + n), "control" if n < 4 else "NPM1", "3", str(5000 + n), str(1.5 * n), "none"]
        for n, who in enumerate(PEOPLE)
    ]
    return [header, *cells]


def _make_metadata(rng: random.Random, folder: Path) -> str:
    way, data = damage.table_of(rng, _metadata_rows())
    (folder / "metadata.csv").write_bytes(data)
    return way


def _make_workbook(rng: random.Random, folder: Path) -> str:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in _metadata_rows():
        sheet.append([float(cell) if re.fullmatch(r"[\d.]+", cell) else cell for cell in row])
    way = "bytes"
    if rng.random() < 0.5:
        way = "cell"
        for _ in range(rng.choice((1, 3))):
            odd, text = odd_values.odd_value(rng), odd_values.odd_text(rng)
            value = rng.choice((odd if isinstance(odd, str | int | float | bool) else None, text))
            try:
                sheet.cell(rng.randint(1, 10), rng.randint(1, 9)).value = value
            except Exception:  # no workbook can hold it
                continue
    kept = io.BytesIO()
    try:
        book.save(kept)
    except Exception:  # no workbook can hold it: another one is made
        return _make_workbook(rng, folder)
    data = kept.getvalue() if way == "cell" else damage.bytes_of(rng, kept.getvalue())[1]
    (folder / "metadata.xlsx").write_bytes(data)
    return way


def _wrong_metadata(folder: Path, found: pd.DataFrame) -> str:
    """Patients, and what is said of each, by the csv module."""
    file = folder / "metadata.csv"
    data = file.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        encoding = "utf-32"
    elif encoding == "utf-8-sig":
        try:
            data.decode("utf-8-sig")
        except UnicodeDecodeError:
            encoding = "cp1252"
        if data[1::2].count(0) * 4 > len(data):
            encoding = "utf-16-le"
    text = data.decode(encoding, "replace")
    best: list[list[str]] = []
    for separator in ",;\t|":
        rows = [row for row in cells(text, separator) if any(row)]
        heads = [n for n, row in enumerate(rows) if "patient_id" in map(_header, row)]
        if heads and len(rows[heads[0]]) > len(best[0] if best else [""]):
            best = rows[heads[0] :]
    if not best:
        return "the other reader finds no header"
    return _difference(found, list(map(_header, best[0])), best[1:])


def _header(cell: str) -> str:
    """Without letters that nobody sees."""
    return "".join(letter for letter in cell if unicodedata.category(letter) != "Cf").strip().lower()


def _wrong_workbook(folder: Path, found: pd.DataFrame) -> str:
    other = pd.read_excel(folder / "metadata.xlsx", dtype=object, header=None, keep_default_na=False, engine="openpyxl")
    heads = [n for n, row in enumerate(other.values.tolist()) if "patient_id" in [str(cell).strip().lower() for cell in row]]
    if not heads:
        return "the other reader finds no header"
    header, *rows = [[_plain(value).strip() for value in row] for row in other.values.tolist()[heads[0] :]]
    return _difference(found, list(map(str.lower, header)), rows)


_COMPARED = ("patient_id", "age", "sex_1f_2m", "pb_myeloblast")


def _difference(found: pd.DataFrame, header: list[str], rows: list[list[str]]) -> str:
    """Between what was read of age, sex and share of blasts and what stands in these cells."""
    if twice := [name for name in _COMPARED if header.count(name) > 1]:
        return f"column {twice[0]} is there twice"
    expected = {}
    for row in rows:
        by_name = dict(zip(header, row, strict=False))  # a short line has nothing there
        cells = [by_name.get(name, "").strip() for name in _COMPARED]
        who, age, sex, blasts = ["" if cell.lower() in patients._MISSING and n else cell for n, cell in enumerate(cells)]
        if identity := patient_names.identity(who):
            expected[identity] = (_number(age), sex and ("f" if sex[0].lower() in "1fw" else "m"), _number(blasts, 0.01))
    seen = {patient_names.identity(str(who)): said for who, *said in found[["age", "sex", "blast_share"]].itertuples()}
    wrong = [who for who in sorted(seen.keys() | expected.keys()) if seen.get(who) != [*expected.get(who, ())]]
    return "".join(f"{who}: {seen.get(who)} is {expected.get(who)}"[:300] for who in wrong[:1])


def _number(cell: str, scale: float = 1.0) -> str:
    return f"{float(cell.removesuffix('%').replace(',', '.')) * scale + 0:.10g}" if cell else ""


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read(file: str, folder: Path) -> pd.DataFrame:
    return patients.read((folder / file).read_bytes(), file)


def kinds() -> Iterable[Kind]:
    """Both of this module."""
    for name, make, wrong in (("csv", _make_metadata, _wrong_metadata), ("xlsx", _make_workbook, _wrong_workbook)):
        file = f"metadata.{name}"
        yield Kind(file, make, partial(_read, file), wrong, (file,))
