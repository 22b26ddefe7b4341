"""PNG: its chunks, whose checksums are compared before a pixel is decoded, and its pixels where they are 8-bit colour."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from .image_faults import UnusableError, no_colour, require_depth, require_upright
from .jpeg import exif_orientations

START = b"\x89PNG\r\n\x1a\n"
_RGB, _PALETTE, _RGBA = 2, 3, 6
_MODES = {0: "L", _RGB: "RGB", _PALETTE: "P", 4: "LA", _RGBA: "RGBA"}
_SAMPLES = {_RGB: 3, _PALETTE: 1, _RGBA: 4}
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_MOST_WORDS = 2**20  # bytes of a text that is unpacked
_XMP, _RAW_PROFILES = b"XML:com.adobe.xmp", (b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type xmp")
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7


@dataclass(frozen=True)
class Header:
    """What the first chunk says."""

    width: int
    height: int
    bits: int
    colour: int
    is_interlaced: bool

    @property
    def mode(self) -> str:
        """As Pillow calls it."""
        return _MODES.get(self.colour, "")


def header(data: bytes) -> Header:
    """The size, and how a pixel is written."""
    if len(data) < 33 or data[8:16] != b"\0\0\0\rIHDR":
        raise UnusableError("unreadable header: PNG, cut off or damaged")
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33]):
        raise UnusableError("unreadable header: PNG, its checksum does not match")
    width, height, bits, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if colour not in _MODES or (compression, filters) != (0, 0) or interlaced > 1:
        raise UnusableError("unreadable header: PNG of a kind that does not exist")
    return Header(width, height, bits, colour, bool(interlaced))


def decode(data: bytes, found: Header) -> NDArray[np.uint8]:
    """`(height, width, 3)`.

    Raises:
        UnusableError: not one upright picture in opaque 8-bit colour, or a checksum does not match.
    """
    if found.colour not in _SAMPLES:
        raise no_colour(found.mode, "grey" if found.mode == "L" else "grey with transparency")
    if found.colour != _PALETTE or found.bits not in (1, 2, 4):
        require_depth(found.bits)
    chunks = _chunks(data)
    kinds = [kind for kind, _ in chunks]
    if b"acTL" in kinds:
        raise UnusableError("more than one page: an animated PNG")
    described = [*(content for kind, content in chunks if kind == b"eXIf"), *_described_in_words(chunks)]
    require_upright([tag for content in described for tag in exif_orientations(content)], b"".join(described))
    first = next((kind for kind in kinds if kind in (b"PLTE", b"IDAT")), b"")
    if found.colour == _PALETTE and (first != b"PLTE" or kinds.count(first) > 1 or len(_joined(chunks, first)) % 3):
        raise UnusableError("damaged: PNG, its palette is not whole, there twice, or behind the pixels")
    transparent = _joined(chunks, b"tRNS")
    if transparent and (found.colour != _PALETTE or min(transparent) < 255):
        raise UnusableError("a palette with transparency" if found.colour == _PALETTE else "translucent: one colour is")
    _require_whole(found, _joined(chunks, b"IDAT"))
    wanted = [chunk for chunk in chunks if chunk[0] in _CRITICAL]  # what lies beside the pixels is not Pillow's to judge
    image = PngImagePlugin.PngImageFile(io.BytesIO(START + b"".join(_written(*chunk) for chunk in wanted)))
    image.load()
    samples = np.asarray(image)
    if found.colour == _PALETTE and (used := int(samples.max())) >= (colours := len(_joined(chunks, b"PLTE")) // 3):
        raise UnusableError(f"damaged: uses colour {used} of a palette of {colours}")
    if found.colour == _RGBA and (lowest := int(samples[..., 3].min())) < 255:
        raise UnusableError(f"translucent: alpha down to {lowest} of 255")
    return samples if found.colour == _RGB else np.asarray(image.convert("RGB"))


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    at = len(START)
    while True:
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise UnusableError(f"cut off: after {len(found)} of its chunks, byte {at:,} of a PNG file of {len(data):,}")
        content = data[at + 8 : end - 4]
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end]):
            raise UnusableError(f"damaged: the checksum of a PNG chunk at byte {at:,} does not match")
        if kind not in _CRITICAL and not kind[0] & 0x20:
            raise UnusableError(f"a PNG with a chunk that no decoder may pass over: {kind!r}")
        found.append((kind, content))
        at = end
        if kind == b"IEND":
            return found


def _described_in_words(chunks: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """XMP, and Exif or XMP as ImageMagick writes it: a text of three lines and hexadecimal numbers. In any chunk of text."""
    for kind, content in chunks:
        keyword, _, text = content.partition(b"\0")
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or keyword not in (_XMP, *_RAW_PROFILES):
            continue
        is_packed = kind == b"zTXt"
        if kind == b"iTXt":  # whether it is compressed, and how; its language; the keyword in that
            is_packed = text[:1] == b"\1"
            text = text[1:2] + text[2:].split(b"\0", 2)[-1] if is_packed else text[2:].split(b"\0", 2)[-1]
        try:
            text = zlib.decompressobj().decompress(text[1:], _MOST_WORDS) if is_packed else text
            yield text if keyword == _XMP else bytes.fromhex("".join(text.decode("ascii").split("\n")[3:]))
        except (ValueError, zlib.error):
            continue


def _require_whole(found: Header, packed: bytes) -> None:
    """Refuse pixels that are too few, too many, or not those their checksum was made of."""
    bits = _SAMPLES[found.colour] * found.bits
    passes = _PASSES if found.is_interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(found.width - x) // across), -(-(found.height - y) // down)) for x, y, across, down in passes]
    whole = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
    stream = zlib.decompressobj()
    try:
        size = len(stream.decompress(packed, whole + 1))
    except zlib.error as error:
        raise UnusableError(f"damaged: PNG, deflate: {str(error).split(': ')[-1]}") from None
    if size != whole or not stream.eof:
        raise UnusableError(f"damaged: PNG, its data give {size:,} of {whole:,} bytes{'' if stream.eof else ', no checksum'}")


def _joined(chunks: list[tuple[bytes, bytes]], kind: bytes) -> bytes:
    return b"".join(content for name, content in chunks if name == kind)


def _written(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
