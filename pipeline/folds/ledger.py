"""The ledger of folds, data/folds.csv: who was dealt where, once for all classes and subtypes.

It is in git, a line a patient (patient, fold), and a line stays when the patient is left out, for the day he or she is back.
Patients are compared by their identity; the ledger keeps the spelling under which they came first.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from pipeline.common import made
from pipeline.common.errors import DataError
from pipeline.common.files import write
from pipeline.folds.split_table import CSV_FORMAT

COLUMNS = ["patient", "fold"]
COMMAND = "python -m pipeline deal"


def read(file: Path, identity: Callable[[str], str] = str) -> pd.DataFrame:
    """Columns patient, fold, who (the patient's identity); empty where there is no ledger yet.

    Raises:
        DataError: it is not a table of patients and folds, or has a patient in two folds.
    """
    if not file.exists():
        return pd.DataFrame({"patient": [], "fold": [], "who": []}).astype({"patient": "str", "fold": "int64", "who": "str"})
    try:
        table = made.rows(file, **{**CSV_FORMAT, "dtype": "str"})[COLUMNS].astype({"fold": "int64"})
    except (DataError, ValueError, KeyError, OverflowError):
        raise DataError(f"{file}: not a table of {' and '.join(COLUMNS)}; bring it back with git") from None
    if (table["fold"] < 0).any():
        raise DataError(f"{file}: has a fold below 0; bring it back with git")
    table["who"] = table["patient"].map(identity)
    table = table.drop_duplicates(["who", "fold"])
    twice = table[table["who"].duplicated()]
    if len(twice):
        both = sorted(table.loc[table["who"] == twice["who"].iloc[0], "fold"])
        raise DataError(
            f"{file}: patient {twice['patient'].iloc[0]} is in folds {both[0]} and {both[1]}; keep one of the lines"
        )
    return table


def write_down(file: Path, folds: Mapping[str, int]) -> None:
    """Write patient -> fold, sorted by patient: two branches that deal merge line by line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(folds.items())])
    content = text.getvalue()
    if not file.exists() or file.read_text(encoding="utf-8") != content:
        write(file, content)


def n_folds(table: pd.DataFrame) -> int:
    """How many folds there were when it was dealt; 0: it is empty. Every fold had patients."""
    return int(table["fold"].max()) + 1 if len(table) else 0
