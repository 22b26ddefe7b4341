"""Another hospital's cohort as `external` reads it, damaged; and what the file system, or zipfile, holds of it.

A case is a folder or an archive of class folders, and the text of `--classes` that says which is which.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from test_decoding import cell, tiff

from bench.bad_input import damage, odd_values
from bench.bad_input.csv_cells import csv_text
from bench.bad_input.guarded import Kind
from bench.bad_input.made_up import settings
from pipeline.cohort import labelled_patients
from pipeline.cohort import patients as listed
from pipeline.images import manifest, reading
from pipeline.registry import trained_files
from pipeline.scoring import admission
from pipeline.scoring import manifest as scoring_manifest

_CLASSES = "healthy=control, AML_NPM1=NPM1, KMT2A="
_PEOPLE = {"healthy": ("HA", "HB", "HC"), "AML_NPM1": ("NA", "NB"), "KMT2A": ("KA",)}
_METADATA = [
    ["patient", "sex", "age"],
    *[[who, "mf"[n % 2], str(40 + n)] for n, who in enumerate(who for people in _PEOPLE.values() for who in people)],
]
_PAIRS = (
    *("", ",", "=", "=control", "healthy=", "healthy=control", "HEALTHY=control", "../ward=control", " healthy = control "),
    *("healthy=control,AML_NPM1=NPM1", "healthy=NPM1,AML_NPM1=control", "healthy=control,healthy=NPM1"),
    *("healthy==control,AML_NPM1=NPM1", "healthy=control;AML_NPM1=NPM1", "healthy/HA=control,AML_NPM1=NPM1"),
    "healthy=control,AML_NPM1=NPM1,KMT2A=control",
)


@cache
def _images() -> list[bytes]:
    return [tiff(cell(number)) for number in range(12)]


def _make(rng: random.Random, folder: Path) -> str:
    ward, classes = folder / "ward", _CLASSES
    way = rng.choice(
        ("classes", "classes", "folder", "folder", "patient", "image", "bytes", "gone", "twice", "link", "metadata", "deep")
    )
    base = ward / "data" if way == "deep" and rng.random() < 0.5 else ward
    number = 0
    for name, people in _PEOPLE.items():
        for who in people:
            (base / name / who).mkdir(parents=True)
            for at in range(2):
                (base / name / who / f"image_{at}.tif").write_bytes(_images()[number])
                number += 1
    table = csv_text(_METADATA).encode()
    places = [path for path in sorted(base.rglob("*")) if path.is_dir()]
    files = sorted(base.rglob("*.tif"))
    match way:
        case "classes":
            ways = (rng.choice(_PAIRS), odd_values.odd_text(rng), damage.text_of(rng, _CLASSES)[1].decode("utf-8", "replace"))
            classes = rng.choice(ways).replace("\0", "")[:5000]
        case "folder" | "patient":
            level = 1 if way == "folder" else 2
            place = rng.choice([one for one in places if len(one.relative_to(base).parts) == level])
            new = rng.choice(
                (odd_values.odd_text(rng), place.name.lower(), f" {place.name}", "HA", "control", "NPM1", "__MACOSX")
            )
            _rename(place, new)
        case "image":
            _rename(
                rng.choice(files), rng.choice((odd_values.odd_text(rng), "IMAGE_1.TIF", "image_0.png", "._image_0.tif", "x"))
            )
        case "bytes":
            for file in rng.sample(files, rng.choice((1, 1, 12))):
                file.write_bytes(damage.bytes_of(rng, file.read_bytes())[1])
        case "gone":
            place = rng.choice([*places, ward])
            shutil.rmtree(place)
            rng.choice((place.touch, place.mkdir, lambda: None))()
        case "twice":
            place = rng.choice([one for one in places if len(one.relative_to(base).parts) == 2])
            other = base / rng.choice(sorted(_PEOPLE)) / rng.choice((place.name, place.name.lower(), "new"))
            if other != place:
                shutil.copytree(place, other)
        case "link":
            place = rng.choice([*places, *files])
            shutil.rmtree(place) if place.is_dir() else place.unlink()
            place.symlink_to(rng.choice(("/etc/passwd", "/nowhere", ".", "..", str(files[0]), str(base / "healthy" / "HA"))))
        case "metadata":
            table = damage.table_of(rng, _METADATA)[1]
        case _:
            (base / "healthy" / "HA" / "more" / "deep").mkdir(parents=True)
            shutil.copy(files[0], base / "healthy" / "HA" / "more" / "deep" / "image_7.tif")
    if base.is_dir():
        (base / "metadata.csv").write_bytes(table)
    if rng.random() < 0.25 and ward.is_dir() and way != "link":
        _pack(ward)
    (folder / "classes").write_text(classes, encoding="utf-8", errors="surrogatepass", newline="")
    return way


def _rename(place: Path, name: str) -> None:
    """Where the file system takes such a name."""
    try:
        place.rename(place.with_name(name))
    except (OSError, ValueError):
        place.rename(place.with_name("other"))


def _pack(ward: Path) -> None:
    try:
        with zipfile.ZipFile(ward.with_suffix(".zip"), "w") as archive:
            for path in sorted(ward.rglob("*")):
                archive.write(path, path.relative_to(ward).as_posix())
    except (ValueError, UnicodeError):  # a name that no archive can hold
        ward.with_suffix(".zip").unlink()
        return
    shutil.rmtree(ward)


def _read(folder: Path) -> Any:
    place = Path("ward.zip") if Path("ward.zip").exists() else Path("ward")
    mapping = labelled_patients.pairs(_classes(folder))
    source = labelled_patients.opened(place, settings().ingest.archive)
    delivered = labelled_patients.find(source, mapping, ("control", "NPM1"))
    with tempfile.TemporaryDirectory() as unpacked:
        patients = labelled_patients.fetched(source, delivered, Path(unpacked))
        frame = scoring_manifest.of(patients, delivered.class_of)
    admission.require_usable(frame, 0.3, place)
    images = manifest.usable(frame)
    trained_files.keys(images)
    of = images["patient"].drop_duplicates()
    listed.table(zip(of.map(delivered.class_of), of, strict=True), delivered.metadata)
    return frame


def _classes(folder: Path) -> str:
    return (folder / "classes").read_bytes().decode("utf-8", "surrogatepass")


def _wrong(folder: Path, frame: Any) -> str:
    """Every image file of a class that is not left out is there once, under the class that was said; and no other is."""
    pairs = [pair.split("=", 1) for pair in _classes(folder).split(",") if pair.strip()]
    named = {one.strip(): other.strip() for one, other in pairs}
    if Path("ward.zip").exists():
        with zipfile.ZipFile("ward.zip") as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    else:
        found = os.walk("ward", followlinks=True) if not _has_links() else ()
        names = [os.path.relpath(os.path.join(at, name), "ward") for at, _, files in found for name in files]  # noqa: PTH118
        if not names:
            return ""  # links are judged by what is written
    parts = [PurePosixPath(name).parts for name in names]
    depth = 4 if all(one[0] == "data" for one in parts) else 3
    own = [one[-3:] for one in parts if len(one) == depth and _is_image(one)]
    expected = sorted(
        "/".join(map(reading.shown, (named.get(reading.shown(top), reading.shown(top)), who, name)))
        for top, who, name in own
        if named.get(reading.shown(top), top)
    )
    return "" if sorted(frame["path"]) == expected else f"{sorted(set(frame['path']) ^ set(expected))[:3]!r:.300}"


def _has_links() -> bool:
    return any(path.is_symlink() for path in Path("ward").rglob("*"))


def _is_image(parts: tuple[str, ...]) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return parts[-1].lower().endswith((".tif", ".tiff", ".png", ".jpg", ".jpeg")) and not hidden


def kinds() -> Iterable[Kind]:
    """The one of this module."""
    yield Kind("another hospital", _make, _read, _wrong, ("ward", "--classes", "metadata", "patient"))
