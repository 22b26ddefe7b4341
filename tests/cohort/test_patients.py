"""Metadata as it really comes: separators, decimal commas, a damaged header, spreadsheets, gaps; mistakes are named."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from pipeline.cohort import patients
from pipeline.common.errors import DataError

HEADER = "patient_id{s}sex_1f_2m{s}age{s}bag_label{s}instance_count{s}leucocytes_per_µl{s}pb_myeloblast{s}pb_promyelocyte\n"
EXPECTED = {
    "AAA": ["f", "34", "0", "0", "5400.5", "control", "335"],
    "NA1": ["m", "", "0.835", "", "", "NPM1", "494"],
}


def tcia(separator: str, decimal: str) -> str:
    rows = [
        ["AAA", "1", "34", "control", "335", f"5400{decimal}5", "0", "0"],
        ["NA1", "2", "n/a", "NPM1", "494.0", "", f"83{decimal}5", "-"],
        [""] * 8,
    ]
    quoted = [[f'"{cell}"' if separator in cell else cell for cell in row] for row in rows]
    return HEADER.format(s=separator) + "".join(separator.join(row) + "\n" for row in quoted)


def check(table: pd.DataFrame) -> None:
    columns = ["sex", "age", "blast_share", "promyelocyte_share", "leucocytes_per_ul", "class_listed", "images_listed"]
    assert {patient: list(row) for patient, row in table[columns].iterrows()} == EXPECTED


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "mac_roman"])
def test_the_published_table_is_read_however_it_was_saved(separator: str, decimal: str, encoding: str) -> None:
    check(patients.read(tcia(separator, decimal).encode(encoding), "metadata.csv"))


def test_a_micro_sign_that_was_decoded_wrongly_before_is_recognised() -> None:
    text = tcia(",", ".")
    for damaged in ("¬µ", "Âµ", "u", "Î¼"):
        check(patients.read(text.replace("µ", damaged).encode(), "metadata.csv"))


def test_a_workbook_is_read_from_its_metadata_sheet() -> None:
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer) as book:
        pd.DataFrame({"column": ["patient_id"], "meaning": ["pseudonym"]}).to_excel(book, sheet_name="dictionary", index=False)
        pd.read_csv(io.StringIO(tcia(",", "."))).to_excel(book, sheet_name="metadata", index=False)
    check(patients.read(buffer.getvalue(), "metadata_with_data_dictionary.xlsx"))


def test_our_own_columns_are_read_too() -> None:
    table = patients.read(b"patient,sex,age,blast_share\n007,female,61,0.2\n", "ward.csv")
    assert table.loc["007", ["sex", "age", "blast_share"]].tolist() == ["f", "61", "0.2"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"patient_id,age\nAAA,Maier\n", "m.csv: patient AAA, age: not a number"),
        (b"patient_id,age\nAAA,412\n", "m.csv: patient AAA, age: not between 0 and 120"),
        (b"patient_id,pb_myeloblast\nAAA,101\n", "patient AAA, pb_myeloblast: not between 0 and 100"),
        (b"patient_id,sex_1f_2m\nAAA,3\n", "patient AAA, sex_1f_2m: neither f"),
        (b"patient_id,sex\nAAA,1\n", "patient AAA, sex: not clear: is 1 f or m?"),
        (b"patient_id,age\nAAA,1_0\n", "patient AAA, age: not a number"),
        (b"patient_id,age\nAAA,61%\n", "patient AAA, age: not a number"),
        (b"patient_id,instance_count\nAAA,99.5\n", "patient AAA, instance_count: not a whole number"),
        (b"patient_id,leucocytes_per_nl\nAAA,5.4\n", "patient AAA, leucocytes_per_nl: not clear: by another unit"),
        (b"patient_id,leukocytes_per_l\nAAA,5.4E9\n", "patient AAA, leukocytes_per_l: not clear: by another unit"),
        (b"patient_id,age\nAAA,1\nAAA,2\n", "patient AAA stands in it more than once"),
        (b"Maier,1\nAAA,1\n", "m.csv: none of its 2 columns is patient_id (or patient)"),
        (b"patient_id,age,age\nAAA,40,50\n", "columns age and age both hold age"),
        (b"patient_id,sex,sex_1f_2m\nAAA,f,1\n", "columns sex and sex_1f_2m both hold sex"),
        (b"patient_id,age\nAAA,1,2,3\nBBB,1,2,3,4,5\n", "m.csv: not a table"),
        (b"patient_id,age\nAAA,61,\nBBB,62,\n", "m.csv: rows with more columns than the header"),
        (
            b"patient_id;instance_count\nAAA;5.400\n",
            "patient AAA, instance_count: not clear: thousands or a fraction?",
        ),
        (b"", "m.csv: not a table"),
    ],
)
def test_a_mistake_is_named(content: bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        patients.read(content, "m.csv")
    assert expected in str(caught.value)
    assert r"\n" not in str(caught.value)
    assert not any(cell in str(caught.value) for cell in ("412", "101", "5.400", "Maier"))  # a name may stand anywhere


def test_a_file_that_only_claims_to_be_a_workbook_is_named() -> None:
    with pytest.raises(DataError, match=r"m\.xlsx: not an Excel workbook"):
        patients.read(b"PK\x03\x04 no", "m.xlsx")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("metadata.csv", True),
        ("metadata_with_data_dictionary.xlsx", True),
        ("AML_Metadata_v2.CSV", True),
        ("metadata.txt", False),
        ("image_1.tif", False),
        ("._metadata.csv", False),
        ("~$metadata.xlsx", False),
    ],
)
def test_metadata_is_known_by_its_name(name: str, is_one: bool) -> None:
    assert patients.is_metadata_name(name) == is_one


def test_patients_without_metadata_have_empty_cells() -> None:
    table = patients.table([("NPM1", "BBB"), ("control", "AAA"), ("NPM1", "BBB")], None)
    assert list(table.columns) == patients.COLUMNS
    assert table[["patient", "class", "sex"]].to_numpy().tolist() == [["BBB", "NPM1", ""], ["AAA", "control", ""]]
