"""With `ingest.pseudonyms` nothing that ingest and the stages after it write or say holds a patient's own name."""

from __future__ import annotations

import io
import os
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from bench import image_writing
from infra import keys
from pipeline.cohort import pseudonyms
from pipeline.cohort.trees import NotCopied
from pipeline.common import config
from pipeline.common.errors import ConfigError, DataError, PipelineError
from pipeline.stages import deal, ingest, pack, source, split, validate

Settings = Callable[[dict[str, Any]], config.Config]
PX = 24
NETWORK = {"first_conv": 8, "conv": [8], "dense": [], "learning_rate": 0.001}
KEYED = {
    "ingest.source": "folder",
    "ingest.pseudonyms": True,
    "image_px": PX,
    "subtypes": ["NPM1"],
    "candidates.published.networks": {"NPM1": NETWORK},
    "pack.px": 16,
    "split.n_folds": 3,
    "validate.min_images_per_patient": 2,
    "validate.min_patients_per_class": 3,
    "validate.max_quarantined_share": 0.5,
}
PEOPLE = {"control": ["Maier-Ann", "KRX", "0071234"], "NPM1": ["Özil Bo", "WLT", "QZY"]}
OWN = [name for names in PEOPLE.values() for name in names]


def picture(seed: int, **tags: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (PX, PX, 3), dtype=np.uint8)
    description = {"tiffinfo": {270: tags["description"]}} if tags else {}
    Image.fromarray(pixels).save(buffer, "TIFF", **description)
    return buffer.getvalue()


