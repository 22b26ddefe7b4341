"""A table is read as its author saw it, or what stands in the way is named by its cell."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import openpyxl
import pytest

from pipeline.cohort import patients
from pipeline.common.errors import DataError

ROWS = [["patient_id", "age", "sex"], ["Jürgen", "61", "m"], ["BBB", "44", "f"]]
EXPECTED = {"Jürgen": ("61", "m"), "BBB": ("44", "f")}


def found(content: bytes, name: str = "m.csv") -> dict[str, tuple[str, str]]:
    table = patients.read(content, name)
    return {str(patient): (row["age"], row["sex"]) for patient, row in table.iterrows()}


def text(separator: str = ",", *above: str, end: str = "\n") -> str:
    return end.join([*above, *(separator.join(row) for row in ROWS), ""])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_is_read_in_every_encoding_with_every_separator(encoding: str, separator: str, end: str) -> None:
    assert found(text(separator, end=end).encode(encoding)) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"', "sep=;;;"])
def test_excels_own_first_line_is_no_header(encoding: str, line: str) -> None:
    assert found(text(";", line, end="\r\n").encode(encoding)) == EXPECTED


def test_titles_above_the_header_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    titles = ["Cohort of the ward, as of May;;", "", '"patients; all of them";;', ";;"]
    assert found(text(";", *titles).encode()) == EXPECTED
    assert capsys.readouterr().out == "m.csv: 2 lines above the header are left out\n"


def test_a_row_that_says_something_of_nobody_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert found((text() + ",99,m\n\u200b,1,f\n,,\n").encode()) == EXPECTED
    assert "m.csv: 2 rows say something of no patient, left out; fill in patient_id" in capsys.readouterr().err


def test_utf_16_that_is_cut_off_is_named() -> None:
    with pytest.raises(DataError, match=r"m\.csv: begins as UTF-16 and is not; save it as CSV UTF-8 again"):
        found(b"\xff\xfea")


def workbook(
    *sheets: tuple[str, list[list[Any]]], merged: str = "", hidden: str = "", forms: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
        if merged:
            sheet.merge_cells(merged)
        for cell, form in forms.items():
            sheet[cell].number_format = form
        sheet.sheet_state = "hidden" if title == hidden else "visible"
    book.calculation.fullCalcOnLoad = False  # as Excel saves it
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def changed(content: bytes, before: str, after: str, member: str = "xl/worksheets/sheet1.xml") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == member:
                assert before.encode() in data
                data = data.replace(before.encode(), after.encode())
            new.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("cell", ["A3", "B3"])
def test_a_formula_without_a_result_is_named_by_its_cell(cell: str) -> None:
    rows: list[list[Any]] = [["patient_id", "age"], ["AAA", 3], ["BBB", 4]]
    rows[2]["AB".index(cell[0])] = '="B"&"B"'
    with pytest.raises(
        DataError, match=rf"m\.xlsx: sheet 1, cell {cell}: a formula whose result was never stored; open the file"
    ):
        found(workbook(("m", rows)), "m.xlsx")


def test_a_formulas_stored_result_is_its_value() -> None:
    book = workbook(("m", [["patient_id", "age", "sex"], ['="A"&"B"', "=2+2", '=""']]))
    stored = changed(book, '<c r="A2"><f>"A"&amp;"B"</f><v />', '<c r="A2" t="str"><f>"A"&amp;"B"</f><v>AB</v>')
    stored = changed(stored, "<f>2+2</f><v />", "<f>2+2</f><v>4</v>")
    stored = changed(stored, '<c r="C2"><f>""</f><v />', '<c r="C2" t="str"><f>""</f><v></v>')
    assert found(stored, "m.xlsx") == {"AB": ("4", "")}
    stale = changed(stored, 'fullCalcOnLoad="0"', 'fullCalcOnLoad="1"', "xl/workbook.xml")
    with pytest.raises(DataError, match="cell A2: a formula whose result was never stored"):
        found(stale, "m.xlsx")


def test_merged_cells_hold_what_is_seen_in_them() -> None:
    rows = [["patient_id", "age", "sex"], ["AAA", 61, "f"], ["BBB", 44, None], ["CCC", 50, None]]
    assert found(workbook(("m", rows), merged="C2:C4"), "m.xlsx") == {
        "AAA": ("61", "f"),
        "BBB": ("44", "f"),
        "CCC": ("50", "f"),
    }


def test_the_sheet_with_the_patients_is_read_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    notes: list[list[Any]] = [["column", "meaning"], ["patient_id", "who"], ["age", "years"]]
    titled = [["Cohort of the ward"], [], *ROWS]
    assert found(workbook(("notes", notes), ("ward", titled)), "m.xlsx") == EXPECTED
    assert (
        capsys.readouterr().out == "m.xlsx: of its 2 sheets, sheet 2 is read\nm.xlsx: 1 lines above the header are left out\n"
    )
    other = [ROWS[0], ["CCC", "1", "m"]]
    with pytest.raises(DataError, match=r"m\.xlsx: sheets 1 and 2 both list patients; call the right one metadata"):
        found(workbook(("a", ROWS), ("b", other)), "m.xlsx")
    assert found(workbook(("a", ROWS), ("Metadata", other)), "m.xlsx") == {"CCC": ("1", "m")}


def test_a_workbook_without_sheets_is_refused() -> None:
    book = changed(workbook(("m", ROWS)), "worksheet", "nosheet", "xl/_rels/workbook.xml.rels")
    with pytest.raises(DataError, match=r"^m\.xlsx: has no sheet of cells; save the one with the patients as CSV$"):
        found(book, "m.xlsx")


def test_an_error_in_place_of_a_patient_is_named() -> None:
    book = workbook(("m", [["patient_id", "age"], ["#REF!", 3]]))
    with pytest.raises(DataError, match=r"sheet 1, cell A2: an error of a formula stands for a patient"):
        found(book, "m.xlsx")


def test_a_patient_called_by_a_number_is_that_number() -> None:
    assert found(workbook(("m", [["patient", "age", "sex_1f_2m"], [7, 61.0, 1]])), "m.xlsx") == {"7": ("61", "f")}


@pytest.mark.parametrize(("form", "name"), [("000", "007"), ("0", "7"), ("General", "7"), ("0.0", "7"), ('"P"0', "7")])
def test_zeros_before_a_number_are_those_that_its_cell_shows(form: str, name: str) -> None:
    book = workbook(("m", [["patient", "age", "sex"], [7, 61, "f"]]), forms={"A2": form})
    assert found(book, "m.xlsx") == {name: ("61", "f")}


@pytest.mark.parametrize(
    ("header", "value", "form", "share"),
    [
        ("pb_myeloblast", 0.85, "0%", "0.85"),
        ("pb_myeloblast", 0.855, "0.0%", "0.855"),
        ("pb_myeloblast", 85, '0"%"', "0.85"),
        ("pb_myeloblast", 85, "General", "0.85"),
        ("pb_myeloblast", "85 %", "General", "0.85"),
        ("blast_share", 0.85, "0%", "0.85"),
        ("blast_share", "85,5%", "General", "0.855"),
        ("blast_share", 0.85, "General", "0.85"),
    ],
)
def test_a_share_is_what_its_cell_shows(header: str, value: float | str, form: str, share: str) -> None:
    book = workbook(("m", [["patient", header], ["AAA", value]]), forms={"B2": form})
    assert patients.read(book, "m.xlsx")["blast_share"].tolist() == [share]


def test_a_hidden_sheet_is_read_only_where_no_other_lists_patients() -> None:
    older = [[*ROWS[0], "batch"], ["CCC", "1", "m", "x"]]
    for title in ("old", "metadata"):
        assert found(workbook(("m", ROWS), (title, older), hidden=title), "m.xlsx") == EXPECTED
    assert found(workbook(("notes", [["see the other"]]), ("m", ROWS), hidden="m"), "m.xlsx") == EXPECTED


def test_a_workbook_is_one_whatever_it_is_called() -> None:
    assert found(workbook(("m", ROWS)), "metadata.csv") == EXPECTED
