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
_SEX = {"f": "f", "female": "f", "w": "f", "m": "m", "male": "m"}
_SEX_NUMBERS = {"1": "f", "2": "m"}  # as TCIA's sex_1f_2m says; by ISO 5218 it is the other way round
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


def _images(cell: str) -> str:
    number = _count(1e7)(cell)
    if not number.isdecimal():
        raise ValueError("not a whole number")
    return number


def _other_unit(_: str) -> str:
    raise ValueError("not clear: by another unit than µl; convert it, and call the column leucocytes_per_ul")


def _share(whole: float) -> Callable[[str], str]:
    """Of `whole`; a cell that says percent means it."""
    plain, percent = _number(0, whole, 1 / whole), _number(0, 100, 0.01)
    return lambda cell: percent(cell[:-1].strip()) if cell.endswith("%") else plain(cell)


def _number(low: float, high: float, scale: float = 1.0) -> Callable[[str], str]:
    def read(cell: str) -> str:
        value = float(cell.replace(",", ".") if "." not in cell else cell) if "_" not in cell else math.nan
        if math.isnan(value):
            raise ValueError("not a number")
        if not low <= value <= high or not math.isfinite(value):
            raise ValueError(f"not between {low:g} and {high:g}")
        return f"{value * scale + 0:.10g}"  # -0 is 0

    return read


def _sex(cell: str) -> str:
    number = cell.removesuffix(".0").removesuffix(",0")
    if number in _SEX_NUMBERS:
        raise ValueError("not clear: is 1 f or m? Write f and m, or call the column sex_1f_2m if 1 is f")
    if cell.lower() not in _SEX:
        raise ValueError("neither f nor m")
    return _SEX[cell.lower()]


def _sex_1f_2m(cell: str) -> str:
    number = cell.removesuffix(".0").removesuffix(",0")
    if number not in _SEX_NUMBERS and cell.lower() not in _SEX:
        raise ValueError("neither f (1) nor m (2)")
    return _SEX_NUMBERS.get(number) or _SEX[cell.lower()]


def _batch(cell: str) -> str:
    if len(cell) > _LONGEST_BATCH:
        raise ValueError(f"not a batch's name, longer than {_LONGEST_BATCH} characters")
    return cell


_Reader = Callable[[str], str]
# Pattern of a header, in lower case -> our column, and how its cells are read. TCIA's names are the first of each.
_HEADERS: list[tuple[str, str, _Reader]] = [
    (r"patient_id|patient", "patient", str),
    (r"bag_label|class|class_listed", "class_listed", str),
    (r"sex_1f_2m", "sex", _sex_1f_2m),
    (r"sex", "sex", _sex),
    (r"age", "age", _number(0, _OLDEST)),
    (r"instance_count|images_listed", "images_listed", _images),
    (r"leu[ck]ocytes_per_([^a-z\d]{1,8}|u|mc|mu|micro)l", "leucocytes_per_ul", _count(1e7)),  # damaged µ: no letter, no digit
    (r"leu[ck]ocytes_per_.*", "leucocytes_per_ul", _other_unit),
    (r"pb_myeloblast", "blast_share", _share(100)),
    (r"pb_promyelocyte", "promyelocyte_share", _share(100)),
    (r"blast_share", "blast_share", _share(1)),
    (r"batch", "batch", _batch),
    (r"promyelocyte_share", "promyelocyte_share", _share(1)),
]


def is_metadata_name(name: str) -> bool:
    """Whether a file beside the class folders is the cohort's metadata."""
    return bool(re.search(r"metadata.*\.(csv|xlsx)$", name.lower())) and not name.startswith((".", "~$"))


def is_metadata_in_name_only(name: str) -> bool:
    """Whether a file is called metadata and is no table that is read: metadata.tsv, metadata.xls, metadata.csv.txt."""
    return "metadata" in name.lower() and not is_metadata_name(name) and not name.startswith((".", "~$"))


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
    text = patient_names.tidy(header).lower()
    return next(((column, reader) for pattern, column, reader in _HEADERS if re.fullmatch(pattern, text)), ("", str))


def _cell(cell: object, reader: _Reader, where: str) -> str:
    text = str(cell).strip()
    if text.lower() in _MISSING:
        return ""
    try:
        return reader(text)
    except ValueError as error:
        reason = (
            str(error)
            if str(error).startswith(("not between", "not clear", "not a batch", "not a whole", "neither"))
            else "not a number"
        )
        raise DataError(f"{where}: {reason}; correct it, or leave it empty") from None  # not quoted: it may be a name
