"""Every variant of TIFF, PNG and JPEG that the documentation's table names, made here tag by tag. `python -m bench.image_variants`

A variant is a file of one square picture and, where the format keeps them, its true pixels; or a file that is refused and the
beginning of the reason. The command prints the table, with what each second decoder says of what is used.
"""

from __future__ import annotations

import io
import lzma
import struct
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench import second_decoders
from pipeline import images

PX = 48
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 12: 8, 13: 4, 16: 8}
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 12: "d", 13: "I", 16: "Q"}
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/>'
)

Pixels = NDArray[np.uint8]
Tag = tuple[int, Sequence[float] | bytes]


@dataclass(frozen=True)
class Variant:
    """A file: used, as `truth` where nothing is lost on the way; or refused for a reason that begins so."""

    name: str
    data: bytes
    truth: Pixels | None = None
    reason: str = ""


def picture(px: int = PX, seed: int = 0) -> Pixels:
    """Smooth, with some noise, so that every compression has something to do."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((px, px), Image.Resampling.BICUBIC)).astype(np.int16)
    return (smooth + rng.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)


def tiff(
    tags: dict[int, Tag], blocks: Sequence[bytes], order: str = "<", big: bool = False, following: int = 0, counts: bool = True
) -> bytes:
    """A TIFF or BigTIFF with its blocks at the end; offsets and counts are filled in where `tags` does not set them."""
    where, sizes = (324, 325) if 322 in tags else (273, 279)
    word, room = ("Q", 8) if big else ("I", 4)
    kind = 16 if big else 4
    tags = dict(tags)
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


def _packed(order: str, kind: int, values: Sequence[float] | bytes) -> bytes:
    if isinstance(values, bytes):
        return values
    if kind == 5:
        return b"".join(struct.pack(order + "II", int(value * 1000), 1000) for value in values)
    return struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)


def tags_of(px: int = PX, samples: int = 3, **more: Tag) -> dict[int, Tag]:
    """Those of an uncompressed RGB image in one strip, with `more` in place of them or beside them: t259=(3, [5])."""
    usual: dict[int, Tag] = {256: (3, [px]), 257: (3, [px]), 258: (3, [8] * samples), 259: (3, [1]), 262: (3, [2])}
    usual |= {277: (3, [samples]), 278: (3, [px]), 284: (3, [1])}
    return usual | {int(name[1:]): tag for name, tag in more.items()}


def strips(samples: NDArray[np.uint8], rows: int, pack: Callable[[bytes], bytes] = bytes) -> list[bytes]:
    """So many rows in each."""
    return [pack(samples[top : top + rows].tobytes()) for top in range(0, len(samples), rows)]


def tiles(samples: NDArray[np.uint8], side: int, pack: Callable[[bytes], bytes] = bytes) -> list[bytes]:
    """Filled up with zeros at the edges."""
    height, width = samples.shape[:2]
    full = np.zeros((-(-height // side) * side, -(-width // side) * side, *samples.shape[2:]), np.uint8)
    full[:height, :width] = samples
    return [
        pack(full[y : y + side, x : x + side].tobytes()) for y in range(0, height, side) for x in range(0, width, side)
    ]  # fmt: skip


def _differences(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What predictor 2 writes."""
    return np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))


def _ycc(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


def _units(ycc: Pixels, across: int, down: int) -> bytes:
    rows, columns = ycc.shape[0] // down, ycc.shape[1] // across
    bright = ycc[..., 0].reshape(rows, down, columns, across).swapaxes(1, 2).reshape(rows, columns, -1)
    colours = [ycc[::down, ::across, channel][..., None] for channel in (1, 2)]
    return np.concatenate([bright, *colours], -1).tobytes()


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _jpeg(pixels: Pixels, **options: object) -> bytes:
    return _saved(Image.fromarray(pixels), "JPEG", quality=90, **options)


def _bare(stream: bytes) -> bytes:
    """Without markers of applications."""
    out, at = stream[:2], 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4])
        out += b"" if 0xE0 <= stream[at + 1] <= 0xEF else stream[at:end]
        at = end
    return out + stream[at:]


