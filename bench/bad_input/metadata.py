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
    """Patients and ages, by the csv module; what is not UTF-8 or has no header on top is judged by its patients alone."""
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
    header = list(map(_header, best[0]))
    for name in ("patient_id", "age", "sex_1f_2m"):
        if header.count(name) > 1:
            return f"column {name} is there twice"
    expected = {}
    for row in best[1:]:
        who = patient_names.identity(row[header.index("patient_id")]) if len(row) > header.index("patient_id") else ""
        age = row[header.index("age")].strip() if "age" in header and len(row) > header.index("age") else ""
        if who:
            expected[who] = "" if age.lower() in patients._MISSING else f"{float(age.replace(',', '.')) + 0:.10g}"
    seen = {patient_names.identity(who): age for who, age in zip(found.index, found["age"], strict=True)}
    return "" if seen == expected else f"{sorted(set(seen.items()) ^ set(expected.items()))[:3]!r:.300}"


def _header(cell: str) -> str:
    """Without letters that nobody sees."""
    return "".join(letter for letter in cell if unicodedata.category(letter) != "Cf").strip().lower()


def _wrong_workbook(folder: Path, found: pd.DataFrame) -> str:
    other = pd.read_excel(folder / "metadata.xlsx", dtype=object, header=None, keep_default_na=False, engine="openpyxl")
    heads = [n for n, row in enumerate(other.values.tolist()) if "patient_id" in [str(cell).strip().lower() for cell in row]]
    if not heads:
        return "the other reader finds no header"
    header = [str(cell).strip().lower() for cell in other.iloc[heads[0]]]
    if header.count("patient_id") > 1 or header.count("age") > 1:
        return "a column is there twice"
    names = [_plain(value) for value in other.iloc[heads[0] + 1 :, header.index("patient_id")]]
    expected = {who for name in names if (who := patient_names.identity(name))}
    seen = {patient_names.identity(who) for who in found.index}
    return "" if seen == expected else f"{sorted(seen ^ expected)[:3]!r:.300}"


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read(file: str, folder: Path) -> pd.DataFrame:
    return patients.read((folder / file).read_bytes(), file)


def kinds() -> Iterable[Kind]:
    """Both of this module."""
    for name, make, wrong in (("csv", _make_metadata, _wrong_metadata), ("xlsx", _make_workbook, _wrong_workbook)):
        file = f"metadata.{name}"
        yield Kind(file, make, partial(_read, file), wrong, (file,))
