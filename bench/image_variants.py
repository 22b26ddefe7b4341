"""Variants of TIFF, PNG and JPEG that are taken, each with its true pixels, beside two other decoders.

`python -m bench.image_variants` prints them and those that are refused (`bench.image_refusals`), as Markdown.
"""

from __future__ import annotations

import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image

from bench import image_refusals, second_decoders
from bench.image_writing import (
    PX,
    REVERSED,
    XMP,
    Packed,
    Pixels,
    bare,
    differences,
    interlaced,
    jpeg,
    picture,
    png,
    saved,
    strips,
    tags_of,
    tiff,
    tiles,
    units,
    with_one_below,
    without_tables,
    ycbcr,
)
from pipeline.images import decoding

RGB = picture()
RAW = [RGB.tobytes()]
OPAQUE = np.dstack([RGB, np.full((PX, PX), 255, np.uint8)])
INDICES = np.asarray(Image.fromarray(RGB).quantize(64))
PALETTE = np.random.default_rng(0).integers(0, 256, (3, 256), dtype=np.uint8)
INKS = np.asarray(Image.fromarray(RGB).convert("CMYK"))
YCC = ycbcr(RGB)
SHORT, LONG = 3, 4  # types of tags
APART, REVERSE, TEN_ROWS = {"t284": (SHORT, [2])}, {"t266": (SHORT, [2])}, {"t278": (SHORT, [10])}
TILES = {"t322": (SHORT, [32]), "t323": (SHORT, [32])}
PACKS: list[tuple[str, int, Callable[[bytes], Packed]]] = [
    ("LZW", 5, imagecodecs.lzw_encode),
    ("deflate", 8, zlib.compress),
    ("deflate, number 32946", 32946, zlib.compress),
    ("PackBits", 32773, imagecodecs.packbits_encode),
    ("LZMA", 34925, lzma.compress),
    ("Zstandard", 50000, imagecodecs.zstd_encode),
]


class Variant(NamedTuple):
    """A file, and what its pixels are; None where the format changes them."""

    name: str
    data: bytes
    truth: Pixels | None = RGB


def used() -> list[Variant]:
    """Every kind of file that is taken."""
    return [*_layouts(), *_tags(), *_compressions(), *_extras(), *_palettes(), *_other_colours(), *_jpegs_inside(), *_others()]


def _layouts() -> Iterator[Variant]:
    """Where the pixels lie."""
    tall = {key: tag for key, tag in tags_of().items() if key != 278}
    yield Variant("TIFF, RGB, one strip", tiff(tags_of(), RAW))
    yield Variant("TIFF, RGB, strips of 10 rows", tiff(tags_of(**TEN_ROWS), strips(RGB, 10)))
    yield Variant("TIFF, no RowsPerStrip", tiff(tall, RAW))
    yield Variant("TIFF, more rows a strip than there are", tiff(tags_of(t278=(LONG, [2**32 - 1])), RAW))
    yield Variant("TIFF, more strips listed than needed", tiff(tags_of(**TEN_ROWS), [*strips(RGB, 10), b"more"]))
    yield Variant("TIFF, more bytes counted than needed", tiff(tags_of(t279=(LONG, [RGB.nbytes + 9])), [RAW[0] + bytes(9)]))
    yield Variant("TIFF, no StripByteCounts", tiff(tags_of(), RAW, counts=False))
    yield Variant("TIFF, big-endian", tiff(tags_of(), RAW, ">"))
    yield Variant("BigTIFF", tiff(tags_of(), RAW, big=True))
    yield Variant("BigTIFF, big-endian", tiff(tags_of(), RAW, ">", big=True))
    yield Variant("TIFF, planes apart", tiff(tags_of(**APART), [RGB[..., c].tobytes() for c in range(3)]))
    planes = [block for c in range(3) for block in strips(RGB[..., c], 10)]
    yield Variant("TIFF, planes apart, strips", tiff(tags_of(**APART, **TEN_ROWS), planes))
    yield Variant("TIFF, tiles that reach over the edge", tiff(tags_of(**TILES), tiles(RGB, 32)))
    yield Variant("TIFF, tiles of 24 px", tiff(tags_of(t322=(SHORT, [24]), t323=(SHORT, [24])), tiles(RGB, 24)))
    planes = [block for c in range(3) for block in tiles(RGB[..., c], 32)]
    yield Variant("TIFF, tiles, planes apart", tiff(tags_of(**APART, **TILES), planes))
    yield Variant("TIFF, bits reversed", tiff(tags_of(**REVERSE), [RAW[0].translate(REVERSED)]))
    planes = [RGB[..., c].tobytes().translate(REVERSED) for c in range(3)]
    yield Variant("TIFF, bits reversed, planes apart", tiff(tags_of(**REVERSE, **APART), planes))


