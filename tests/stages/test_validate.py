import io
import os
import re
import socket
from pathlib import Path

import pandas as pd
import pytest
import test_decoding
from PIL import Image, TiffImagePlugin
from small_cohort import CLASSES, put, quarantine, report, rule, settings, sound_cohort
from test_decoding import PX, UNUSABLE, USABLE, cell, tiff

from pipeline.common.errors import DataError
from pipeline.images import manifest
from pipeline.stages import validate

OUTPUTS = (
    "data/manifest.parquet",
    "reports/validation/quarantine.csv",
    "reports/validation/validation.json",
    "reports/validation/data_docs/index.html",
)


def outputs() -> dict[str, bytes]:
    return {path: Path(path).read_bytes() for path in OUTPUTS}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A cohort with everything wrong that a folder can hold, validated once; the error that it ended with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("hostile"))
        calls = []
        patch.setattr(socket.socket, "connect", lambda *a: calls.append(a))
        for number in range(1, 10):
            put(f"control/AAA/image_{number}.tif", tiff(cell(number)))
        put("control/AAA/image_10.tif", tiff(cell(2), compression="tiff_lzw"))
        for number, data in enumerate(USABLE.values()):
            put(f"control/MOD{number}/image_1.tif", data)
        for kind, (data, _) in UNUSABLE.items():
            put(f"control/AAA/{kind}.tif", data)
        put("control/AAA/Thumbs.db", b"\xd0\xcf\x11\xe0")
        put("control/AAA/notes.txt", b"hello")
        put("control/AAA/Image_9.tif", tiff(cell(99)))
        put("control/AAA/too/deep.tif", tiff(cell(98)))
        put("control/loose.tif", tiff(cell(97)))
        Path("data/raw/control/AAA/gone.tif").symlink_to("nowhere.tif")
        os.mkfifo("data/raw/control/AAA/pipe.tif")
        Path(os.fsdecode(b"data/raw/control/AAA/caf\xe9.tif")).write_bytes(tiff(cell(96)))
        put("NPM1/CCC/image_1.tif", tiff(cell(3), compression="tiff_adobe_deflate"))
        put("NPM1/CCC/image_2.tif", tiff(cell(30)))
        for number, name in enumerate(CLASSES):
            put(f"{name}/DDD/image_1.tif", tiff(cell(40 + number)))
        put("<img src=x onerror=alert(1)>/EEE/image_1.tif", tiff(cell(50)))
        with pytest.raises(DataError) as caught:
            validate.run(settings("NPM1", "RUNX1", min_patients=3))
        yield {"error": str(caught.value), "quarantine": quarantine(), "report": report(), "calls": calls}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_each_unusable_image_is_quarantined_for_its_reason(hostile, kind):
    assert UNUSABLE[kind][1] in hostile["quarantine"][f"control/AAA/{kind}.tif"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("control/AAA/image_10.tif", "same pixels as control/AAA/image_2.tif"),
        ("control/AAA/Thumbs.db", "not an image: left behind by a file browser"),
        ("control/AAA/notes.txt", "not an image: its name does not end in .tif, .tiff, .png, .jpg or .jpeg"),
        ("control/AAA/too/deep.tif", "lies outside <class>/<patient>/"),
        ("control/loose.tif", "lies outside <class>/<patient>/"),
        ("control/AAA/gone.tif", "a link that leads nowhere"),
        ("control/AAA/pipe.tif", "not a regular file"),
        ("control/AAA/caf\\xe9.tif", "its path is not UTF-8; rename it"),
    ],
)
def test_each_odd_file_is_quarantined_for_its_reason(hostile, path, reason):
    assert hostile["quarantine"][path] == reason


def test_nothing_else_is_quarantined(hostile):
    assert len(hostile["quarantine"]) == len(UNUSABLE) + 8


@pytest.mark.parametrize(
    ("name", "offenders"),
    [
        ("no_image_in_two_patients", ["NPM1/CCC/image_1.tif: control/AAA/image_3.tif"]),
        ("patient_in_one_class", ["DDD: NPM1, control"]),
        ("class_known", ["<img src=x onerror=alert(1)>"]),
        ("class_present", ["RUNX1: 0"]),
        ("enough_patients", ["NPM1: 2", "RUNX1: 0"]),
        ("enough_images", ["EEE: 1"]),
        ("file_in_patient_folder", ["control/AAA/too/deep.tif: not in <class>/<patient>/"]),
        ("file_name_unique", ["control/AAA/image_9.tif: control/AAA/Image_9.tif"]),
    ],
)
def test_each_broken_rule_names_its_offenders(hostile, name, offenders):
    found = next(rule for rule in hostile["report"]["rules"] if rule["name"] == name)
    assert not found["success"]
    assert found["advice"]
    assert set(offenders) <= set(found["offenders"])
    assert found["offenders_total"] >= len(offenders)


def test_the_run_ends_in_one_line_that_counts_names_and_points(hostile):
    assert r"\n" not in hostile["error"]
    assert hostile["error"].startswith("9 of 23 rules are broken, first no_image_in_two_patients (")
    assert hostile["error"].endswith("reports/validation/data_docs/index.html")


