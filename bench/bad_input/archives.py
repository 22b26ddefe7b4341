"""Archives of a cohort, damaged, with members that are no images or lie elsewhere; and what came of those that are accepted."""

from __future__ import annotations

import io
import os
import random
import re
import struct
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pandas as pd
from test_decoding import cell, tiff

from bench.bad_input import damage, odd_values
from bench.bad_input.guarded import Kind
from bench.bad_input.made_up import IMAGES, settings
from pipeline.stages import ingest

_NAMES = (
    *("../outside.tif", "/tmp/outside-of-it.tif", "a/../../outside.tif", "C:\\outside.tif", "control\\AAA\\x.tif"),
    *("control/AAA/./x.tif", "control//x.tif", "control/AAA/\0x.tif", "control/AAA/" + "x" * 300 + ".tif"),
    *("control/" + "a/" * 600 + "x.tif", "", ".", "..", "control/AAA", "control/AAA/", "CONTROL/aaa/image_0.tif"),
    *("control/AAA/IMAGE_0.TIF", "control/\u202eA/x.tif", "~/x.tif", "NPM1", "control/AAA/image_0.tif/x.tif"),
    *("control/e\u0301/x.tif", "control/\u00e9/x.tif", "control/AAA/con.tif", "metadata.csv", "-rf"),
)


@cache
def _originals() -> dict[str, bytes]:
    return {path: tiff(cell(number)) for number, path in enumerate(IMAGES[:9] + IMAGES[12:21])}


def make(rng: random.Random, folder: Path) -> str:
    """cohort.zip."""
    way = rng.choice(
        (
            "bytes",
            "bytes",
            "directory",
            "name",
            "name",
            "twice",
            "link",
            "folder",
            "bomb",
            "nested",
            "method",
            "other",
            "beside",
        )
    )
    kept = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(kept, "w", method) as archive:
        for path, data in _originals().items():
            archive.writestr(path, data)
        extra = zipfile.ZipInfo("control/AAA/extra.tif")
        match way:
            case "name":
                extra.filename = rng.choice(_NAMES) if rng.random() < 0.7 else f"control/AAA/{odd_values.odd_text(rng)[:500]}"
            case "twice":
                extra.filename = rng.choice(list(_originals()))
            case "link":
                extra.external_attr = rng.choice((0o120777, 0o060600, 0o010600, 0o140600, 0o104755)) << 16
            case "folder":  # by its attributes alone, of Unix or of DOS
                extra.filename, extra.external_attr = "control/GGG", rng.choice((0o040755 << 16, 0x10))
            case "bomb":
                with suppress(Exception):
                    archive.writestr("control/AAA/bomb.tif", bytes(rng.choice((10, 70, 120)) << 20), zipfile.ZIP_DEFLATED)
            case "beside":
                extra.filename = rng.choice(("metadata.csv", "control/metadata.csv", "notes.txt"))
        if way in ("name", "twice", "link", "folder", "beside"):
            with suppress(UnicodeEncodeError, ValueError):
                archive.writestr(extra, rng.choice((b"", b"/etc/passwd", *_originals().values())))
    data = kept.getvalue()
    match way:
        case "bytes":
            data = damage.bytes_of(rng, data)[1]
        case "directory":  # the records of the table of contents: flags, method, times, checksum, sizes, lengths, offsets
            changed = bytearray(data)
            starts = [found.start() for found in re.finditer(rb"PK(?:\x01\x02|\x05\x06|\x03\x04)", data)]
            for _ in range(rng.choice((1, 1, 3))):
                at = rng.choice(starts) + rng.randrange(4, 46)
                struct.pack_into(
                    "<H",
                    changed,
                    min(at, len(changed) - 2),
                    rng.choice((0, 1, 8, 9, 14, 99, 0xFFFF, 0x7FFF, rng.randrange(65536))),
                )
            data = bytes(changed)
        case "nested":
            inner = io.BytesIO()
            with zipfile.ZipFile(inner, "w") as archive:
                archive.writestr("cohort.zip", data)
            data = inner.getvalue()
        case "method":
            data = (
                rng.randbytes(rng.choice((1, 30, 5000))) + data
                if rng.random() < 0.5
                else data + rng.randbytes(rng.choice((1, 30, 70000)))
            )
        case "other":
            data = rng.choice(
                (
                    b"\x1f\x8b",
                    b"BZh9",
                    b"7z\xbc\xaf\x27\x1c",
                    b"Rar!\x1a\x07\0",
                    b"\x28\xb5\x2f\xfd",
                    b"<html>",
                    b"PK\5\6" + bytes(18),
                    b"",
                )
            ) + rng.randbytes(rng.choice((0, 300)))
    (folder / "cohort.zip").write_bytes(data)
    return way


def _read_archive(folder: Path) -> None:
    os.environ["COHORT_DIR"] = "cohort.zip"
    ingest.run(settings())


def _wrong_archive(folder: Path, _: object) -> str:
    """An original that the archive lists came to its place, byte for byte, or is told as not copied; what else came is one."""
    known, raw = _originals(), folder / "data/raw"
    came = {file.relative_to(raw).as_posix(): file for file in raw.rglob("*") if file.is_file() or file.is_symlink()}
    for place, file in came.items():
        if file.is_symlink():
            return f"{place} is a link"
        if file.read_bytes() not in ({known[place]} if place in known else {b"", b"/etc/passwd", *known.values()}):
            return f"{place} is no original, or another one"
    missing = set(pd.read_csv(folder / "data/not_copied.csv")["path"])
    with zipfile.ZipFile(folder / "cohort.zip") as archive:
        lost = [name for name in archive.namelist() if name in known and name not in missing and name not in came]
    return f"{lost[:3]} of the archive did not come" if lost else ""


def kinds() -> Iterable[Kind]:
    """The one of this module."""
    named = ("cohort.zip", "data/raw", "data/not_copied.csv", "metadata", "NPM1/", "control/")
    yield Kind("archive", make, _read_archive, _wrong_archive, named)
