"""Each rule about a whole cohort, broken on purpose."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from small_cohort import CLASSES, put, report, rule, settings, sound_cohort
from test_decoding import cell, tiff

from pipeline.cohort import patients
from pipeline.common.errors import DataError
from pipeline.common.params_data import Counts
from pipeline.stages import validate
from pipeline.validation import data_docs, expectations, rule_tables, rules
from pipeline.validation.rules import Rule


def saved_again(pixels: np.ndarray, quality: int, brightness: float) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray((pixels * brightness).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def blurred(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)))


def test_a_shared_image_stops_the_run_until_one_side_is_excluded(here):
    sound_cohort()
    put("control/CAB/image_5.tif", tiff(cell(0), compression="tiff_lzw"))
    with pytest.raises(DataError, match=r"1 of 23 rules are broken, first no_image_in_two_patients \(control/CAA/image_1"):
        validate.run(settings("NPM1"))
    Path("data/exclude.csv").write_text("patient,path,reason\nCAB,control/CAB/image_5.tif,belongs to CAA\n")
    validate.run(settings("NPM1"))


def test_a_recompressed_copy_in_another_patient_is_a_warning(here):
    sound_cohort()
    pixels = cell(0)
    pixels = np.where(pixels > 250, pixels - 1, pixels + 1)
    put("control/CAB/image_5.tif", tiff(pixels))
    put("control/CAB/image_6.tif", tiff(cell(4).clip(1)))  # looks like image_1 of the same patient
    validate.run(settings("NPM1"))
    found = rule("no_look_alike_in_two_patients")
    assert found["offenders"] == [
        "control/CAA/image_1.tif: control/CAB/image_5.tif",
        "control/CAB/image_5.tif: control/CAA/image_1.tif",
    ]
    assert (found["success"], found["stops"], report()["success"]) == (False, False, True)
    assert rule("no_look_alike_in_a_patient")["offenders"] == ["control/CAB/image_6.tif: control/CAB/image_1.tif"]


def test_a_copy_saved_as_jpeg_and_darkened_links_its_patients(here):
    sound_cohort()
    put("NPM1/NAC/image_5.tif", tiff(saved_again(cell(0), quality=50, brightness=0.8)))
    validate.run(settings("NPM1"))
    table = pd.read_parquet("data/manifest.parquet").set_index("path")["look_alike"]
    alike = ["NPM1/NAC/image_5.tif", "control/CAA/image_1.tif"]
    assert dict(table[table != ""]) == dict.fromkeys(alike, alike[0])


def test_batches_that_the_metadata_names_are_not_asked_for_again():
    for batches, known in ((["A", "B"], True), (["A", ""], False), (["A", "A"], False), ([], False)):
        assert rule_tables.names_batches(pd.DataFrame({"batch": batches})) is known, batches
    (colour,) = [one for one in rules.of(settings("NPM1"), True) if one.name == "colour_as_others"]
    assert colour.advice.endswith("whether vectors lie together by the metadata's `batch`")


def test_a_patient_of_another_stain_or_out_of_focus_is_a_warning(here):
    sound_cohort()
    for name, change in (("control/RED", lambda p: np.clip(p + np.array([60, 0, 0]), 0, 255)), ("NPM1/DIM", blurred)):
        for n in range(3):
            put(f"{name}/image_{n}.tif", tiff(change(cell(100 + n)).astype(np.uint8)))
    validate.run(settings("NPM1"))
    assert [text.split(":")[0] for text in rule("colour_as_others")["offenders"]] == ["RED"]
    assert [text.split(":")[0] for text in rule("sharpness_as_others")["offenders"]] == ["DIM"]
    assert rule("colour_as_others")["advice"].endswith("metadata would let the audit tell")
    page = Path("reports/validation/data_docs/index.html").read_text()
    assert page.count("<figcaption>RED: ") == page.count("<figcaption>DIM: ") == 1, (
        "whom it tells to look at is there to look at"
    )
    assert page.count("<figcaption>for comparison ") == 2
    assert page.count('alt="image 3 of 3"') == 2
    assert report()["success"]


def test_a_cohort_is_held_against_its_metadata_and_its_known_counts(here):
    sound_cohort()
    listed = patients.read(
        b"patient,class,images\nCAA,NPM1,4\nCAB,control,4\nNAA,NPM1,9\n".replace(b"images", b"images_listed"), "m.csv"
    )
    found = [(name, name[0].upper() + "A" + p) for name in CLASSES for p in "ABC"]
    patients.table(found, listed).to_csv("data/patients.csv", index=False)
    counts = {"control": Counts(patients=3, images=12), "NPM1": Counts(patients=4, images=1200)}
    with pytest.raises(DataError, match=r"2 of 23 rules are broken, first class_as_listed \(CAA: in control, listed as NPM1\)"):
        validate.run(settings("NPM1", expected=counts))
    assert rule("counts_as_expected")["offenders"] == ["NPM1: 3 patients, 12 image files; expected 4 and 1,200"]
    assert rule("images_as_listed")["offenders"] == ["NAA: 4 files, 9 listed"]


def test_a_rule_that_looked_at_nothing_has_not_passed(here):
    """Nobody is listed, and patients who are all alike have no spread by which one of them could stand out."""
    for name in CLASSES:
        for patient in "ABC":
            put(f"{name}/{name[0].upper()}A{patient}/image_1.tif", tiff(cell(sum(map(ord, name + patient)))))
    validate.run(settings("NPM1", images=1))
    nothing = {found["name"] for found in report()["rules"] if found["state"] == "nothing to judge"}
    assert nothing == {"class_as_listed", "images_as_listed", "counts_as_expected"}
    table = pd.DataFrame({"patient": ["A", "B", "C"], "known": [np.nan] * 3, "partly": [1.0, np.nan, 2.0]})
    between = [Rule(name, "few", "look", "patients", name, "ExpectColumnValuesToBeBetween", {"max_value": 6}) for name in table]
    findings = expectations.check(between[1:], {"patients": table})
    assert [(found.state, found.observed) for found in findings] == [
        ("nothing to judge", "not known of any of 3 patients"),
        ("pass", "1 to 2 in 2 patients, of 1 not known"),
    ]
    assert "Data Docs: 1 nothing to judge, 1 pass" in page_of(findings)


def test_repeats_within_a_patient_and_litter_do_not_stop_the_run(here):
    sound_cohort()
    put("control/CAA/image_12.tif", tiff(cell(0), compression="tiff_lzw"))
    for patient in ("CAA", "CAB", "CAC"):
        put(f"control/{patient}/Thumbs.db", b"x")
    validate.run(settings("NPM1", share=0.04))
    assert rule("few_quarantined")["observed"] == "0.04 (1 of 25 files)"
    with pytest.raises(DataError, match=r"first few_quarantined .*1 of 25 files: 0.04"):
        validate.run(settings("NPM1", share=0.039))


def test_a_cohort_without_one_usable_image_is_judged_too(here):
    put("control/AAA/image_1.tif", b"")
    put("NPM1/BBB/image_1.tif", b"")
    with pytest.raises(DataError, match=r"5 of 23 rules are broken, first class_present \(control: 0\)"):
        validate.run(settings("NPM1"))


def test_an_expectation_that_cannot_be_evaluated_is_a_bug_not_a_failure():
    broken = Rule("typo", "nothing", "nothing", "images", "no_such_column")
    with pytest.raises(RuntimeError, match="rule typo could not be checked"):
        expectations.check([broken], {"images": pd.DataFrame({"path": ["a"]})})


def test_many_offenders_are_counted_and_the_first_listed():
    table = pd.DataFrame({"path": [f"f{n}" for n in range(50)], "twin": ["x"] * 50})
    findings = expectations.check([Rule("lone", "no twins", "look", "images", "twin")], {"images": table})
    assert findings[0].offenders_total == 50
    assert findings[0].offenders == [f"f{n}: x" for n in range(20)]
    assert "and 30 more" in page_of(findings)


def page_of(findings):
    counts = pd.DataFrame({"class": ["control"], "patients": [3], "images": [30]})
    return data_docs.page("a cohort", counts, findings, {})
