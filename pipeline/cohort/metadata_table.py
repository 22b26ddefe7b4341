"""A table that somebody saved, as its cells' text: CSV in any encoding and with any separator, or an Excel workbook.

The header is the line in which most columns are known, wherever it stands; what stands above it is a title. What is read
in a way that could be another than was meant is said in one line, which quotes no cell: it may hold a name.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.common import console
from pipeline.common.errors import DataError

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

_HEADER_WITHIN = 50  # lines
_SEPARATORS = ",;\t|"
_ZIP = b"PK\3\4"  # as a workbook begins, whatever it is called
_BYTE_ORDER_MARKS = [  # the longer first: UTF-32's begins with UTF-16's
    *((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig")),
]
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ ;,\t]*(?:\r\n|\n|\r)', re.IGNORECASE)  # Excel's own; it reads and hides it
_WORDS_OF_FORM = re.compile(r'"[^"]*"|\\.')  # of a number's form in a workbook: what is written as it is, 0"%"

Known = Callable[[str], str]  # a header's text -> our column, "" where it is none


def read(content: bytes, name: str, known: Known) -> pd.DataFrame:
    """The table, its columns as they are headed, every cell text, "" where there is nothing.

    Raises:
        DataError: names the file, and what cannot be read of it.
    """
    is_workbook = name.lower().endswith(".xlsx") or content.startswith(_ZIP)
    return _workbook(content, name, known) if is_workbook else _csv(content, name, known)


def _csv(content: bytes, name: str, known: Known) -> pd.DataFrame:
    text = _decoded(content, name)
    separators = _SEPARATORS
    if said := _SEPARATOR_LINE.match(text):
        separators, text = said[1], text[said.end() :]
    lines = re.findall(r"[^\r\n]*(?:\r\n|\n|\r|$)", text)[:_HEADER_WITHIN]
    at, separator = max(
        ((at, separator) for at in range(len(lines)) for separator in separators),
        key=lambda place: _columns_known(_cells(lines[place[0]], place[1]), known),
    )
    if not _columns_known(_cells(lines[at], separator), known):
        at, separator = 0, max(separators, key=lines[0].count)
    _say_title(name, sum(bool(line.strip(f'\r\n "{separators}')) for line in lines[:at]))
    try:
        rows = io.StringIO(text[sum(map(len, lines[:at])) :], newline="")
        table = pd.read_csv(rows, sep=separator, dtype="str", keep_default_na=False)
        rows.seek(0)
        header = pd.read_csv(rows, sep=separator, dtype="str", keep_default_na=False, header=None, nrows=1)
    except (ValueError, csv.Error) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{name}: not a table ({' '.join(str(error).split())}); save it as CSV again") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(f"{name}: rows with more columns than the header; quote decimal commas, or use another separator")
    return table.fillna("").set_axis(header.iloc[0], axis="columns")  # as written: pandas numbers those that are there twice


def _decoded(content: bytes, name: str) -> str:
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), "")
    if not encoding and content:  # Latin letters in UTF-16 have a zero in every second byte
        even, odd = content[::2].count(0), content[1::2].count(0)
        encoding = "utf-16-le" if odd * 4 > len(content) else "utf-16-be" if even * 4 > len(content) else ""
    try:
        return content.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        if encoding:
            raise DataError(f"{name}: begins as {encoding.upper()} and is not; save it as CSV UTF-8 again") from None
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # never fails; the columns we know are ASCII but for the micro sign


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _columns_known(cells: Sequence[str], known: Known) -> int:
    """Of a line, 0 where it heads no patients."""
    columns = [known(cell) for cell in cells]
    return sum(map(bool, columns)) if "patient" in columns else 0


def _say_title(name: str, lines: int) -> None:
    if lines:
        console.say(f"{name}: {lines} lines above the header are left out")


def _workbook(content: bytes, name: str, known: Known) -> pd.DataFrame:
    import openpyxl

    try:
        stored = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
        written = openpyxl.load_workbook(io.BytesIO(content))
        sheets = [_Sheet(values, formulas) for values, formulas in zip(stored.worksheets, written.worksheets, strict=True)]
    except Exception as error:  # openpyxl raises whatever its parsers stumble over
        raise DataError(f"{name}: not an Excel workbook ({type(error).__name__}); save it as CSV") from None
    if not sheets:
        raise DataError(f"{name}: has no sheet of cells; save the one with the patients as CSV")
    number = _sheet_with_patients(sheets, [sheet.most_known(known) for sheet in sheets], name)
    if len(sheets) > 1:
        console.say(f"{name}: of its {len(sheets)} sheets, sheet {number + 1} is read")
    sheet, at = sheets[number], sheets[number].header(known)
    _say_title(name, sum(map(any, sheet.rows[:at])))
    headers = sheet.rows[at] if sheet.rows else []
    used = [column for column, header in enumerate(headers) if known(header)]
    stale = bool(written.calculation and written.calculation.fullCalcOnLoad)  # a program that cannot calculate wrote it
    for row in range(at + 1, len(sheet.rows)):
        for column in used:
            if fault := sheet.fault(row, column, stale, known(headers[column]) == "patient"):
                raise DataError(f"{name}: sheet {number + 1}, cell {fault}")
    wanted = [column for column, header in enumerate(headers) if header]
    return pd.DataFrame(
        [[row[column] for column in wanted] for row in sheet.rows[at + 1 :]],
        columns=pd.Index([headers[column] for column in wanted]),
        dtype="str",
    )


class _Sheet:
    """A worksheet twice: with the results that were stored, and with its formulas. Merged cells hold what their first does."""

    def __init__(self, values: Worksheet, formulas: Worksheet) -> None:
        self.title = values.title.strip().lower()
        self.is_hidden = values.sheet_state != "visible"
        self._cells = [list(row) for row in values.iter_rows()]
        self._formulas = [[cell.data_type == "f" for cell in row] for row in formulas.iter_rows()]
        for merged in values.merged_cells.ranges:
            first = values.cell(merged.min_row, merged.min_col)
            for row in self._cells[merged.min_row - 1 : merged.max_row]:
                row[merged.min_col - 1 : merged.max_col] = [first] * (merged.max_col - merged.min_col + 1)
        self.rows = [[_text(cell.value, cell.number_format) for cell in row] for row in self._cells]

    def header(self, known: Known) -> int:
        """The row in which most columns are known."""
        rows = self.rows[:_HEADER_WITHIN]
        return max(range(len(rows)), key=lambda at: _columns_known(rows[at], known), default=0)

    def most_known(self, known: Known) -> int:
        """How many."""
        return _columns_known(self.rows[self.header(known)], known) if self.rows else 0

    def fault(self, row: int, column: int, stale: bool, is_patient: bool) -> str:
        """Which cell is not what its author saw, and why; "" if it is."""
        cell = self._cells[row][column]
        calculated = self._formulas[cell.row - 1][cell.column - 1]
        if calculated and (stale or (cell.value is None and cell.data_type != "str")):  # a stored result that is empty is text
            return (
                f"{cell.coordinate}: a formula whose result was never stored; open the file in Excel or LibreOffice and save "
                "it there, or replace the formula by its value"
            )
        if is_patient and cell.data_type == "e":
            return f"{cell.coordinate}: an error of a formula stands for a patient; correct it"
        return ""


def _sheet_with_patients(sheets: Sequence[_Sheet], scores: Sequence[int], name: str) -> int:
    """The sheet called metadata, else the one whose header knows most columns; a hidden one only if no other has patients."""
    if any(score and not sheet.is_hidden for sheet, score in zip(sheets, scores, strict=True)):
        scores = [0 if sheet.is_hidden else score for sheet, score in zip(sheets, scores, strict=True)]
    for number, sheet in enumerate(sheets):
        if sheet.title == "metadata" and (scores[number] or not any(scores)):
            return number
    best = [number for number, score in enumerate(scores) if score == max(scores)]
    if len(best) > 1 and max(scores):
        raise DataError(f"{name}: sheets {best[0] + 1} and {best[1] + 1} both list patients; call the right one metadata")
    return best[0]


def _text(value: object, form: str) -> str:
    """What a reader of the sheet sees: a share in percent, and zeros before a number, are its cell's `form` alone."""
    match value:
        case None:
            return ""
        case int() | float() if not isinstance(value, bool) and "%" in _WORDS_OF_FORM.sub("", form):
            return f"{value * 100:.10g}%"
        case int() | float() if set(form) == {"0"} and not isinstance(value, bool) and value == abs(int(value)):
            return f"{int(value):0{len(form)}d}"
        case float() if value.is_integer():
            return str(int(value))
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
