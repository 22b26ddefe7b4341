"""Image files written tag by tag and chunk by chunk, so that each may be as odd as files in the world are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PX = 48
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
XMP = b'<x:xmpmeta><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></x:xmpmeta>'
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 12: 8, 13: 4, 16: 8}
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 12: "d", 13: "I", 16: "Q"}

Pixels = NDArray[np.uint8]
Tag = tuple[int, Sequence[float] | bytes]
Packed = bytes | bytearray  # what encoders leave


def picture(px: int = PX) -> Pixels:
    """Smooth, with some noise, so that every compression has something to do."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((px, px), Image.Resampling.BICUBIC)).astype(np.int16)
    return (smooth + rng.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)


def tiff(
    tags: dict[int, Tag], blocks: Sequence[Packed], order: str = "<", big: bool = False, following: int = 0, counts: bool = True
) -> bytes:
    """A TIFF or BigTIFF with its blocks at the end; offsets and counts are filled in where `tags` does not set them."""
    where, sizes = (324, 325) if 322 in tags else (273, 279)
    word, room = ("Q", 8) if big else ("I", 4)
    kind = 16 if big else 4
    tags = {tag: values for tag, values in tags.items() if tag != 278 or 322 not in tags}
    has_places = where in tags
    tags.setdefault(where, (kind, [0] * len(blocks)))
    if counts:
        tags.setdefault(sizes, (kind, [len(block) for block in blocks]))
    packed = {tag: _packed(order, *tags[tag]) for tag in sorted(tags)}
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8))
    )
    start = len(head) + (8 if big else 2) + len(packed) * (20 if big else 12) + room
    size = sum(len(values) + len(values) % 2 for values in packed.values() if len(values) > room)
    if not has_places:
        places = [start + size + sum(map(len, blocks[:number])) for number in range(len(blocks))]
        packed[where] = _packed(order, kind, places)
    entries, heap = b"", b""
    for tag, values in packed.items():
        count = len(values) // _SIZES[tags[tag][0]]
        entries += struct.pack(order + "HH" + word, tag, tags[tag][0], count)
        if len(values) > room:
            entries += struct.pack(order + word, start + len(heap))
            heap += values + b"\0" * (len(values) % 2)
        else:
            entries += values.ljust(room, b"\0")
    listed = struct.pack(order + ("Q" if big else "H"), len(packed)) + entries + struct.pack(order + word, following)
    return head + listed + heap + b"".join(blocks)


def with_one_below(below: dict[int, Tag]) -> bytes:
    """An RGB image whose SubIFDs names one more list of tags, `below`, of an image without pixels."""
    first = tiff(tags_of(t330=(4, [0])), [picture().tobytes()])
    first = first.replace(struct.pack("<HHII", 330, 4, 1, 0), struct.pack("<HHII", 330, 4, 1, len(first)))
    packed = {tag: values for tag, values in below.items() if tag != 258}
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + _packed("<", kind, values).ljust(4, b"\0")
        for tag, (kind, values) in sorted(packed.items())
    )
    return first + struct.pack("<H", len(packed)) + entries + bytes(4)


def _packed(order: str, kind: int, values: Sequence[float] | bytes) -> bytes:
    if isinstance(values, bytes):
        return values
    if kind == 5:
        return b"".join(struct.pack(order + "II", int(value * 1000), 1000) for value in values)
    return struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)


def tags_of(samples: int = 3, /, **more: Tag) -> dict[int, Tag]:
    """Those of an uncompressed RGB image in one strip, with `more` in place of them or beside them: t259=(3, [5])."""
    usual: dict[int, Tag] = {256: (3, [PX]), 257: (3, [PX]), 258: (3, [8] * samples), 259: (3, [1]), 262: (3, [2])}
    usual |= {277: (3, [samples]), 278: (3, [PX]), 284: (3, [1])}
    return usual | {int(name[1:]): tag for name, tag in more.items()}


def strips(samples: NDArray[np.uint8], rows: int, pack: Callable[[bytes], Packed] = bytes) -> list[Packed]:
    """So many rows in each."""
    return [pack(samples[top : top + rows].tobytes()) for top in range(0, len(samples), rows)]


def tiles(samples: NDArray[np.uint8], side: int, pack: Callable[[bytes], Packed] = bytes) -> list[Packed]:
    """Filled up with zeros at the edges."""
    height, width = samples.shape[:2]
    full = np.zeros((-(-height // side) * side, -(-width // side) * side, *samples.shape[2:]), np.uint8)
    full[:height, :width] = samples
    return [
        pack(full[y : y + side, x : x + side].tobytes()) for y in range(0, height, side) for x in range(0, width, side)
    ]  # fmt: skip


def differences(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What predictor 2 writes."""
    return np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))


def ycbcr(pixels: Pixels) -> Pixels:
    """As Pillow converts it."""
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


def units(ycc: Pixels, across: int, down: int) -> bytes:
    """As TIFF writes pixels that share a colour: the brightness of each, then both colours."""
    rows, columns = ycc.shape[0] // down, ycc.shape[1] // across
    bright = ycc[..., 0].reshape(rows, down, columns, across).swapaxes(1, 2).reshape(rows, columns, -1)
    colours = [ycc[::down, ::across, channel][..., None] for channel in (1, 2)]
    return np.concatenate([bright, *colours], -1).tobytes()


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """By Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(pixels: Pixels, **options: object) -> bytes:
    """By Pillow."""
    return saved(Image.fromarray(pixels), "JPEG", quality=90, **options)


def bare(stream: bytes) -> bytes:
    """Without markers of applications."""
    out, at = stream[:2], 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4])
        out += b"" if 0xE0 <= stream[at + 1] <= 0xEF else stream[at:end]
        at = end
    return out + stream[at:]


def without_tables(stream: bytes) -> tuple[bytes, bytes]:
    """The tables of a JPEG stream, and the stream without them."""
    tables, rest, at = b"\xff\xd8", b"\xff\xd8", 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4])
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:end]
        else:
            rest += stream[at:end]
        at = end
    return tables + b"\xff\xd9", rest + stream[at:]


def png(pixels: Pixels, *more: tuple[bytes, bytes], mode: int = 2, bits: int = 8, filtered: bytes | None = None) -> bytes:
    """Chunk by chunk; `more` stand before the pixels."""
    rows = filtered or b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, mode, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def interlaced(pixels: Pixels) -> bytes:
    """Adam7, unfiltered."""
    rows = b""
    for x, y, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[y::down, x::across])
    plain = png(pixels, filtered=rows)
    header = bytearray(plain[12:29])
    header[-1] = 1
    return plain[:12] + bytes(header) + struct.pack(">I", zlib.crc32(header)) + plain[33:]
