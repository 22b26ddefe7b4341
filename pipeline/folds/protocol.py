"""A published dealing: a CSV file below data/protocols that says who is in which fold, or who trains, validates and tests.

Its columns are patient and fold, or patient and role. Roles are three folds of which fold 0 alone is trained: its network tests
on fold 0, validates on fold 1 and learns from fold 2. Whoever has no place of his or her own in the file stops the run, and so
does whoever has a place and is not in the cohort: nobody is left out, added or moved without a word.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pipeline.common.errors import ConfigError, DataError
from pipeline.common.files import sha256
from pipeline.folds import dealer

Form = Literal["fold", "role"]
ROLES = {"test": 0, "val": 1, "train": 2}  # role -> its fold, where fold 0 is the one that is trained
_TRAINED = [0]
_SHARE = 4  # one in so many of those who train validate, as with five folds
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Row:
    """A line of the file."""

    line: int
    patient: str
    place: str


@dataclass(frozen=True)
class Dealing:
    """Who is where, by a file: identity of every usable patient -> fold."""

    name: str
    file: str
    sha256: str
    form: Form
    folds: Mapping[str, int]
    tested: Mapping[str, int]  # class -> patients who test a network that is trained
    val_dealt: int  # patients whom the file lets train and who validate here, since it names nobody for that
    absent: int  # patients of the file who are in the cohort and have no usable image

    def described(self) -> dict[str, Any]:
        """All but who is where."""
        return {key: value for key, value in asdict(self).items() if key != "folds"}


def read(
    file: Path,
    patients: pd.DataFrame,
    n_folds: int,
    trained: list[int],
    seed: int,
    identity: Callable[[str], str] = str,
    pseudonyms: bool = False,
) -> Dealing:
    """The dealing of a file for the `patients` of a cohort (columns class, patient, who, usable, set).

    Patients are compared by their `identity`. Where they have `pseudonyms`, a name of the file that is nobody's is not quoted.
    Validation patients, if the file names none, are dealt from those who train, sets of patients who share a picture together.

    Raises:
        DataError: it is not such a table, or not of these patients; names the line or the patient.
        ConfigError: it has another number of folds than `n_folds`, or roles and more than fold 0 is `trained`.
    """
    form, rows = _table(file)
    if form == "role" and (n_folds != len(ROLES) or trained != _TRAINED):
        raise ConfigError(
            f"{file}: has roles, so one network is trained: set split.n_folds: {len(ROLES)} and folds: [0] in params.yaml "
            "(fold 0 tests, 1 validates, 2 trains)"
        )
    _require_known(file, rows, identity, set(patients["who"]), pseudonyms)
    _require_once(file, rows, identity)
    listed = {identity(row.patient): _fold(file, row, form, n_folds) for row in rows}
    usable = patients[patients["usable"]]
    missing = usable[~usable["who"].isin(list(listed))].sort_values("patient")
    if len(missing):
        first = missing.iloc[0]
        raise DataError(
            f"{file}: patient {first['patient']} of class {first['class']} is not in it ({len(missing)} such); add a line, or "
            "exclude the patient in data/exclude.csv"
        )
    folds = {who: listed[who] for who in usable["who"]}
    validating = [] if form == "fold" or ROLES["val"] in listed.values() else _dealt(file, usable, folds, seed)
    folds |= dict.fromkeys(validating, ROLES["val"])
    dealt = usable.assign(fold=usable["who"].map(folds))
    _require_all_classes(file, form, dealt, n_folds)
    tested = dict(Counter(sorted(dealt.loc[dealt["fold"].isin(trained), "class"])))
    return Dealing(file.stem, str(file), sha256(file), form, folds, tested, len(validating), len(listed) - len(folds))


def _table(file: Path) -> tuple[Form, list[Row]]:
    """The rows of the file, with commas or semicolons between the cells, whatever ends a line; empty lines are none."""
    lines = [(line, cells) for line, cells in _lines(file) if any(cells)]
    if len(lines) < 2:
        raise DataError(f"{file}: {'has no patient' if lines else 'is empty'}; a line for the columns, then one a patient")
    header = [cell.lower() for cell in lines[0][1]]
    forms: tuple[Form, ...] = ("fold", "role")
    found = [form for form in forms if sorted(header) == sorted(["patient", form])]
    if not found:
        named = ", ".join(ascii(cell)[1:-1] for cell in lines[0][1])
        raise DataError(f"{file}: its columns are {named[:80]}; name them patient,fold or patient,role, and leave no other")
    rows = []
    for line, cells in lines[1:]:
        if len(cells) != len(header) or not all(cells):
            raise DataError(f"{file} line {line}: a patient and a {found[0]} are needed, nothing else; correct the line")
        values = dict(zip(header, cells, strict=True))
        rows.append(Row(line, values["patient"], values[found[0]]))
    return found[0], rows


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: not there; put the dealing there, or set split.file: null in params.yaml") from None
    except IsADirectoryError:
        raise DataError(f"{file}: is a folder; split.file names a CSV file") from None
    try:
        if content.startswith(_UTF_16):
            raise UnicodeError
        text = content.decode("utf-8-sig")
    except UnicodeError:
        raise DataError(f"{file}: not UTF-8; save it as CSV UTF-8") from None
    separator = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(f"{file} line {reader.line_num}: not CSV ({error}); save it as CSV UTF-8 again") from None


def _require_known(file: Path, rows: list[Row], identity: Callable[[str], str], known: set[str], pseudonyms: bool) -> None:
    for row in rows:
        if identity(row.patient) not in known:
            where = f"{file} line {row.line}"
            if pseudonyms:
                raise DataError(f"{where}: is of nobody in the cohort; ingest.pseudonyms is on: name pseudonyms")
            raise DataError(f"{where}: there is no patient {row.patient!r} in the cohort; correct or remove the line")


def _require_once(file: Path, rows: list[Row], identity: Callable[[str], str]) -> None:
    lines: dict[str, Row] = {}
    for row in rows:
        first = lines.setdefault(identity(row.patient), row)
        if first is not row:
            other = "" if row.patient == first.patient else f" ({first.patient!r} in the other)"
            named = f"{row.patient!r}{other}"
            raise DataError(f"{file} lines {first.line} and {row.line}: both are of patient {named}; keep one of them")


def _fold(file: Path, row: Row, form: Form, n_folds: int) -> int:
    where = f"{file} line {row.line}: patient {row.patient!r}"
    if form == "role":
        if row.place.lower() not in ROLES:
            raise DataError(f"{where} has the role {row.place[:20]!r}; allowed: train, val, test")
        return ROLES[row.place.lower()]
    if (row.place.lstrip("0") or "0") not in map(str, range(n_folds)):
        raise DataError(f"{where} has the fold {row.place[:20]!r}; allowed: 0 to {n_folds - 1} (split.n_folds is {n_folds})")
    return int(row.place)


def _dealt(file: Path, usable: pd.DataFrame, folds: Mapping[str, int], seed: int) -> list[str]:
    """Who of those who train validates: one in four of each class, or one at least."""
    learners = usable[usable["who"].map(folds) == ROLES["train"]][["class", "who", "set"]]
    sets = learners.groupby("class")["set"].nunique().reindex(sorted(usable["class"].unique()), fill_value=0)
    for name, number in sets.items():
        if number < 2:
            linked = " who share no picture" if (learners["class"] == name).sum() > number else ""
            raise DataError(
                f"{file}: class {name} has {number} patients{linked} who train, and nobody who validates; it takes two, or "
                "lines with role val"
            )
    dealt = dealer.deal(learners, {}, min(_SHARE, int(sets.min())), seed)
    return sorted(who for who, fold in dealt.items() if fold == 0)


def _require_all_classes(file: Path, form: Form, dealt: pd.DataFrame, n_folds: int) -> None:
    here = set(zip(dealt["class"], dealt["fold"], strict=True))
    for fold in range(n_folds):
        for name in sorted(dealt["class"].unique()):
            if (name, fold) not in here:
                role = {number: role for role, number in ROLES.items()}.get(fold)
                place = f"role {role}" if form == "role" else f"fold {fold}, which is to test (split.n_folds is {n_folds})"
                raise DataError(f"{file}: class {name} has no patient with {place}; every class needs one there")
