"""JPEG, as a file of its own and as a block of a TIFF: what its markers say, and its pixels where the decoder has no doubt.

libjpeg goes on where a stream ends early or is damaged, fills up with grey and warns. Here a warning is a refusal.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from .image_faults import UnusableError, no_colour, require_depth, require_upright
from .tiff_tags import STARTS, Tags

START = b"\xff\xd8\xff"
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: in Huffman's code
_OTHER_FRAMES = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA), "in arithmetic code"),
}
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_APPLICATION, _COMMENT = range(0xE0, 0xF0), 0xFE
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/x"  # xap/1.0, and xmp/extension for what found no room there
_MOST_SCANS = 40  # each takes the time of a whole image; writers make about ten
MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # by samples, as Pillow calls them
_COLOURS = {**MODES, 1: "GRAY"}


@dataclass(frozen=True)
class Stream:
    """What stands before the first scan: segments as (marker, content), and where the scan begins."""

    width: int
    height: int
    samples: int
    depth: int
    frame: int
    segments: tuple[tuple[int, bytes], ...]
    scan: int


def stream(data: bytes) -> Stream:
    """The header of a JPEG stream.

    Raises:
        UnusableError: it cannot be read to its first scan.
    """
    segments, at = _segments(data)
    if data[at : at + 2] != _SCAN:
        raise UnusableError("unreadable header: JPEG, cut off or damaged before its pixels")
    frames = [(marker, content) for marker, content in segments if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)]
    if len(frames) != 1 or len(frames[0][1]) < 6:
        raise UnusableError(f"unreadable header: JPEG with {len(frames)} frames")
    frame, content = frames[0]
    depth, height, width, samples = struct.unpack(">BHHB", content[:6])
    return Stream(width, height, samples, depth, frame, tuple(segments), at)


def _says_ycbcr(found: Stream) -> bool | None:
    """Whether the colours are to be converted, if the stream says so: in Adobe's marker, by being JFIF, or by their names."""
    adobe = _adobe_transform(found)
    if adobe is not None:
        return adobe != 0
    if _is_jfif(found):
        return True
    named = any(marker == found.frame and content[6::3][:3] == b"RGB" for marker, content in found.segments)
    return False if named else None


def _adobe_transform(found: Stream) -> int | None:
    """0: red, green, blue; 1: YCbCr."""
    adobe = next((content for marker, content in found.segments if marker == 0xEE and content[:5] == b"Adobe"), b"")
    return adobe[11] if len(adobe) >= 12 else None


def _is_jfif(found: Stream) -> bool:
    return any(marker == 0xE0 and content[:5] == b"JFIF\0" for marker, content in found.segments)


def _segments(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """All up to a scan or the end, and where that is; or where it cannot be read any more."""
    found: list[tuple[int, bytes]] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at : at + 2] not in (_SCAN, _END):
        if data[at + 1] == 0xFF:  # filled up
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        if length < 2 or at + 2 + length > len(data):
            break
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found, at


def require_readable(found: Stream) -> None:
    """Refuse what is not one upright picture of 8-bit red, green and blue: of a file, before a pixel is decoded."""
    segments = found.segments
    if any(marker == 0xE2 and content.startswith(b"MPF\0") for marker, content in segments):
        raise UnusableError("more than one page: several pictures in one JPEG file")
    described = [content for marker, content in segments if marker == 0xE1]
    xmp = b"".join(content for content in described if content.startswith(_XMP))
    require_upright([tag for content in described if content.startswith(_EXIF) for tag in exif_orientations(content)], xmp)
    if found.samples == 1:
        raise no_colour("L", "grey")
    if found.samples == 3 and _is_jfif(found) and _adobe_transform(found) == 0:
        raise UnusableError("unclear colours: YCbCr by its JFIF marker, RGB by Adobe's; save it as PNG")
    if found.samples != 3:
        raise UnusableError(f"{found.samples} colours in a JPEG file: which ones is read in several ways; save it as RGB")


def exif_orientations(exif: bytes) -> list[int]:
    """The orientation tag of an Exif block (a TIFF without an image), if the block can be read and has one.

    Raises:
        UnusableError: it has one that not all readers take for the same.
    """
    while exif.startswith(_EXIF):  # some writers put it twice, or where it does not belong
        exif = exif[len(_EXIF) :]
    if exif[:4] not in STARTS:
        return []
    try:
        tags = Tags(exif)
    except UnusableError:
        return []
    return [tags.number(274)] if 274 in tags else []


def decode(data: bytes, found: Stream) -> NDArray[np.uint8]:
    """`(height, width, samples)`.

    Raises:
        UnusableError: of another kind than 8-bit Huffman; or the decoder warns.
    """
    require_depth(found.depth)
    if found.frame not in _FRAMES:
        kind = _OTHER_FRAMES.get(found.frame, "of an unknown kind")
        raise UnusableError(f"compression not taken, JPEG {kind}: save it as TIFF with deflate, or as PNG")
    if data.count(_SCAN, found.scan) > _MOST_SCANS:
        raise UnusableError(f"more than {_MOST_SCANS} scans in a JPEG")
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, _COLOURS[found.samples], strict=True)
    except (ValueError, KeyError) as error:
        raise UnusableError(f"damaged: JPEG: {error}") from None
    return pixels


def block(data: bytes, tables: bytes, size: tuple[int, int], rows: int, most: int, is_ycbcr: bool) -> NDArray[np.uint8]:
    """A block of a TIFF, `(rows, width, samples)` for `size` (width, samples); the TIFF's tags say whether it is YCbCr.

    Raises:
        UnusableError: it is damaged, or not of this size.
    """
    if not data.startswith(START):
        raise UnusableError("damaged: a block does not begin as JPEG does")
    width, samples = size
    found = stream(data)
    if (found.width, found.samples) != (width, samples) or found.height not in (rows, most):
        raise UnusableError(
            f"damaged: a JPEG block of {found.width} x {found.height} px and {found.samples} samples "
            f"instead of {width} x {rows} px and {samples}"
        )
    defined, end = _segments(tables) if tables else ([], 0)
    if tables and (tables[:2] != b"\xff\xd8" or tables[end : end + 2] != _END):
        raise UnusableError("damaged: JPEGTables cannot be read to their end")
    said = _says_ycbcr(found)
    if samples > 1 and said is not None and said != is_ycbcr:
        raise UnusableError(
            f"unclear tags: by its tags a block is {'' if is_ycbcr else 'not '}YCbCr, by its JPEG the other way round"
        )
    # The markers of applications go, so that the tags alone say whether there are colours to convert: Adobe's, put in instead.
    colours = b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, int(is_ycbcr)) if samples > 1 else b""
    kept = [pair for pair in (*defined, *found.segments) if pair[0] not in (*_APPLICATION, _COMMENT)]
    parts = [b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content for marker, content in kept]
    start = b"".join((b"\xff\xd8", colours, *parts))
    return decode(start + data[found.scan :], replace(found, scan=len(start)))[:rows]