def test_the_page_stands_alone_and_takes_no_orders_from_file_names(hostile):
    page = Path("reports/validation/data_docs/index.html").read_text()
    states = {found["name"]: found["success"] or (found["stops"] and "FAIL") or "warn" for found in hostile["report"]["rules"]}
    assert page.count('class="state">FAIL') == 9 == list(states.values()).count("FAIL")
    assert [name for name, state in states.items() if state == "warn"] == [
        "no_look_alike_in_two_patients", "saved_without_loss", "colour_as_others", "sharpness_as_others"
    ]  # fmt: skip
    assert "NaN" not in re.sub(r"base64,[^\"]*", "", page)
    for sign in ("http:", "https:", "<script", "<link", "<img src=x", "url("):
        assert sign not in page
    assert page.count('src="') == page.count('<img src="data:image/png;base64,') > 0
    assert "<p>Cohort a small one: " in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_nothing_leaves_the_machine(hostile):
    assert hostile["calls"] == []


def test_a_broken_cohort_still_has_its_manifest(hostile):
    table = pd.read_parquet("data/manifest.parquet")
    assert list(table.columns) == list(manifest.DTYPES)
    usable = table[table["error"] == ""]
    assert (usable[["width", "height"]] == PX).all(axis=None)
    assert usable[list(manifest.NUMBERS)].notna().all(axis=None)
    assert table.loc[table["error"] != "", "path"].isin(list(hostile["quarantine"])).all()


def test_the_same_cohort_gives_the_same_bytes(here, monkeypatch):
    found = []
    for name in ("one", "two"):
        (here / name).mkdir()
        monkeypatch.chdir(here / name)
        sound_cohort(backwards=name == "two")
        validate.run(settings("NPM1"))
        found.append(outputs())
    assert found[0] == found[1]
    assert report()["success"]
    assert report()["classes"]["NPM1"] == {"patients": 3, "images": 12, "patients_delivered": 3, "files": 12, "quarantined": 0}
    table = pd.read_parquet("data/manifest.parquet")
    assert [Path(path).stem for path in table["path"][:4]] == ["image_1", "image_2", "image_10", "image_11"]
    assert not list(Path().rglob("*.unfinished"))


def test_what_a_person_excludes_is_out_and_does_not_count_as_damage(here):
    sound_cohort()
    put("NPM1/NAA/image_1.tif", b"")
    put("control/NAA/image_1.tif", tiff(cell(70)))
    Path("data/exclude.csv").write_text(
        'patient,path,reason\nNAA,,consent withdrawn\n\nCAB,control/CAB/image_2.tif,"smudged, twice"\n'
    )
    validate.run(settings("NPM1"))
    assert quarantine() == {
        **{f"NPM1/NAA/image_{n}.tif": "excluded: consent withdrawn" for n in (1, 2, 10, 11)},
        "control/CAB/image_2.tif": "excluded: smudged, twice",
        "control/NAA/image_1.tif": "excluded: consent withdrawn",
    }
    table = pd.read_parquet("data/manifest.parquet").set_index("path")
    assert table.loc["control/CAB/image_2.tif", "error"] == "excluded: smudged, twice"
    assert table.loc["control/CAB/image_2.tif", "phash"]


def test_an_image_of_another_patient_is_out_by_review_and_one_that_is_no_blast_stays(here):
    sound_cohort()
    header = "path,patient,decision,reviewer,date\n"
    said = {"control/CAB/image_2.tif": "wrong patient", "control/CAB/image_1.tif": "artefact"}
    rows = [f"{path},CAB,{decision},Dr A,2026-01-31\n" for path, decision in said.items()]
    Path("data/review.csv").write_text(header + "".join(rows))
    validate.run(settings("NPM1"))
    assert quarantine() == {"control/CAB/image_2.tif": "excluded: wrong patient, by data/review.csv"}
    Path("data/review.csv").write_text(f"{header}NPM1/ZZZ/image_1.tif,ZZZ,keep,Dr A,2026-01-31\n")
    with pytest.raises(DataError, match=r"data/review\.csv line 2: there is no image 'NPM1/ZZZ/image_1\.tif'"):
        validate.run(settings("NPM1"))


def test_a_cohort_of_png_is_as_good_and_one_of_jpeg_is_a_warning(here):
    sound_cohort()
    for number, file in enumerate(sorted(Path("data/raw").rglob("*.tif"))):
        pixels = Image.open(file).copy()
        file.unlink()
        form = "JPEG" if number < 3 else "PNG"
        pixels.save(file.with_suffix({"JPEG": ".jpeg", "PNG": ".PNG"}[form]), form)
    put("NPM1/NAA/image_30.tif", test_decoding.png(Image.fromarray(cell(300))))  # a PNG by its content, whatever it is called
    validate.run(settings("NPM1"))
    table = pd.read_parquet("data/manifest.parquet")
    assert (table["error"] == "").all()
    assert table["format"].value_counts().to_dict() == {"PNG": 22, "JPEG": 3}
    assert rule("saved_without_loss")["offenders_total"] == 3
    assert report()["success"]


