"""The patients table: who is in the cohort, and what its metadata says of them. No file is read or written here.

Columns of the table: patient, class, sex (f, m), age (years), blast_share and promyelocyte_share (of the leucocytes in
peripheral blood, 0 to 1), leucocytes_per_ul, class_listed and images_listed (what the metadata says of the folders), batch
(of staining, site or scanner: whatever is called so); empty where unknown. Metadata comes as the file of the TCIA package
(its columns, with the header's damaged micro sign and with decimal commas where a spreadsheet has been at work) or as a table
with the columns above.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

import pandas as pd

from pipeline.cohort import metadata_table
from pipeline.common import console
from pipeline.common.errors import DataError
from pipeline.names import patient_names

COLUMNS = [
    "patient",
    "class",
    "sex",
    "age",
    "blast_share",
    "promyelocyte_share",
    "leucocytes_per_ul",
    "class_listed",
    "images_listed",
    "batch",
]

_MISSING = {"", "-", "?", "na", "n/a", "n.a.", "nan", "none", "null", "unknown", "#n/a"}
_SEX = {"f": "f", "female": "f", "w": "f", "1": "f", "m": "m", "male": "m", "2": "m"}  # TCIA: sex_1f_2m
_OLDEST = 120
_LONGEST_BATCH = 40  # characters: a sentence is no batch, and may name somebody


def _count(high: float) -> Callable[[str], str]:
    """A number that a spreadsheet may have grouped in thousands: 5.400 would be read as 5.4."""
    plain = _number(0, high)

    def read(cell: str) -> str:
        if re.fullmatch(r"\d{1,3}([.,]\d{3})+", cell):
            raise ValueError("not clear: thousands or a fraction? Write it without separators")
        return plain(cell)

    return read


def _number(low: float, high: float, scale: float = 1.0) -> Callable[[str], str]:
    def read(cell: str) -> str:
        value = float(cell.replace(",", ".") if "." not in cell else cell)
        if not low <= value <= high or not math.isfinite(value):
            raise ValueError(f"not between {low:g} and {high:g}")
        return f"{value * scale:.10g}"

    return read


def _sex(cell: str) -> str:
    try:
        return _SEX[cell.lower().removesuffix(".0").removesuffix(",0")]
    except KeyError:
        raise ValueError("neither f (1) nor m (2)") from None


def _batch(cell: str) -> str:
    if len(cell) > _LONGEST_BATCH:
        raise ValueError(f"not a batch's name, longer than {_LONGEST_BATCH} characters")
    return cell


_Reader = Callable[[str], str]
# Pattern of a header, in lower case -> our column, and how its cells are read. TCIA's names are the first of each.
_HEADERS: list[tuple[str, str, _Reader]] = [
    (r"patient_id|patient", "patient", str),
    (r"bag_label|class|class_listed", "class_listed", str),
    (r"sex_1f_2m|sex", "sex", _sex),
    (r"age", "age", _number(0, _OLDEST)),
    (r"instance_count|images_listed", "images_listed", _count(1e7)),
    (r"leu[ck]ocytes_per_.{1,8}l", "leucocytes_per_ul", _count(1e7)),
    (r"pb_myeloblast", "blast_share", _number(0, 100, 0.01)),
    (r"pb_promyelocyte", "promyelocyte_share", _number(0, 100, 0.01)),
    (r"blast_share", "blast_share", _number(0, 1)),
    (r"batch", "batch", _batch),
    (r"promyelocyte_share", "promyelocyte_share", _number(0, 1)),
]


def is_metadata_name(name: str) -> bool:
    """Whether a file beside the class folders is the cohort's metadata."""
    return bool(re.search(r"metadata.*\.(csv|xlsx)$", name.lower())) and not name.startswith((".", "~$"))


def read(content: bytes, name: str, called: Callable[[str], str] = str) -> pd.DataFrame:
    """A metadata file, one row per patient, indexed by patient as they are `called`, cells as text in our units.

    Raises:
        DataError: names the file, the patient and the column.
    """
    raw = metadata_table.read(content, name, lambda header: _column(header)[0])
    known: dict[str, tuple[str, _Reader]] = {}
    for header in raw.columns:
        column, reader = _column(str(header))
        if column in known:
            raise DataError(f"{name}: columns {known[column][0]} and {header} both hold {column}; remove one")
        if column:
            known[column] = (str(header), reader)
    if "patient" not in known:
        raise DataError(f"{name}: none of its {len(raw.columns)} columns is patient_id (or patient); name that column so")
    rows, nobody = [], 0
    for _, cells in raw.iterrows():
        patient = str(cells[known["patient"][0]]).strip()
        if not patient_names.identity(patient):
            nobody += any(str(cells[header]).strip() for header, _ in known.values())  # spreadsheets end in empty rows
            continue
        patient = called(patient)
        said = {column: _cell(cells[header], reader, f"{name}: patient {patient}, {header}")
                for column, (header, reader) in known.items()}  # fmt: skip
        rows.append({**said, "patient": patient})
    if nobody:
        console.warn(f"{name}: {nobody} rows say something of no patient, left out; fill in {known['patient'][0]}")
    table = pd.DataFrame(rows, columns=["patient", *COLUMNS[2:]]).fillna("")
    who = table["patient"].map(patient_names.identity)
    if len(twice := who[who.duplicated()]):
        spelled = patient_names.shown(*sorted(set(table.loc[who == twice.iloc[0], "patient"])))
        raise DataError(f"{name}: patient {spelled} stands in it more than once; remove all rows but the right one")
    return table.set_index("patient")


def table(found: Iterable[tuple[str, str]], metadata: pd.DataFrame | None) -> pd.DataFrame:
    """One row per (class, patient) found, sorted; with what the metadata says, where there is any."""
    rows = [(patient, name) for name, patient in sorted(set(found))]
    patients = pd.DataFrame(rows, columns=["patient", "class"], dtype="str")
    if metadata is None:
        return patients.reindex(columns=COLUMNS, fill_value="")
    metadata = metadata.set_axis(metadata.index.map(patient_names.identity))
    known = patients.assign(who=patients["patient"].map(patient_names.identity)).join(metadata, on="who")
    return known.reindex(columns=COLUMNS).fillna("")


def _column(header: str) -> tuple[str, _Reader]:
    """Our column of this header, and how its cells are read; "" where it is none of ours."""
    text = header.strip().lower()
    return next(((column, reader) for pattern, column, reader in _HEADERS if re.fullmatch(pattern, text)), ("", str))


def _cell(cell: object, reader: _Reader, where: str) -> str:
    text = str(cell).strip()
    if text.lower() in _MISSING:
        return ""
    try:
        return reader(text)
    except ValueError as error:
        reason = str(error) if str(error).startswith(("not between", "not clear", "not a batch", "neither")) else "not a number"
        raise DataError(f"{where}: {reason}; correct it, or leave it empty") from None  # not quoted: it may be a name
