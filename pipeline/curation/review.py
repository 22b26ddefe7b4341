"""What persons decided about images: data/review.csv, read, checked, and what of it counts.

A line is one reviewer's decision about one image: path, patient, decision, reviewer, date (of the day, or to the second). Of
one reviewer the latest counts. Of several the mildest does: an image loses only what everybody with an opinion would take from
it, so nothing happens to one that a reviewer keeps. "can't say" is no opinion, and a normal cell of a healthy donor is kept:
that is what the donor's label says.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

from pipeline.common.errors import DataError
from pipeline.names import image_paths, patient_names

COLUMNS = ["path", "patient", "decision", "reviewer", "date"]
KEEP, NORMAL, ARTEFACT, WRONG_PATIENT, CANT_SAY = DECISIONS = ("keep", "normal cell", "artefact", "wrong patient", "can't say")
_LOSSES = {KEEP: 0, NORMAL: 1, ARTEFACT: 1, WRONG_PATIENT: 2}
_FROM_TRAINING, _FROM_EVERYTHING = 1, 2
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ)?")
_ALLOWED = ", ".join(DECISIONS)


@dataclass(frozen=True)
class Decision:
    """One line of data/review.csv."""

    path: str
    patient: str
    decision: str
    reviewer: str
    date: str


def read(table: Path, known: Collection[str], pseudonyms: bool, reviewer: str = "") -> list[Decision]:
    """The decisions of a table, in its order; `reviewer` is whose those are that name nobody.

    Commas or semicolons, as a spreadsheet may have saved it. `known` are the paths of the cohort's files; where patients have
    `pseudonyms`, what fits none of them is not quoted.

    Raises:
        DataError: names the first line that is wrong.
    """
    if not table.exists() and not table.is_symlink():
        return []
    found: dict[tuple[str, str, str], Decision] = {}
    spelled: dict[str, str] = {}
    for line, cells in _lines(table):
        where = f"{table} line {line}"
        one = _decision(where, cells, reviewer)
        _require_known(where, one, known, pseudonyms)
        if (other := spelled.setdefault(patient_names.identity(one.reviewer), one.reviewer)) != one.reviewer:
            raise DataError(f"{where}: reviewer {one.reviewer!r} is spelled {other!r} above; write a name in one way")
        before = found.setdefault((one.path, one.reviewer, one.date), one)
        if before.decision != one.decision:
            raise DataError(
                f"{where}: {one.reviewer} decided {before.decision!r} about {one.path} at the same time ({one.date}); remove "
                "one of the two lines"
            )
    return list(found.values())


def _lines(table: Path) -> list[tuple[int, list[str]]]:
    """Number and cells of every line below the header that is not empty."""
    header = ",".join(COLUMNS)
    try:
        text = table.read_text(encoding="utf-8-sig")
        separator = ";" if text.split("\n", 1)[0].count(";") == len(COLUMNS) - 1 else ","
        lines = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
        rows = [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV table ({error}); its first line must be {header}") from None
    if not rows or rows[0][1] != COLUMNS:
        raise DataError(f"{table} line 1: must be {header}")
    for line, cells in rows[1:]:
        if len(cells) != len(COLUMNS):
            raise DataError(f"{table} line {line}: has {len(cells)} columns, not {len(COLUMNS)} ({header})")
    return rows[1:]


def _decision(where: str, cells: Sequence[str], reviewer: str) -> Decision:
    path, patient, said, who, date = cells
    if reviewer and who not in ("", reviewer):
        raise DataError(f"{where}: is {who}'s decision, not {reviewer}'s; leave out --reviewer, or take the right file")
    decision = said.lower().replace("’", "'")  # as a spreadsheet may write it
    if decision not in DECISIONS:
        raise DataError(f"{where}: {said!r} is no decision; write one of: {_ALLOWED}")
    if not (who := who or reviewer):
        raise DataError(f"{where}: names no reviewer; write who decided, or say so with --reviewer")
    if not _DATE.fullmatch(date) or not _is_in_calendar(date):
        raise DataError(f"{where}: {date!r} is no date; write 2026-01-31, or 2026-01-31T09:30:00Z")
    return Decision(path, patient, decision, who, date)


def _is_in_calendar(date: str) -> bool:
    try:
        return bool(datetime.fromisoformat(date))
    except ValueError:  # of February 31st, say
        return False


def _require_known(where: str, one: Decision, known: Collection[str], pseudonyms: bool) -> None:
    """Refuse an image that the cohort has not, or not of that patient."""
    of = image_paths.place(one.path)[1]
    same = patient_names.identity(of) == patient_names.identity(one.patient)
    if one.path in known and same:
        return
    if pseudonyms:
        raise DataError(
            f"{where}: fits no image of the cohort; ingest.pseudonyms is on: name pseudonyms, of patients and of files"
        )
    if one.path not in known:
        raise DataError(f"{where}: there is no image {one.path!r} in the cohort; correct or remove the line")
    raise DataError(f"{where}: {one.path} is an image of patient {of}, not of {one.patient!r}; correct or remove the line")


def latest(decisions: Iterable[Decision]) -> dict[str, dict[str, str]]:
    """Path -> reviewer -> what he or she last decided."""
    found: dict[str, dict[str, str]] = {}
    for one in sorted(decisions, key=lambda one: one.date):
        found.setdefault(one.path, {})[one.reviewer] = one.decision
    return found


def _losses(decisions: Iterable[Decision], control: str) -> dict[str, int]:
    """Path -> what all who have an opinion would take from the image."""
    found = {}
    for path, by_reviewer in latest(decisions).items():
        of_control = image_paths.place(path)[0] == control
        said = [KEEP if of_control and one == NORMAL else one for one in by_reviewer.values() if one != CANT_SAY]
        found[path] = min((_LOSSES[one] for one in said), default=0)
    return found


def of_wrong_patients(decisions: Iterable[Decision], control: str) -> list[str]:
    """The images that are to be nowhere, sorted."""
    return sorted(path for path, loss in _losses(decisions, control).items() if loss == _FROM_EVERYTHING)


def left_out(decisions: Iterable[Decision], control: str) -> list[str]:
    """The images that nobody is to be trained on, sorted; of patients who are tested they stay."""
    return sorted(path for path, loss in _losses(decisions, control).items() if loss == _FROM_TRAINING)


def merged(before: Sequence[Decision], new: Sequence[Decision], source: str) -> list[Decision]:
    """Both, each decision once, by image, reviewer and date: the order in which git merges two branches line by line.

    Raises:
        DataError: a new decision, from `source`, contradicts one of the same reviewer and time, or spells a reviewer otherwise.
    """
    known: dict[tuple[str, str, str], Decision] = {}
    spelled = {patient_names.identity(one.reviewer): one.reviewer for one in before}
    for one in (*before, *new):
        if (other := spelled.get(patient_names.identity(one.reviewer), one.reviewer)) != one.reviewer:
            raise DataError(f"{source}: reviewer {one.reviewer!r} is spelled {other!r} in what was taken before; write it so")
        earlier = known.setdefault((one.path, one.reviewer, one.date), one)
        if earlier.decision != one.decision:
            raise DataError(
                f"{source}: {one.reviewer} decided {one.decision!r} about {one.path}, and at the same time ({one.date}) "
                f"{earlier.decision!r} before; write the later one with its time"
            )
    return sorted(known.values(), key=lambda one: (*map(image_paths.natural, one.path.split("/")), one.reviewer, one.date))


def text(decisions: Iterable[Decision]) -> str:
    """The table as it is kept."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(one) for one in decisions)
    return out.getvalue()


def counts(decisions: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """Reviewer -> images that he or she decided about."""
    found: dict[str, int] = {}
    for by_reviewer in decisions.values():
        for who in by_reviewer:
            found[who] = found.get(who, 0) + 1
    return dict(sorted(found.items()))