def test_the_commonest_cause_of_too_much_quarantine_stands_in_the_error(here):
    sound_cohort()
    for number in range(5):
        put(f"NPM1/NAA/image_{20 + number}.tif", UNUSABLE["L"][0])
    put("NPM1/NAA/image_40.tif", b"")
    with pytest.raises(DataError) as caught:
        validate.run(settings("NPM1"))
    assert "of 6 unusable files 5 are of one kind, first NPM1/NAA/image_20.tif: no 8-bit colour: mode L (grey)" in str(
        caught.value
    )


def test_what_a_tiff_says_of_a_patient_goes_no_further(here):
    sound_cohort()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[315] = "DOE^JANE 1950-01-02", "ward 7, DOE"  # ImageDescription, Artist
    buffer = io.BytesIO()
    Image.fromarray(cell(77)).save(buffer, "TIFF", tiffinfo=tags)
    put("NPM1/NAA/image_20.tif", buffer.getvalue())
    validate.run(settings("NPM1"))
    made = [
        path for folder in ("data", "reports") for path in Path(folder).rglob("*") if path.is_file() and "raw" not in path.parts
    ]
    assert len(made) >= 5
    assert not [path for path in made if b"DOE" in path.read_bytes()]


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("patient,reason\n", r"data/exclude.csv line 1: must be patient,path,reason"),
        ("", r"data/exclude.csv line 1: must be patient,path,reason"),
        ("patient,path,reason\nZZZ,,gone\n", r"data/exclude.csv line 2: there is no patient 'ZZZ'"),
        ("patient,path,reason\nAAA,,\n", r"data/exclude.csv line 2: has no reason; write why AAA is excluded"),
        ("patient,path,reason\n\nAAA,,blurred, dark\n", r"data/exclude.csv line 3: has 4 columns"),
        ("patient,path,reason\nAAA,image_1.tif,x\n", r"line 2: patient AAA has no file 'image_1.tif'"),
        ('patient,path,reason\nAAA,,"x\n', r"data/exclude.csv: not a CSV table"),
        ("patient,path,reason\nAAA,,\xff\n", r"data/exclude.csv: not a CSV table"),
    ],
)
def test_a_wrong_line_of_exclude_csv_is_named(here, table, complaint):
    put("control/AAA/image_1.tif", tiff(cell()))
    Path("data/exclude.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(DataError, match=complaint):
        validate.run(settings("NPM1"))
    assert not Path("data/manifest.parquet").exists()


@pytest.mark.parametrize("name", ["exclude", "review"])
def test_a_table_that_a_link_should_lead_to_is_missed(here, name):
    put("control/AAA/image_1.tif", tiff(cell()))
    Path(f"data/{name}.csv").symlink_to("gone.csv")
    with pytest.raises(DataError, match=rf"data/{name}\.csv: not a CSV table \(.*No such file"):
        validate.run(settings("NPM1"))


def test_a_table_saved_under_another_name_is_said_to_count_for_nothing(here, capsys):
    put("control/AAA/image_1.tif", tiff(cell()))
    for name in ("exclude.csv.txt", "Exclude.xlsx", "review.csv.txt"):
        Path(f"data/{name}").write_text("patient,path,reason\nAAA,,x\n")
    Path("data/exclude.csv").write_text("patient,path,reason\nZZZ,,x\n")
    with pytest.raises(DataError, match="there is no patient 'ZZZ'"):
        validate.run(settings("NPM1"))
    Path("data/exclude.csv").write_text("patient,path,reason\n")
    Path("data/review.csv").write_text("x")
    with pytest.raises(DataError, match=r"data/review\.csv line 1"):
        validate.run(settings("NPM1"))
    warned = [line.split(":")[1].strip() for line in capsys.readouterr().err.splitlines()]
    assert warned == ["data/Exclude.xlsx", "data/exclude.csv.txt", "data/review.csv.txt"] * 2


def test_nothing_to_validate_is_said(here):
    with pytest.raises(DataError, match="data/raw: not found; run `dvc repro`"):
        validate.run(settings("NPM1"))
    Path("data/raw/control").mkdir(parents=True)
    with pytest.raises(DataError, match="data/raw: holds no files; run `dvc repro`"):
        validate.run(settings("NPM1"))


def test_a_folder_that_links_to_itself_is_said(here):
    put("control/AAA/image_1.tif", tiff(cell()))
    Path("data/raw/control/AAA/again").symlink_to("..")
    with pytest.raises(DataError, match=r"AAA/again: is a link to a folder above itself"):
        validate.run(settings("NPM1"))


def test_a_linked_folder_is_read(here):
    sound_cohort()
    Path("data/raw/control").rename("elsewhere")
    Path("data/raw/control").symlink_to(Path("elsewhere").resolve())
    validate.run(settings("NPM1"))