def _tags() -> Iterator[Variant]:
    """Tags that are odd and change no pixel."""
    longs = {f"t{tag}": (LONG, [PX]) for tag in (256, 257, 278)}
    yield Variant("TIFF, LONG for SHORT", tiff(tags_of(**longs), RAW))
    yield Variant("TIFF, BitsPerSample told once", tiff(tags_of(t258=(SHORT, [8])), RAW))
    yield Variant("TIFF, next page behind the end of the file", tiff(tags_of(), RAW, following=10**8))
    for kind, name in ((1, "BYTE"), (2, "ASCII"), (7, "UNDEFINED")):
        yield Variant(f"TIFF, XMP as {name}", tiff(tags_of(t700=(kind, XMP % 1)), RAW))
    yield Variant("TIFF, XMP as LONG", tiff(tags_of(t700=(LONG, (XMP % 1).ljust(128, b" "))), RAW))
    yield Variant("TIFF, turned in XMP, upright by tag 274", tiff(tags_of(t700=(1, XMP % 6), t274=(SHORT, [1])), RAW))
    yield Variant("TIFF, ImageJ, one image", tiff(tags_of(t270=(2, b"ImageJ=1.54f\nunit=um\n\0")), RAW))
    yield Variant("TIFF, a smaller version below it", with_one_below(tags_of(t254=(LONG, [1]), t256=(LONG, [PX // 2]))))
    private = {"t305": (2, b"x\0"), "t33432": (12, [1.0]), "t65000": (7, b"\1\2\3\4\5")}
    yield Variant("TIFF, tags of others", tiff(tags_of(**private), RAW))


def _compressions() -> Iterator[Variant]:
    for name, number, pack in PACKS:
        packed = {**TEN_ROWS, "t259": (SHORT, [number])}
        yield Variant(f"TIFF, {name}", tiff(tags_of(**packed), strips(RGB, 10, pack)))
        yield Variant(f"TIFF, {name}, tiles", tiff(tags_of(**TILES, t259=(SHORT, [number])), tiles(RGB, 32, pack)))
        if name != "PackBits":
            packed["t317"] = (SHORT, [2])
            yield Variant(f"TIFF, {name}, predictor", tiff(tags_of(**packed), strips(differences(RGB), 10, pack)))
            planes = [block for c in range(3) for block in strips(differences(RGB[..., c]), 10, pack)]
            yield Variant(f"TIFF, {name}, predictor, planes apart", tiff(tags_of(**packed, **APART), planes))
    packed = {**TEN_ROWS, "t259": (SHORT, [8])}
    turned = [block.translate(REVERSED) for block in strips(RGB, 10, zlib.compress)]
    yield Variant("TIFF, deflate, bits reversed", tiff(tags_of(**packed, **REVERSE), turned))
    padded = strips(np.concatenate([RGB, RGB])[: -(-PX // 10) * 10], 10, zlib.compress)
    yield Variant("TIFF, deflate, the last strip filled up", tiff(tags_of(**packed), padded))
    padded = strips(np.concatenate([RGB, RGB])[: -(-PX // 10) * 10], 10, imagecodecs.lzw_encode)
    yield Variant("TIFF, LZW, the last strip filled up", tiff(tags_of(**TEN_ROWS, t259=(SHORT, [5])), padded))


def _extras() -> Iterator[Variant]:
    """Samples beside the colours."""
    blank = np.dstack([RGB, np.full((PX, PX, 2), 7, np.uint8)])
    for name, kind in (("RGBA", 2), ("RGBA, premultiplied", 1), ("RGBA by Corel", 999)):
        yield Variant(f"TIFF, {name}, opaque", tiff(tags_of(4, t338=(SHORT, [kind])), [OPAQUE.tobytes()]))
    yield Variant("TIFF, RGBA without ExtraSamples, opaque", tiff(tags_of(4), [OPAQUE.tobytes()]))
    planes = [OPAQUE[..., c].tobytes() for c in range(4)]
    yield Variant("TIFF, RGBA, planes apart, opaque", tiff(tags_of(4, t338=(SHORT, [2]), **APART), planes))
    one = tiff(tags_of(4, t338=(SHORT, [0])), [np.ascontiguousarray(blank[..., :4]).tobytes()])
    yield Variant("TIFF, RGB and a sample that is no alpha", one)
    yield Variant("TIFF, RGB and two of them", tiff(tags_of(5, t338=(SHORT, [0, 0])), [blank.tobytes()]))


def _palettes() -> Iterator[Variant]:
    def table(colours: Pixels, factor: int = 257) -> tuple[int, list[int]]:
        return SHORT, (colours.astype(int) * factor).ravel().tolist()

    one, truth, plain = {"t262": (SHORT, [3])}, PALETTE.T[INDICES], [INDICES.tobytes()]
    yield Variant("TIFF, palette", tiff(tags_of(1, **one, t320=table(PALETTE)), plain), truth)
    yield Variant("TIFF, palette in 8 bits", tiff(tags_of(1, **one, t320=table(PALETTE, 1)), plain), truth)
    packed = {**one, **TEN_ROWS, "t259": (SHORT, [5])}
    data = tiff(tags_of(1, **packed, t320=table(PALETTE)), strips(INDICES, 10, imagecodecs.lzw_encode))
    yield Variant("TIFF, palette, LZW", data, truth)
    for bits in (4, 2, 1):
        few = INDICES % 2**bits
        spread = np.packbits(np.unpackbits(few[..., None], axis=2)[..., 8 - bits :].reshape(PX, -1), axis=1)
        tags = tags_of(1, **one | {"t258": (SHORT, [bits])}, t320=table(PALETTE[:, : 2**bits]))
        yield Variant(f"TIFF, palette of {bits} bits", tiff(tags, [spread.tobytes()]), PALETTE.T[few])
    yield Variant("PNG, palette", png(INDICES, (b"PLTE", PALETTE.T.tobytes()), mode=3), truth)
    opaque = (b"PLTE", PALETTE.T.tobytes()), (b"tRNS", b"\xff" * 9)
    yield Variant("PNG, palette, all of it opaque", png(INDICES, *opaque, mode=3), truth)
    few = INDICES % 4
    spread = np.packbits(np.unpackbits(few[..., None], axis=2)[..., 6:].reshape(PX, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in spread)
    data = png(INDICES, (b"PLTE", PALETTE.T[:4].tobytes()), mode=3, bits=2, filtered=rows)
    yield Variant("PNG, palette of 2 bits", data, PALETTE.T[few])


def _other_colours() -> Iterator[Variant]:
    inks, truth = {"t262": (SHORT, [5])}, np.asarray(Image.fromarray(INKS, "CMYK").convert("RGB"))
    yield Variant("TIFF, CMYK", tiff(tags_of(4, **inks), [INKS.tobytes()]), truth)
    packed = tiff(tags_of(4, **inks, t259=(SHORT, [8])), [zlib.compress(INKS.tobytes())])
    yield Variant("TIFF, CMYK, deflate", packed, truth)
    colour, full = {"t262": (SHORT, [6])}, {"t262": (SHORT, [6]), "t530": (SHORT, [1, 1])}
    yield Variant("TIFF, YCbCr", tiff(tags_of(**full), [YCC.tobytes()]), None)
    yield Variant("TIFF, YCbCr, planes apart", tiff(tags_of(**full, **APART), [YCC[..., c].tobytes() for c in range(3)]), None)
    predicted = [imagecodecs.lzw_encode(differences(YCC).tobytes())]
    yield Variant("TIFF, YCbCr, LZW, predictor", tiff(tags_of(**full, t259=(SHORT, [5]), t317=(SHORT, [2])), predicted), None)
    narrow = {**full, "t532": (5, [16, 235, 128, 240, 128, 240])}
    yield Variant("TIFF, YCbCr, ReferenceBlackWhite", tiff(tags_of(**narrow), [YCC.tobytes()]), None)
    for across, down in ((2, 1), (2, 2), (4, 1), (4, 2), (1, 2)):
        shared = {**colour, "t530": (SHORT, [across, down])}
        yield Variant(f"TIFF, YCbCr {across} x {down}", tiff(tags_of(**shared), [units(YCC, across, down)]), None)
    parts = [units(YCC[top : top + 16], 2, 2) for top in range(0, PX, 16)]
    yield Variant("TIFF, YCbCr 2 x 2, said by no tag, strips", tiff(tags_of(**colour, t278=(SHORT, [16])), parts), None)
    shared = {**colour, "t530": (SHORT, [2, 2]), "t259": (SHORT, [8]), "t278": (SHORT, [16])}
    yield Variant("TIFF, YCbCr 2 x 2, deflate", tiff(tags_of(**shared), [zlib.compress(part) for part in parts]), None)
    over = np.zeros((64, 64, 3), np.uint8)
    over[:PX, :PX] = YCC
    blocks = [units(over[y : y + 32, x : x + 32], 2, 2) for y in (0, 32) for x in (0, 32)]
    yield Variant("TIFF, YCbCr 2 x 2, tiles", tiff(tags_of(**colour, **TILES), blocks), None)


def _jpegs_inside() -> Iterator[Variant]:
    inside = {"t259": (SHORT, [7]), "t262": (SHORT, [6])}
    kinds: list[tuple[str, int, dict[str, object]]] = [
        ("4:2:0", 2, {}),
        ("4:4:4", 1, {"subsampling": 0}),
        ("progressive", 2, {"progressive": True}),
    ]
    for name, number, options in kinds:
        yield Variant(f"TIFF, JPEG, {name}", tiff(tags_of(**inside, t530=(SHORT, [number] * 2)), [jpeg(RGB, **options)]), None)
    parts = [without_tables(bare(jpeg(RGB[top : top + 16]))) for top in range(0, PX, 16)]
    tags = tags_of(**inside, t347=(7, parts[0][0]), t278=(SHORT, [16]))
    yield Variant("TIFF, JPEG, strips, tables in a tag", tiff(tags, [rest for _, rest in parts]), None)
    streams = [jpeg(RGB[:32]), jpeg(np.concatenate([RGB[32:], RGB[:16]]))]
    yield Variant("TIFF, JPEG, the last strip filled up", tiff(tags_of(**inside, t278=(SHORT, [32])), streams), None)
    over = np.zeros((64, 64, 3), np.uint8)
    over[:PX, :PX] = RGB
    blocks = [jpeg(over[y : y + 32, x : x + 32]) for y in (0, 32) for x in (0, 32)]
    yield Variant("TIFF, JPEG, tiles", tiff(tags_of(**inside, **TILES), blocks), None)
    plain = bare(saved(Image.fromarray(RGB), "JPEG", quality=90, keep_rgb=True))
    yield Variant("TIFF, JPEG of RGB", tiff(tags_of(t259=(SHORT, [7])), [plain]), None)
    planes = [saved(Image.fromarray(np.ascontiguousarray(RGB[..., c])), "JPEG") for c in range(3)]
    yield Variant("TIFF, JPEG of RGB, planes apart", tiff(tags_of(t259=(SHORT, [7]), **APART), planes), None)
    inks = saved(Image.fromarray(255 - INKS, "CMYK"), "JPEG")  # Pillow turns them, as Adobe does in files of JPEG
    yield Variant("TIFF, JPEG of CMYK", tiff(tags_of(4, t259=(SHORT, [7]), t262=(SHORT, [5])), [inks]), None)


def _others() -> Iterator[Variant]:
    """PNG and JPEG."""
    image = Image.fromarray(RGB)
    yield Variant("PNG, RGB", saved(image, "PNG"))
    yield Variant("PNG, RGB, other chunks", png(RGB, (b"tEXt", b"Comment\0x"), (b"gAMA", b"\0\0\xb1\x8f")))
    yield Variant("PNG, RGBA, opaque", saved(Image.fromarray(OPAQUE), "PNG"))
    yield Variant("PNG, interlaced", interlaced(RGB))
    for name, number in (("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)):
        yield Variant(f"JPEG, {name}", jpeg(RGB, subsampling=number), None)
    yield Variant("JPEG, progressive", jpeg(RGB, progressive=True), None)
    yield Variant("JPEG, restart markers", jpeg(RGB, restart_marker_rows=1), None)
    yield Variant("JPEG, RGB", saved(image, "JPEG", quality=90, keep_rgb=True), None)


def main() -> None:
    """Print the table; exit with 1 where a file is not as it should be."""
    print("| file | | tifffile / imagecodecs | libtiff / Pillow |\n|---|---|---|---|")
    wrong = 0
    for variant in used():
        seen = decoding.inspect(variant.data, PX)
        lossy = seen.format in decoding.LOSSY
        said = []
        for pixels in second_decoders.all_of(variant.data).values():
            same = pixels is not None and seen.pixels is not None and second_decoders.agree(seen.pixels, pixels, lossy)
            said.append("gives up" if pixels is None else "the same" if same else "OTHER PIXELS")
        truth = variant.truth is None or (seen.pixels is not None and np.array_equal(seen.pixels, variant.truth))
        wrong += bool(seen.reason) or not truth or "OTHER PIXELS" in said
        print(f"| {variant.name} | {seen.reason or ('used' if truth else 'WRONG')} | {' | '.join(said)} |")
    print("\n| file | refused |\n|---|---|")
    for name, data, expected in image_refusals.refused():
        reason = decoding.inspect(data, PX).reason
        wrong += not reason.startswith(expected)
        print(f"| {name} | {reason or 'USED'} |")
    sys.exit(min(wrong, 1))


if __name__ == "__main__":
    main()
