"""The tags of a TIFF file (TIFF 6.0, BigTIFF), as they stand in it, read only where they lie within the file.

Readers of TIFF repair what is missing or contradictory, each in its own way, and then differ in the pixels. Here nothing is
repaired: a tag that counts and is out of place, twice there, or of a kind it cannot be, makes the image unusable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .image_faults import UnusableError

STARTS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}  # order, BigTIFF
NAMES = {
    254: "NewSubfileType",
    255: "SubfileType",
    256: "ImageWidth",
    257: "ImageLength",
    258: "BitsPerSample",
    259: "Compression",
    262: "PhotometricInterpretation",
    266: "FillOrder",
    273: "StripOffsets",
    274: "Orientation",
    277: "SamplesPerPixel",
    278: "RowsPerStrip",
    279: "StripByteCounts",
    284: "PlanarConfiguration",
    317: "Predictor",
    320: "ColorMap",
    322: "TileWidth",
    323: "TileLength",
    324: "TileOffsets",
    325: "TileByteCounts",
    332: "InkSet",
    338: "ExtraSamples",
    339: "SampleFormat",
    347: "JPEGTables",
    529: "YCbCrCoefficients",
    530: "YCbCrSubSampling",
    532: "ReferenceBlackWhite",
    32997: "ImageDepth",
}
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}  # bytes, by type
_WHOLE = {3: "H", 4: "I", 16: "Q"}  # a BYTE could hold some of them too, but no reader takes it for all
_RATIONAL, _LONG8 = 5, 16
_PLACES = {4: "I", 13: "I", 16: "Q", 18: "Q"}  # types that say where something is
_SUB_IFDS, _MOST_BELOW = 330, 64
_MOST_TAGS = 65535  # a classic TIFF cannot have more


class Tags:
    """A list of tags of a file: the first, or the one at a place."""

    def __init__(self, data: bytes, at: int | None = None) -> None:
        self.data = data
        self.order, self.is_big = STARTS[data[:4]]
        header = self._unpacked("HHQ" if self.is_big else "I", 4)
        if header is None or (self.is_big and header[:2] != (8, 0)):
            raise UnusableError("unreadable header: cut off or damaged before its tags")
        self.at = header[-1] if at is None else at
        found = self._list(self.at)
        if found is None:
            raise UnusableError(f"unreadable header: no list of tags at byte {self.at:,} of a file of {len(data):,}")
        self._tags, self.end, self._next, self._twice = found
        self.taken = [(0, 16 if self.is_big else 8), (self.at, self.end)]  # bytes that cannot be pixels

    def __contains__(self, tag: int) -> bool:
        return tag in self._tags

    def has_another_image(self) -> bool:
        """Whether the next list of tags is one of an image; a pointer to nothing is no image."""
        if self._next in (0, self.at):
            return False
        found = self._list(self._next)
        return found is not None and {256, 257} <= found[0].keys() and all(kind in _SIZES for kind, _, _ in found[0].values())

    def images_below(self) -> Iterator[Tags]:
        """The lists of tags of images to which this one points, as far as they can be read; pages stand beside it."""
        kind, count, place = self._tags.get(_SUB_IFDS, (0, 0, 0))
        form, size = self.order + _PLACES.get(kind, ""), _SIZES.get(kind, 1)
        most = min(count, _MOST_BELOW, max(0, len(self.data) - place) // size)  # those within the file
        for (at,) in struct.iter_unpack(form, self.data[place : place + size * most]) if kind in _PLACES else ():
            try:
                below = Tags(self.data, at)
            except UnusableError:
                continue
            if {256, 257} <= below._tags.keys():
                yield below

    def count(self, tag: int) -> int:
        """How many values a tag has."""
        return self._tags[tag][1] if tag in self._tags else 0

    def numbers(self, tag: int, most: int = 65536) -> tuple[int, ...]:
        """The first whole numbers of a tag, `most` of them."""
        kind, count, content = self._content(tag, most)
        if kind not in _WHOLE or (kind == _LONG8 and not self.is_big):
            raise self._odd(tag, f"is written as type {kind}, which holds no whole numbers")
        return struct.unpack(f"{self.order}{min(count, most)}{_WHOLE[kind]}", content)

    def number(self, tag: int, default: int | None = None) -> int:
        """The one whole number of a tag."""
        if tag not in self._tags and default is not None:
            return default
        values = self.numbers(tag, 2)
        if len(values) != 1:
            raise self._odd(tag, f"has {self.count(tag)} values instead of 1")
        return values[0]

    def fractions(self, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
        """The rational or whole numbers of a tag."""
        if tag not in self._tags:
            return default
        if self.count(tag) != len(default):
            raise self._odd(tag, f"has {self.count(tag)} values instead of {len(default)}")
        if self._tags[tag][0] != _RATIONAL:
            return tuple(map(float, self.numbers(tag)))
        parts = struct.unpack(f"{self.order}{2 * len(default)}I", self._content(tag, len(default))[2])
        if 0 in parts[1::2]:
            raise self._odd(tag, "divides by 0")
        return tuple(above / below for above, below in zip(parts[::2], parts[1::2], strict=True))

    def blob(self, tag: int) -> bytes:
        """The bytes of a tag whose type is one of bytes."""
        kind, _, content = self._content(tag, len(self.data))
        if _SIZES[kind] != 1:
            raise self._odd(tag, f"is written as type {kind}, which is none of bytes")
        return content

    def text(self, tag: int, most: int = 2**20) -> bytes:
        """The bytes of a tag of whatever type, `most` of them; none where they don't lie within the file."""
        if tag not in self._tags:
            return b""
        kind, count, place = self._tags[tag]
        return self.data[place : place + min(_SIZES.get(kind, 1) * count, most)]

    def _content(self, tag: int, most: int) -> tuple[int, int, bytes]:
        if tag not in self._tags:
            raise self._odd(tag, "is missing")
        if tag in self._twice:
            raise self._odd(tag, "is there twice")
        kind, count, place = self._tags[tag]
        size = _SIZES.get(kind, 0)
        if not size:
            raise self._odd(tag, f"is written as type {kind}, which does not exist")
        if count == 0 or place + size * count > len(self.data):
            raise self._odd(tag, "has no values" if count == 0 else "would lie behind the end of the file")
        self.taken.append((place, place + size * count))
        return kind, count, self.data[place : place + size * min(count, most)]

    def _list(self, at: int) -> tuple[dict[int, tuple[int, int, int]], int, int, set[int]] | None:
        """Tag -> type, count, place of its values; where the list ends; where the next begins; tags that are there twice."""
        head, entry, pointer = ("Q", "HHQQ", "Q") if self.is_big else ("H", "HHII", "I")
        size, room = struct.calcsize("=" + entry), struct.calcsize("=" + pointer)
        count = self._unpacked(head, at)
        start = at + struct.calcsize("=" + head)
        if at < 8 or count is None or not 0 < count[0] <= _MOST_TAGS or start + count[0] * size > len(self.data):
            return None
        tags: dict[int, tuple[int, int, int]] = {}
        twice: set[int] = set()
        end = start + count[0] * size
        entries = struct.iter_unpack(self.order + entry, self.data[start:end])
        for here, (tag, kind, values, place) in zip(range(start, end, size), entries, strict=True):
            if tag in tags:
                twice.add(tag)
            fits = _SIZES.get(kind, 0) * values <= room
            tags[tag] = (kind, values, here + size - room if fits else place)
        after = self._unpacked(pointer, end)
        return tags, end + (room if after else 0), after[0] if after else 0, twice

    def _unpacked(self, form: str, at: int) -> tuple[int, ...] | None:
        form = self.order + form
        return struct.unpack_from(form, self.data, at) if at + struct.calcsize(form) <= len(self.data) else None

    def _odd(self, tag: int, what: str) -> UnusableError:
        return UnusableError(f"unclear tags: {NAMES.get(tag, f'tag {tag}')} {what}")
