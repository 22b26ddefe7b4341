import random
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common.errors import DataError
from pipeline.images import manifest
from pipeline.names import image_paths


def row(path: str, pixels: str = "", error: str = "") -> dict[str, object]:
    class_name, patient, _ = image_paths.place(path)
    blank = dict.fromkeys(manifest.DTYPES, "") | dict.fromkeys(manifest.NUMBERS, 1.0) | {"width": 8, "height": 8}
    return blank | {
        "path": path,
        "class": class_name,
        "patient": patient,
        "pixels_sha256": pixels or path,
        "error": error,
    }


def frame(*paths: str):
    return manifest.build(row(path) for path in paths)


def test_image_2_comes_before_image_10():
    ordered = frame("b/AAA/image_1.tif", "a/P10/image_1.tif", "a/P9/image_10.tif", "a/P9/image_2.tif")
    assert list(ordered["path"]) == ["a/P9/image_2.tif", "a/P9/image_10.tif", "a/P10/image_1.tif", "b/AAA/image_1.tif"]


@given(st.lists(st.text("aA012/_é", min_size=1, max_size=12), unique=True), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_who_read_first(paths, chance: random.Random):
    shuffled = list(paths)
    chance.shuffle(shuffled)
    with mock.patch.object(manifest, "_ROWS_AT_ONCE", 2):
        parts = frame(*shuffled)
    assert frame(*paths).equals(parts)


def test_columns_and_types_are_the_contract_even_without_rows():
    for table in (frame(), frame("a/AAA/image_1.tif")):
        assert list(table.columns) == [
            *("path", "class", "patient", "width", "height", "mode", "format", "sha256", "pixels_sha256", "phash"),
            *("mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b", "sharpness", "look_alike", "error"),
        ]
        assert {name: str(kind) for name, kind in table.dtypes.items()} == manifest.DTYPES


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("control/AAA/image_1.tif", ("control", "AAA", "image_1.tif")),
        ("control/image_1.tif", ("control", "", "image_1.tif")),
        ("image_1.tif", ("", "", "image_1.tif")),
        ("control/AAA/more/image_1.tif", ("control", "", "image_1.tif")),
    ],
)
def test_only_the_third_level_has_a_patient(path, place):
    assert image_paths.place(path) == place


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("c/AAA/image_1.tif", ""),
        ("c/AAA/image_1.TIFF", ""),
        ("c/AAA/Thumbs.db", "not an image: left behind by a file browser"),
        ("c/AAA/.DS_Store", "not an image: left behind by a file browser"),
        ("c/AAA/._image_1.tif", "not an image: left behind by a file browser"),
        ("c/AAA/notes.txt", "not an image: its name does not end in .tif, .tiff, .png, .jpg or .jpeg"),
        ("c/image_1.tif", "lies outside <class>/<patient>/"),
        ("c/AAA/image\n1.tif", "its path holds unprintable characters (U+000A); rename it"),
        ("c/P\u00a0/image_1.tif", "its path holds unprintable characters (U+00A0); rename it"),
        ("c/ /image_1.tif", "the name of its patient's folder is blank; rename it"),
        ("c/AAA/.ipynb_checkpoints/image_1.tif", "not an image: left behind by a file browser"),
        ("c/AAA/image_1.tif:Zone.Identifier", "not an image: left behind by a file browser"),
        (
            "c/AAA/.image_1.tif.Ab12Cd",
            "image not there: an unfinished copy of rsync; run rsync again, to its end, and run `dvc repro` again",
        ),
    ],
)
def test_names_that_are_not_worth_opening(path, fault):
    assert image_paths.name_fault(path) == fault


def test_the_first_of_identical_images_in_a_patient_stays():
    table = manifest.build(
        [
            row("c/AAA/image_10.tif", "same"),
            row("c/AAA/image_2.tif", "same"),
            row("c/BBB/image_1.tif", "same"),
            row("c/AAA/image_1.tif", "same", "unreadable"),
        ]
    )
    errors = manifest.drop_repeats(table).set_index("path")["error"]
    assert errors.to_dict() == {
        "c/AAA/image_1.tif": "unreadable",
        "c/AAA/image_2.tif": "",
        "c/AAA/image_10.tif": "same pixels as c/AAA/image_2.tif",
        "c/BBB/image_1.tif": "",
    }


def test_a_person_excludes_an_image_or_a_patient():
    table = frame("c/AAA/image_1.tif", "c/AAA/image_2.tif", "c/BBB/image_1.tif", "c/BBB/image_2.tif")
    errors = manifest.excluded(
        table["path"],
        [manifest.Exclusion(2, "AAA", "c/AAA/image_2.tif", "blurred"), manifest.Exclusion(3, "BBB", "", "withdrawn")],
        "exclude.csv",
    )
    marked = manifest.exclude(table, errors)
    assert list(marked["error"]) == ["", "excluded: blurred", "excluded: withdrawn", "excluded: withdrawn"]
    assert list(manifest.not_excluded(marked)["path"]) == ["c/AAA/image_1.tif"]
    assert list(table["error"]) == [""] * 4


@pytest.mark.parametrize(
    ("patient", "path", "complaint"),
    [
        ("ZZZ", "", r"exclude.csv line 7: there is no patient 'ZZZ'"),
        ("", "c/AAA/image_1.tif", r"exclude.csv line 7: there is no patient ''"),
        ("AAA", "c/AAA/image_9.tif", r"exclude.csv line 7: patient AAA has no file 'c/AAA/image_9.tif'"),
        ("AAA", "c/BBB/image_1.tif", r"exclude.csv line 7: patient AAA has no file 'c/BBB/image_1.tif'"),
    ],
)
def test_an_exclusion_of_what_is_not_there_is_an_error(patient, path, complaint):
    with pytest.raises(DataError, match=complaint):
        manifest.excluded(
            ["c/AAA/image_1.tif", "c/BBB/image_1.tif", "loose.tif"],
            [manifest.Exclusion(7, patient, path, "why")],
            "exclude.csv",
        )


def test_errors_are_counted_by_kind():
    kinds = [manifest.kind(error) for error in ("same pixels as c/A/1.tif", "excluded: blurred", "empty: 0 bytes")]
    assert kinds == ["same pixels as another image of the patient", "excluded", "empty"]


def test_paths_that_a_mac_takes_for_one_fold_to_one():
    assert image_paths.folded("c/AAA/Image_1.TIF") == image_paths.folded("c/AAA/image_1.tif")
    assert image_paths.folded("c/Jos\u00e9/1.tif") == image_paths.folded("c/Jose\u0301/1.tif")
    assert image_paths.folded("c/AAA/image_1.tif") != image_paths.folded("c/AAA/image_2.tif")