def _split(stream: bytes) -> tuple[bytes, bytes]:
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


def _png(pixels: Pixels, *more: tuple[bytes, bytes], mode: int = 2, bits: int = 8, filtered: bytes | None = None) -> bytes:
    """Chunk by chunk; `more` stand before the pixels."""
    rows = filtered or b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, mode, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def used(px: int = PX, seed: int = 0) -> list[Variant]:
    """Every kind of file that is taken."""
    rgb = picture(px, seed)
    alpha = np.dstack([rgb, np.full((px, px), 255, np.uint8)])
    extra = np.dstack([rgb, np.full((px, px), 7, np.uint8)])
    p = np.asarray(Image.fromarray(rgb).quantize(64))
    palette = np.random.default_rng(seed).integers(0, 256, (3, 256), dtype=np.uint8)
    p_truth = palette.T[p]
    cmyk = np.asarray(Image.fromarray(rgb).convert("CMYK"))
    cmyk_truth = np.asarray(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    ycc = _ycc(rgb)
    raw = [rgb.tobytes()]
    short, long = 3, 4
    found: list[Variant] = []

    def add(name: str, data: bytes, truth: Pixels | None = rgb) -> None:
        found.append(Variant(name, data, truth))

    add("TIFF, RGB, one strip", tiff(tags_of(px), raw))
    add("TIFF, RGB, strips of 10 rows", tiff(tags_of(px, t278=(short, [10])), strips(rgb, 10)))
    add("TIFF, big-endian", tiff(tags_of(px), raw, ">"))
    add("BigTIFF", tiff(tags_of(px), raw, big=True))
    add("BigTIFF, big-endian", tiff(tags_of(px), raw, ">", big=True))
    add("TIFF, planes apart", tiff(tags_of(px, t284=(short, [2])), [rgb[..., c].tobytes() for c in range(3)]))
    apart = [block for c in range(3) for block in strips(rgb[..., c], 10)]
    add("TIFF, planes apart, strips", tiff(tags_of(px, t284=(short, [2]), t278=(short, [10])), apart))
    tile = {"t322": (short, [32]), "t323": (short, [32])}
    add("TIFF, tiles that reach over the edge", tiff(tags_of(px, **tile), tiles(rgb, 32)))
    apart = [block for c in range(3) for block in tiles(rgb[..., c], 32)]
    add("TIFF, tiles, planes apart", tiff(tags_of(px, t284=(short, [2]), **tile), apart))
    add("TIFF, bits reversed", tiff(tags_of(px, t266=(short, [2])), [raw[0].translate(_REVERSED)]))
    apart = [rgb[..., c].tobytes().translate(_REVERSED) for c in range(3)]
    add("TIFF, bits reversed, planes apart", tiff(tags_of(px, t266=(short, [2]), t284=(short, [2])), apart))
    add("TIFF, no StripByteCounts", tiff(tags_of(px), raw, counts=False))
    add("TIFF, LONG for SHORT", tiff(tags_of(px, t256=(long, [px]), t257=(long, [px]), t278=(long, [px])), raw))
    add("TIFF, BitsPerSample told once", tiff(tags_of(px, t258=(short, [8])), raw))
    add("TIFF, next page behind the end of the file", tiff(tags_of(px), raw, following=10**8))
    for kind, name in ((1, "BYTE"), (2, "ASCII"), (7, "UNDEFINED")):
        add(f"TIFF, XMP as {name}", tiff(tags_of(px, t700=(kind, _XMP % 1)), raw))
    add("TIFF, XMP as LONG", tiff(tags_of(px, t700=(long, (_XMP % 1).ljust(128, b" "))), raw))
    add("TIFF, XMP turned, tag 274 upright", tiff(tags_of(px, t700=(1, _XMP % 6), t274=(short, [1])), raw))
    add("TIFF, ImageJ, one image", tiff(tags_of(px, t270=(2, b"ImageJ=1.54f\nunit=um\n\0")), raw))
    add("TIFF, odd tags of others", tiff(tags_of(px, t305=(2, b"x\0"), t33432=(12, [1.0]), t65000=(7, b"\1\2\3\4\5")), raw))
    packs: list[tuple[str, int, Callable[[bytes], bytes]]] = [
        ("LZW", 5, imagecodecs.lzw_encode),
        ("deflate", 8, zlib.compress),
        ("deflate, number 32946", 32946, zlib.compress),
        ("PackBits", 32773, imagecodecs.packbits_encode),
        ("LZMA", 34925, lzma.compress),
        ("Zstandard", 50000, imagecodecs.zstd_encode),
    ]
    for name, number, pack in packs:
        packed = {"t259": (short, [number]), "t278": (short, [10])}
        add(f"TIFF, {name}", tiff(tags_of(px, **packed), strips(rgb, 10, pack)))
        add(f"TIFF, {name}, tiles", tiff(tags_of(px, **tile, t259=(short, [number])), tiles(rgb, 32, pack)))
        if number != 32773:
            predicted = strips(_differences(rgb), 10, pack)
            add(f"TIFF, {name}, predictor", tiff(tags_of(px, **packed, t317=(short, [2])), predicted))
            apart = [block for c in range(3) for block in strips(_differences(rgb[..., c]), 10, pack)]
            add(
                f"TIFF, {name}, predictor, planes apart",
                tiff(tags_of(px, **packed, t317=(short, [2]), t284=(short, [2])), apart),
            )
    turned = [block.translate(_REVERSED) for block in strips(rgb, 10, zlib.compress)]
    add("TIFF, deflate, bits reversed", tiff(tags_of(px, t259=(short, [8]), t266=(short, [2]), t278=(short, [10])), turned))
    four = {"samples": 4}
    add("TIFF, RGBA, opaque", tiff(tags_of(px, **four, t338=(short, [2])), [alpha.tobytes()]))
    add("TIFF, RGBA, premultiplied, opaque", tiff(tags_of(px, **four, t338=(short, [1])), [alpha.tobytes()]))
    add("TIFF, RGBA without ExtraSamples, opaque", tiff(tags_of(px, **four), [alpha.tobytes()]))
    add("TIFF, RGB and a sample that is no alpha", tiff(tags_of(px, **four, t338=(short, [0])), [extra.tobytes()]))
    apart = [alpha[..., c].tobytes() for c in range(4)]
    add("TIFF, RGBA, planes apart, opaque", tiff(tags_of(px, **four, t338=(short, [2]), t284=(short, [2])), apart))
    one = {"samples": 1, "t262": (short, [3])}
    add(
        "TIFF, palette",
        tiff(tags_of(px, **one, t320=(short, (palette.astype(int) * 257).ravel().tolist())), [p.tobytes()]),
        p_truth,
    )
    add("TIFF, palette in 8 bits", tiff(tags_of(px, **one, t320=(short, palette.ravel().tolist())), [p.tobytes()]), p_truth)
    for bits in (4, 2, 1):
        few = p % 2**bits
        spread = np.unpackbits(few[..., None], axis=2)[..., 8 - bits :].reshape(px, -1)
        table = (palette[:, : 2**bits].astype(int) * 257).ravel().tolist()
        tagged = tags_of(px, **one | {"t258": (short, [bits])}, t320=(short, table))
        add(f"TIFF, palette of {bits} bits", tiff(tagged, [np.packbits(spread, axis=1).tobytes()]), palette.T[few])
    packed = {"t259": (short, [5]), "t278": (short, [10]), "t320": (short, (palette.astype(int) * 257).ravel().tolist())}
    add("TIFF, palette, LZW", tiff(tags_of(px, **one, **packed), strips(p, 10, imagecodecs.lzw_encode)), p_truth)
    inks = {"samples": 4, "t262": (short, [5])}
    add("TIFF, CMYK", tiff(tags_of(px, **inks), [cmyk.tobytes()]), cmyk_truth)
    add("TIFF, CMYK, deflate", tiff(tags_of(px, **inks, t259=(short, [8])), [zlib.compress(cmyk.tobytes())]), cmyk_truth)
    colour = {"t262": (short, [6])}
    add("TIFF, YCbCr", tiff(tags_of(px, **colour, t530=(short, [1, 1])), [ycc.tobytes()]), None)
    for across, down in ((2, 1), (2, 2), (4, 1), (4, 2), (1, 2)):
        shared = {**colour, "t530": (short, [across, down])}
        add(f"TIFF, YCbCr {across} x {down}", tiff(tags_of(px, **shared), [_units(ycc, across, down)]), None)
    parts = [_units(ycc[top : top + 16], 2, 2) for top in range(0, px, 16)]
    add("TIFF, YCbCr without YCbCrSubSampling", tiff(tags_of(px, **colour, t278=(short, [16])), parts), None)
    narrow = {**colour, "t530": (short, [1, 1]), "t532": (5, [16, 235, 128, 240, 128, 240])}
    add("TIFF, YCbCr, ReferenceBlackWhite", tiff(tags_of(px, **narrow), [ycc.tobytes()]), None)
    shared = {**colour, "t530": (short, [2, 2]), "t259": (short, [8]), "t278": (short, [16])}
    add("TIFF, YCbCr 2 x 2, deflate", tiff(tags_of(px, **shared), [zlib.compress(part) for part in parts]), None)
    inside = {"t259": (short, [7]), "t262": (short, [6])}
    for name, number, options in (
        ("4:2:0", 2, {}),
        ("4:4:4", 1, {"subsampling": 0}),
        ("progressive", 2, {"progressive": True}),
    ):
        add(f"TIFF, JPEG, {name}", tiff(tags_of(px, **inside, t530=(short, [number] * 2)), [_jpeg(rgb, **options)]), None)
    streams = [_split(_bare(_jpeg(rgb[top : top + 16]))) for top in range(0, px, 16)]
    tables = {"t347": (7, streams[0][0])}
    add(
        "TIFF, JPEG, strips and tables",
        tiff(tags_of(px, **inside, **tables, t278=(short, [16])), [rest for _, rest in streams]),
        None,
    )
    full = np.zeros((64, 64, 3), np.uint8)
    full[:px, :px] = rgb
    blocks = [_jpeg(full[y : y + 32, x : x + 32]) for y in (0, 32) for x in (0, 32)]
    add("TIFF, JPEG, tiles", tiff(tags_of(px, **inside, **tile), blocks), None)
    plain = _bare(_saved(Image.fromarray(rgb), "JPEG", quality=90, keep_rgb=True))
    add("TIFF, JPEG of RGB", tiff(tags_of(px, t259=(short, [7])), [plain]), None)
    add("PNG, RGB", _saved(Image.fromarray(rgb), "PNG"))
    add("PNG, RGB, chunk by chunk", _png(rgb, (b"tEXt", b"Comment\0x"), (b"gAMA", b"\0\0\xb1\x8f")))
    add("PNG, RGBA, opaque", _saved(Image.fromarray(alpha), "PNG"))
    add("PNG, interlaced", _interlaced(rgb))
    add("PNG, palette", _png(p, (b"PLTE", palette.T.tobytes()), mode=3), p_truth)
    add("PNG, palette, tRNS all opaque", _png(p, (b"PLTE", palette.T.tobytes()), (b"tRNS", b"\xff" * 9), mode=3), p_truth)
    spread = np.packbits(np.unpackbits((p % 4)[..., None], axis=2)[..., 6:].reshape(px, -1), axis=1)
    few_colours = (b"PLTE", palette.T[:4].tobytes())
    small = _png(
        np.zeros((px, px), np.uint8), few_colours, mode=3, bits=2, filtered=b"".join(b"\0" + row.tobytes() for row in spread)
    )
    add("PNG, palette of 2 bits", small, palette.T[p % 4])
    for name, options in (("4:2:0", {"subsampling": 2}), ("4:2:2", {"subsampling": 1}), ("4:4:4", {"subsampling": 0})):
        add(f"JPEG, {name}", _jpeg(rgb, **options), None)
    add("JPEG, progressive", _jpeg(rgb, progressive=True), None)
    add("JPEG, restart markers", _jpeg(rgb, restart_marker_rows=1), None)
    add("JPEG, RGB", _saved(Image.fromarray(rgb), "JPEG", quality=90, keep_rgb=True), None)
    return found


def _interlaced(pixels: Pixels) -> bytes:
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
    plain = _png(pixels, filtered=rows)
    header = bytearray(plain[12:29])
    header[-1] = 1
    return plain[:12] + bytes(header) + struct.pack(">I", zlib.crc32(header)) + plain[33:]


def refused(px: int = PX, seed: int = 0) -> list[Variant]:
    """Every kind of file that is not taken, with the beginning of the reason."""
    rgb = picture(px, seed)
    grey = np.ascontiguousarray(rgb[..., :1])
    raw, short = [rgb.tobytes()], 3
    whole = _jpeg(rgb)
    half, colour = len(whole) // 2, {"t259": (short, [7]), "t262": (short, [6])}
    ten = strips(rgb, 10)
    found: list[Variant] = []

    def add(name: str, data: bytes, reason: str) -> None:
        found.append(Variant(name, data, reason=reason))

    def without(tag: int, **more: Tag) -> dict[int, Tag]:
        return {key: value for key, value in tags_of(px, **more).items() if key != tag}

    add("TIFF, fewer strips than needed", tiff(tags_of(px, t278=(short, [10])), ten[:3]), "incomplete: lists 3 of")
    tile = {"t322": (short, [32]), "t323": (short, [32])}
    add("TIFF, fewer tiles than needed", tiff(tags_of(px, **tile), tiles(rgb, 32)[:3]), "incomplete: lists 3 of 4 tiles")
    sizes = (4, [0, *map(len, ten[1:])])
    add("TIFF, a strip never written", tiff(tags_of(px, t278=(short, [10]), t279=sizes), ten), "incomplete: strip 1 of")
    add("TIFF, offset 0", tiff(tags_of(px, t273=(4, [0])), raw), "incomplete: strip 1 of 1 was never written")
    add("TIFF, a strip over the tags", tiff(tags_of(px, t273=(4, [4])), raw), "damaged: a strip begins at byte 4")
    add("TIFF, cut off", tiff(tags_of(px), raw)[:-100], "cut off: strip 1 of 1 ends at byte")
    add("TIFF, too few bytes", tiff(tags_of(px, t279=(4, [100])), raw), "incomplete: strip 1 has 100 of")
    many = tiff(tags_of(px, t273=(4, [99] * 300_000), t278=(short, [1])), raw)
    add("TIFF, 300,000 strips", many, "lists 300,000 strips")
    packed = bytearray(zlib.compress(raw[0]))
    packed[len(packed) // 2] ^= 1
    deflate = tags_of(px, t259=(short, [8]))
    add("TIFF, deflate, a bit flipped", tiff(deflate, [bytes(packed)]), "damaged: strip 1 of 1, deflate")
    add("TIFF, deflate, no checksum", tiff(deflate, [zlib.compress(raw[0])[:-4]]), "damaged: strip 1 of 1, deflate")
    add("TIFF, LZW, cut off", tiff(tags_of(px, t259=(short, [5])), [imagecodecs.lzw_encode(raw[0])[:900]]), "cut off: strip 1")
    add("TIFF, JPEG ends early", tiff(tags_of(px, **colour), [whole[:half]]), "damaged: JPEG")
    add("TIFF, JPEG ends early, end marked", tiff(tags_of(px, **colour), [whole[:half] + b"\xff\xd9"]), "damaged: JPEG")
    add("TIFF, JPEG with a hole", tiff(tags_of(px, **colour), [whole[:half] + bytes(len(whole) - half)]), "damaged: JPEG")
    small = _jpeg(rgb[:16])
    add("TIFF, JPEG of another size", tiff(tags_of(px, **colour), [small]), "damaged: a JPEG block of")
    add(
        "TIFF, two pages",
        _saved(Image.fromarray(rgb), "TIFF", save_all=True, append_images=[Image.fromarray(rgb)]),
        "more than one",
    )
    stacked = tiff(tags_of(px, t270=(2, b"ImageJ=1.54f\nimages=5\nslices=5\n\0")), [raw[0] * 5])
    add("TIFF, ImageJ's stack behind one list of tags", stacked, "more than one image: a stack of 5, saved by ImageJ")
    shaped = tiff(tags_of(px, t270=(2, b'{"shape": [5, %d, %d, 3]}\0' % (px, px))), [raw[0] * 5])
    add("TIFF, tifffile's stack behind one list of tags", shaped, "more than one image: a stack, saved by tifffile")
    add("TIFF, MetaMorph's stack", tiff(tags_of(px, t33629=(4, [0] * 4)), raw), "more than one image: a stack of 4")
    add("TIFF, a volume", tiff(tags_of(px, t32997=(4, [4])), raw), "more than one image: a volume of 4")
    add("TIFF, turned", tiff(tags_of(px, t274=(short, [6])), raw), "orientation tag 6")
    add("TIFF, turned in XMP", tiff(tags_of(px, t700=(1, _XMP % 6)), raw), "orientation 6 in its XMP")
    add("TIFF, turned in XMP as ASCII", tiff(tags_of(px, t700=(2, _XMP % 3)), raw), "orientation 3 in its XMP")
    wide = [rgb.astype("<u2").tobytes()]
    add("TIFF, 16 bits", tiff(tags_of(px, t258=(short, [16] * 3)), wide), "16 bits a channel instead of 8")
    floats = tags_of(px, t258=(short, [32] * 3), t339=(short, [3] * 3))
    add("TIFF, floating point", tiff(floats, [rgb.astype("<f4").tobytes()]), "floating-point numbers, 32 bits")
    add("TIFF, signed", tiff(tags_of(px, t339=(short, [2] * 3)), raw), "signed whole numbers")
    add("TIFF, grey", tiff(tags_of(px, samples=1, t262=(short, [1])), [grey.tobytes()]), "no 8-bit colour: mode L (grey)")
    add("TIFF, CIE Lab", tiff(tags_of(px, t262=(short, [8])), raw), "no 8-bit colour: mode LAB (CIE Lab)")
    clear = np.dstack([rgb, np.full((px, px), 128, np.uint8)])
    add(
        "TIFF, translucent",
        tiff(tags_of(px, samples=4, t338=(short, [2])), [clear.tobytes()]),
        "translucent: alpha down to 128",
    )
    for number, name in (
        (34712, "JPEG 2000"),
        (50001, "WebP"),
        (34887, "LERC"),
        (50002, "JPEG XL"),
        (6, "JPEG of the old kind"),
    ):
        add(f"TIFF, {name}", tiff(tags_of(px, t259=(short, [number])), raw), f"compression not taken, {name}")
    add("TIFF, an unknown compression", tiff(tags_of(px, t259=(short, [12345])), raw), "compression not taken, an unknown one")
    add("TIFF, predictor without compression", tiff(tags_of(px, t317=(short, [2])), raw), "unclear tags: Predictor 2")
    add(
        "TIFF, floating-point predictor",
        tiff(tags_of(px, t259=(short, [8]), t317=(short, [3])), raw),
        "unclear tags: Predictor 3",
    )
    add(
        "TIFF, colour map too short",
        tiff(tags_of(px, samples=1, t262=(short, [3]), t320=(short, [9] * 48)), raw),
        "unclear tags: Col",
    )
    add("TIFF, no PhotometricInterpretation", tiff(without(262), raw), "unclear tags: PhotometricInterpretation is missing")
    add("TIFF, samples that do not add up", tiff(tags_of(px, t277=(short, [5])), raw), "unclear tags")
    add(
        "TIFF, strips and tiles",
        tiff(tags_of(px, **tile, t273=(4, [300])), tiles(rgb, 32)),
        "unclear tags: strips and tiles in one",
    )
    subsampled = tags_of(px, t262=(short, [6]))
    add(
        "TIFF, YCbCr, colours in full where every second is due",
        tiff(subsampled, [_ycc(rgb).tobytes()[: px * px]]),
        "incomplete",
    )
    good = _png(rgb)
    flipped = bytearray(good)
    flipped[-30] ^= 1
    add("PNG, a bit flipped", bytes(flipped), "damaged: the checksum of a PNG chunk")
    add("PNG, cut off", good[:-20], "cut off: after 1 of its chunks")
    add("PNG, too few pixels", _png(rgb, filtered=bytes(100)), "damaged: PNG, its data give 100 of")
    add("PNG, grey", _png(grey, mode=0), "no 8-bit colour: mode L (grey)")
    add("PNG, 16 bits", _png(rgb, bits=16, filtered=bytes(px * (1 + 6 * px))), "16 bits a channel instead of 8")
    add("PNG, translucent", _saved(Image.fromarray(clear), "PNG"), "translucent: alpha down to 128")
    add("PNG, one colour transparent", _png(rgb, (b"tRNS", bytes(6))), "translucent: one colour is")
    plte = (b"PLTE", bytes(range(48)))
    small_index = np.full((px, px), 3, np.uint8)
    add("PNG, palette with transparency", _png(small_index, plte, (b"tRNS", b"\0"), mode=3), "a palette with transparency")
    add("PNG, palette too short", _png(small_index + np.uint8(99), plte, mode=3), "damaged: uses colour 102 of a palette of 16")
    add("PNG, animated", _png(rgb, (b"acTL", bytes(8))), "more than one page: an animated PNG")
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    add("PNG, turned", _png(rgb, (b"eXIf", exif)), "orientation tag 6")
    add("PNG, turned in XMP", _png(rgb, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP % 6)), "orientation 6 in its XMP")
    add("JPEG, cut off", whole[:half], "damaged: JPEG")
    add("JPEG, ends early, end marked", whole[:half] + b"\xff\xd9", "damaged: JPEG")
    add("JPEG, turned", _jpeg(rgb, exif=b"Exif\0\0" + exif), "orientation tag 6")
    add("JPEG, grey", _saved(Image.fromarray(rgb).convert("L"), "JPEG"), "no 8-bit colour: mode L (grey)")
    add("JPEG, CMYK", _saved(Image.fromarray(rgb).convert("CMYK"), "JPEG"), "4 colours in a JPEG file")
    twin = whole[:2] + b"\xff\xe2\0\x08MPF\0II" + whole[2:]
    add("JPEG, several pictures", twin, "more than one page: several pictures")
    add("JPEG, arithmetic code", whole.replace(b"\xff\xc0", b"\xff\xc9", 1), "compression not taken, JPEG in arithmetic code")
    for form in ("GIF", "BMP", "WebP"):
        add(form, _saved(Image.fromarray(rgb), form), f"not a TIFF, PNG or JPEG but a {form} file")
    return found


def main() -> None:
    """Print the table; exit with 1 where a file is not as it should be."""
    print("| file | | tifffile / imagecodecs | libtiff / Pillow |\n|---|---|---|---|")
    wrong = 0
    for variant in used():
        seen = images.inspect(variant.data, PX)
        lossy = seen.format in images.LOSSY
        said = []
        for pixels in second_decoders.all_of(variant.data).values():
            same = pixels is not None and seen.pixels is not None and second_decoders.agree(seen.pixels, pixels, lossy)
            said.append("gives up" if pixels is None else "the same" if same else "OTHER PIXELS")
        truth = variant.truth is None or (seen.pixels is not None and np.array_equal(seen.pixels, variant.truth))
        wrong += bool(seen.reason) or not truth or "OTHER PIXELS" in said
        print(f"| {variant.name} | {seen.reason or ('used' if truth else 'WRONG')} | {' | '.join(said)} |")
    print("\n| file | refused |\n|---|---|")
    for variant in refused():
        reason = images.inspect(variant.data, PX).reason
        wrong += not reason.startswith(variant.reason)
        print(f"| {variant.name} | {reason or 'USED'} |")
    sys.exit(min(wrong, 1))


if __name__ == "__main__":
    main()
