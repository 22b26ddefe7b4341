"""One image file of a new patient: why it does not count, or its pixels in the sides that models look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.images import decoding, manifest, reading
from pipeline.names import image_paths


@dataclass(frozen=True)
class Seen:
    """A file that was looked at: why it is left out ("" if it counts), what it looks like, and its pixels by their side."""

    image: str
    reason: str
    side_px: int = 0
    numbers: Mapping[str, float] | None = None
    sha256: str = ""
    resized: Mapping[int, decoding.Pixels] | None = None


def look(named: tuple[str, Path], sides: Collection[int]) -> Seen:
    """At a file, by its name and its place."""
    name, file = named
    fault = image_paths.name_fault(f"class/patient/{name}")
    data, _, unreadable = (b"", "", "") if fault else reading.read(file)
    if fault or unreadable:
        return Seen(name, fault or unreadable)
    return decoding.in_turn(data, partial(_seen, name, data, sides))


def _seen(name: str, data: bytes, sides: Collection[int]) -> Seen:
    seen = decoding.inspect(data, None)
    if seen.pixels is None:
        return Seen(name, seen.reason)
    statistics = decoding.statistics(seen.pixels)
    numbers = dict(zip(manifest.NUMBERS, (*statistics.mean, *statistics.std, statistics.sharpness), strict=True))
    resized = {px: decoding.resize(seen.pixels, px) for px in sides}
    return Seen(name, "", seen.width, numbers, statistics.sha256, resized)