@pytest.fixture
def cohort(here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Originals with names where they should not be; the key outside the working folder."""
    root = tmp_path_factory.mktemp("originals")
    seed = 0
    for class_name, people in PEOPLE.items():
        for patient in people:
            (root / class_name / patient).mkdir(parents=True)
            for number in (1, 2, 10):
                seed += 1
                (root / class_name / patient / f"image_{number}.tif").write_bytes(picture(seed))
    wlt = root / "NPM1" / "WLT"
    (wlt / "WLT smear of 3 May.tif").write_bytes(picture(100))
    (wlt / "tagged.tif").write_bytes(picture(101, description="smear of wlt, bed 7"))
    (wlt / "report WLT.txt").write_text("WLT was seen on Monday")
    (wlt / "broken WLT.tif").write_bytes(b"II*\0 and no more")
    (wlt / "gone.tif").symlink_to("nowhere.tif")
    rows = "".join(f"{patient},{30 + number}\n" for number, patient in enumerate([*OWN, "Absent"]))
    (root / "metadata.csv").write_text(f"patient_id,age\n{rows}", encoding="utf-8")
    safe = tmp_path_factory.mktemp("safe")
    keys.write_private(safe / "key", "a" * 64)
    monkeypatch.setenv("COHORT_DIR", str(root))
    monkeypatch.setenv("PSEUDONYMS_DIR", str(safe))
    return safe


def traces(folder: Path, said: str) -> list[str]:
    """Where a name is found: in what was said, in a file's path, or in its bytes (parquet is read: it is packed)."""
    needles = [own.encode() for own in OWN] + [b"Absent", b"wlt"]
    found = [f"said {needle.decode()}" for needle in needles if needle.lower() in said.lower().encode()]
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".parquet":
            content += pd.read_parquet(path).to_csv().encode()
        for needle in needles:
            if needle in os.fsencode(path.relative_to(folder)):
                found.append(f"{path} is named {needle.decode()}")
            if needle in content and (
                len(needle) > 3 or path.suffix in (".csv", ".json", ".html")
            ):  # three bytes come by chance
                found.append(f"{path} holds {needle.decode()}")
    return found


def test_no_name_is_left_in_any_file_or_word(
    cohort: Path, here: Path, params: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = params(KEYED)
    for stage in (ingest, validate, deal, split, pack):
        stage.run(settings)
    assert source.run(settings, take=False) == 0
    said = "".join(capsys.readouterr())
    assert "ingest: 20 files" in said
    assert traces(here, said) == []
    table = pd.read_csv(cohort / "table.csv", dtype="str").set_index("name")["pseudonym"]
    assert set(OWN) | {"Absent", "WLT smear of 3 May.tif"} <= set(table.index)
    assert (cohort / "table.csv").stat().st_mode & 0o077 == 0
    known = pd.read_csv("data/patients.csv", dtype="str").set_index("patient")
    assert known.loc[table["Maier-Ann"], "age"] == "30"
    reasons = pd.read_csv("reports/validation/quarantine.csv").set_index("path")["reason"]
    assert set(reasons[reasons.str.startswith("not copied")]) == {
        "not copied: a link that leads nowhere",
        "not copied: its tags name the patient, and ingest.pseudonyms is on; remove them",
        "not copied: not an image, and ingest.pseudonyms is on",
    }
    assert len(reasons) == 4  # and what is broken
    kept = {path.name for path in Path("data/raw/NPM1", table["WLT"]).iterdir()}
    assert {"image_1.tif", "image_2.tif", "image_10.tif", f"{table['WLT smear of 3 May.tif']}.tif"} <= kept


def test_the_bytes_of_an_image_stay_and_the_same_patient_has_the_same_pseudonym_again(
    cohort: Path, here: Path, params: Settings
) -> None:
    settings = params(KEYED)
    ingest.run(settings)
    first = {path.relative_to("data/raw"): path.read_bytes() for path in Path("data/raw").rglob("*.tif")}
    originals = {path.read_bytes() for path in Path(os.environ["COHORT_DIR"]).rglob("*.tif") if path.is_file()}
    assert set(first.values()) <= originals
    (cohort / "table.csv").unlink()
    ingest.run(settings)
    assert {path.relative_to("data/raw"): path.read_bytes() for path in Path("data/raw").rglob("*.tif")} == first
    assert source.run(settings, take=False) == 0
    (cohort / "key").write_text("b" * 64)
    assert source.run(settings, take=False) == source.NEW
    ingest.run(settings)
    again = {path.relative_to("data/raw") for path in Path("data/raw").rglob("*.tif")}
    assert not {path.parts[1] for path in again} & {path.parts[1] for path in first if len(path.parts) == 3}


def saved(pages: int = 1, **options: Any) -> bytes:
    buffer = io.BytesIO()
    first, *more = [Image.new("RGB", (PX, PX), (page, 0, 0)) for page in range(pages)]
    first.save(buffer, "TIFF", append_images=more, save_all=pages > 1, **options)
    return buffer.getvalue()


def comment(own: str) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"UNICODE\0" + own.encode("utf-16-be")
    exif[ExifTags.IFD.Exif] = 0  # Pillow puts the folder's place here
    return exif


def second_page(own: str) -> bytes:
    """A tag of the second page only."""
    described = saved(2, tiffinfo={270: own.encode("latin-1")})
    at = described.index(own.encode("latin-1"))
    return described[:at] + b"x" * len(own) + described[at + len(own) :]


def behind_the_pixels(file: bytes) -> bytes:
    """A PNG whose second chunk comes behind the third."""
    second = slice(33, 45 + int.from_bytes(file[33:37]))
    third = slice(second.stop, second.stop + 12 + int.from_bytes(file[second.stop : second.stop + 4]))
    return file[:33] + file[third] + file[second] + file[third.stop :]


def with_segment(file: bytes, content: bytes) -> bytes:
    return file[:2] + b"\xff\xed" + (len(content) + 2).to_bytes(2) + content + file[2:]


PICTURE = image_writing.picture()
TAGGED: dict[str, Callable[[str], bytes]] = {
    "Latin-1": lambda own: saved(tiffinfo={270: f"seen: {own}.".encode("latin-1")}),
    "UTF-8": lambda own: saved(tiffinfo={270: f"seen: {own}.".encode()}),
    "Windows": lambda own: saved(tiffinfo={0x9C9C: f"seen: {own}.".encode("utf-16-le")}),
    "decomposed": lambda own: saved(tiffinfo={270: unicodedata.normalize("NFD", own).encode()}),
    "comment": lambda own: saved(exif=comment(own)),
    "second page": second_page,
    "broken": lambda own: saved(tiffinfo={270: own.encode()})[:-40],
    "PNG": lambda own: image_writing.png(PICTURE, (b"tEXt", b"Comment\0" + own.encode("latin-1"))),
    "PNG, compressed": lambda own: image_writing.png(PICTURE, (b"zTXt", b"Comment\0\0" + zlib.compress(own.encode("latin-1")))),
    "PNG, private": lambda own: image_writing.png(PICTURE, (b"paTn", own.encode())),
    "PNG, behind the pixels": lambda own: behind_the_pixels(image_writing.png(PICTURE, (b"tEXt", b"Name\0" + own.encode()))),
    "PNG, behind the end": lambda own: image_writing.png(PICTURE) + own.encode(),
    "JPEG": lambda own: image_writing.jpeg(PICTURE, comment=own.encode()),
    "JPEG, Photoshop": lambda own: with_segment(image_writing.jpeg(PICTURE), b"Photoshop 3.0\0" + own.encode()),
    "JPEG, behind the end": lambda own: image_writing.jpeg(PICTURE) + own.encode(),
}


@pytest.mark.parametrize("kind", TAGGED)
@pytest.mark.parametrize("place", ["Özil Bo/image_1.tif", "image_1.tif"])
def test_a_name_is_found_in_a_tag_however_it_was_written(cohort: Path, params: Settings, kind: str, place: str) -> None:
    names = pseudonyms.of(params(KEYED))
    for own in OWN:
        names.patient(own)
    with pytest.raises(NotCopied, match="its tags name the patient"):
        list(names.checked(place, iter([TAGGED[kind]("Özil Bo")])))
    harmless = TAGGED[kind]("Ozil Bö")
    assert list(names.checked(place, iter([harmless]))) == [harmless]


@pytest.mark.parametrize(
    ("below", "stays"),
    [
        ("0071234/image_0071234.tif", False),
        ("0071234/image_71234.tif", False),
        ("0071234/image_007123402.tif", False),
        ("0071234/image_12.tif", True),
        ("0071234/image_2.tif", True),
        ("Ward 7 bed 12/image_712.tif", False),
        ("Ward 7 bed 12/image_12.tif", False),
        ("Ward 7 bed 12/image_1.tif", True),
        ("KRX/image_0.tif", True),
        ("KRX/more/image_71234.tif", True),
        ("image_0071234.tif", False),
        ("image_5.tif", True),
    ],
)
def test_a_number_that_is_the_patients_is_no_name_of_an_image(cohort: Path, params: Settings, below: str, stays: bool) -> None:
    names = pseudonyms.of(params(KEYED))
    names.patient("0071234")
    assert names.path(below).endswith(below.rpartition("/")[2]) == stays


@pytest.mark.parametrize("strange", ["archive", "folders", "header"])
def test_what_goes_wrong_before_patients_are_known_names_nobody(
    cohort: Path, params: Settings, strange: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(os.environ["COHORT_DIR"])
    if strange == "archive":
        monkeypatch.setenv("COHORT_DIR", str(root / "cohort.zip"))
        with zipfile.ZipFile(root / "cohort.zip", "w") as file:
            file.writestr("NPM1/WLT/../WLT.tif", "x")
    elif strange == "folders":
        (root / "WLT").mkdir()
        ingest.run(params(KEYED))
        (root / "NPM1").rename(root / "Özil Bo")
    else:
        (root / "metadata.csv").write_text("WLT,1\nKRX,2\n")
    with pytest.raises(PipelineError) as caught:
        ingest.run(params(KEYED))
    said = str(caught.value) + capsys.readouterr().err
    assert not any(own in said for own in OWN), said


@pytest.mark.parametrize("broken", ["a link in WLT", "metadata", "two of one name"])
def test_an_error_does_not_tell_a_name_either(cohort: Path, params: Settings, broken: str) -> None:
    root = Path(os.environ["COHORT_DIR"])
    if broken == "metadata":
        (root / "metadata.csv").write_text("patient_id,age\nWLT,412\n")
    elif broken == "two of one name":
        (root / "metadata.csv").write_text("patient_id,age\nWLT,41\nWLT,42\n")
    else:
        (root / "NPM1" / "WLT" / "more").symlink_to(root / "control" / "KRX")
    with pytest.raises(PipelineError) as caught:
        ingest.run(params(KEYED))
    assert "P" in str(caught.value)
    assert not any(own in str(caught.value) for own in OWN)
    assert not Path("data/raw").exists()


def test_exclusions_name_pseudonyms(cohort: Path, params: Settings) -> None:
    settings = params({**KEYED, "validate.min_patients_per_class": 2})
    ingest.run(settings)
    table = pd.read_csv(cohort / "table.csv", dtype="str").set_index("name")["pseudonym"]
    Path("data/exclude.csv").write_text("patient,path,reason\nKRX,,too thick\n")
    with pytest.raises(DataError, match=r"line 2: fits no file") as caught:
        validate.run(settings)
    assert "KRX" not in str(caught.value)
    Path("data/exclude.csv").write_text(f"patient,path,reason\n{table['KRX']},,too thick\n")
    validate.run(settings)
    frame = pd.read_parquet("data/manifest.parquet")
    assert set(frame.loc[frame["patient"] == table["KRX"], "error"]) == {"excluded: too thick"}


def test_where_the_key_lies_is_checked(cohort: Path, here: Path, params: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = params(KEYED)
    (cohort / "key").write_text("short")
    with pytest.raises(ConfigError, match="fewer than 32 characters"):
        pseudonyms.of(settings)
    (cohort / "key").chmod(0o640)
    with pytest.raises(ConfigError, match=r"key is open to other accounts.*chmod 600"):
        pseudonyms.of(settings)
    (cohort / "key").unlink()
    with pytest.raises(ConfigError, match=r"key is not there.*openssl rand"):
        pseudonyms.of(settings)
    (here / "inside").mkdir()
    places = {"": "is not set", str(here / "inside"): "lies in this repository", str(cohort / "no"): "is not a folder"}
    for named, expected in places.items():
        monkeypatch.setenv("PSEUDONYMS_DIR", named)
        with pytest.raises(ConfigError, match=expected):
            pseudonyms.of(settings)


def test_without_the_option_names_stay(cohort: Path, params: Settings) -> None:
    ingest.run(params({**KEYED, "ingest.pseudonyms": False}))
    assert Path("data/raw/NPM1/WLT/tagged.tif").is_file()
    assert set(OWN) <= set(pd.read_csv("data/patients.csv", dtype="str")["patient"])
