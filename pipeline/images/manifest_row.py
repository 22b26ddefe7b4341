"""One file of data/raw as a row of the manifest: what can be told of it alone, without the cohort."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.common import paths
from pipeline.images import decoding, manifest, reading
from pipeline.names import image_paths, leftovers


def row(file: Path, image_px: int) -> dict[str, object]:
    """Its row; `error` says why it is unusable."""
    path, fault = relative(file)
    found = empty_row(path, fault)
    data, found["sha256"], unreadable = reading.read(file)
    found["error"] = fault = fault or _name_fault(path) or unreadable
    if fault:
        return found
    return found | what_is_seen(data, image_px)


def what_is_seen(data: bytes, image_px: int | None) -> dict[str, object]:
    """The columns that an image file's bytes alone decide; with `image_px`, an image of another size is an `error`."""
    seen = decoding.inspect(data, image_px)
    told: dict[str, object] = {"width": seen.width, "height": seen.height, "mode": seen.mode, "format": seen.format}
    told["error"] = seen.reason
    if seen.pixels is not None:
        numbers = decoding.statistics(seen.pixels)
        told |= {"pixels_sha256": numbers.sha256, "phash": numbers.phash}
        told |= dict(zip(manifest.NUMBERS, (*numbers.mean, *numbers.std, numbers.sharpness), strict=True))
    return told


def _name_fault(path: str) -> str:
    """What is unfinished beside what it would become is nobody's loss."""
    stand_in = leftovers.stand_in(path)
    return image_paths.LITTER_REASON if stand_in and (paths.RAW / stand_in.image).is_file() else image_paths.name_fault(path)


def empty_row(path: str, error: str) -> dict[str, object]:
    """The row of a file of which nothing but the path is known."""
    class_name, patient, _ = image_paths.place(path) if not leftovers.litter(path) else ("", "", "")
    found: dict[str, object] = dict.fromkeys(manifest.DTYPES, "")
    found |= dict.fromkeys(manifest.NUMBERS, float("nan"))
    return found | {"path": path, "class": class_name, "patient": patient, "width": 0, "height": 0, "error": error}


def not_copied(path: str, reason: str) -> dict[str, object]:
    """The row of a file that ingest could not have."""
    return empty_row(path, reason if reason.startswith(leftovers.NOT_THERE) else f"not copied: {reason}")


def relative(file: Path) -> tuple[str, str]:
    """Path below data/raw as text that every table can hold, and what is wrong with it."""
    path = file.relative_to(paths.RAW).as_posix()
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode(errors="backslashreplace"), "its path is not UTF-8; rename it"
    return path, ""
