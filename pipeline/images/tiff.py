"""What the tags of a TIFF file say of its pixels, judged before one of them is decoded.

A page is all that decides them. What two readers could understand in two ways is refused: samples that are not 8-bit colour,
blocks (strips or tiles) that are not all there or lie where they cannot. Whether it is the file's only one, `tiff_images` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .image_faults import UnusableError, no_colour, require_decodable, require_depth, require_upright
from .tiff_tags import Tags

RAW, LZW, JPEG, PACKBITS, LZMA, ZSTD = 1, 5, 7, 32773, 34925, 50000
DEFLATE = (8, 32946)
_PREDICTED = (LZW, *DEFLATE, LZMA, ZSTD)  # compressions that a predictor may go with
_TAKEN = (RAW, JPEG, PACKBITS, *_PREDICTED)
_NOT_TAKEN = {
    **dict.fromkeys((2, 3, 4, 32771), "CCITT fax"),
    6: "JPEG of the old kind, whose colours readers blend differently",
    **dict.fromkeys((9, 10, 34661), "JBIG"),
    32766: "NeXT RLE",
    32809: "ThunderScan",
    **dict.fromkeys((32908, 32909), "Pixar"),
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((34676, 34677), "SGI LogLuv"),
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34933: "PNG",
    **dict.fromkeys((22610, 34934), "JPEG XR"),
    **dict.fromkeys((34927, 50001), "WebP"),
    **dict.fromkeys((50002, 52546), "JPEG XL"),
}
RGB, PALETTE, CMYK, YCBCR = 2, 3, 5, 6
_COLOURS = {RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}  # samples that make a colour
_NO_COLOUR = {
    0: ("L", "grey"),
    1: ("L", "grey"),
    4: ("1", "a mask"),
    8: ("LAB", "CIE Lab"),
    9: ("LAB", "ICC Lab"),
    10: ("LAB", "ITU Lab"),
    32803: ("L", "a camera's raw colour filter"),
    32844: ("F", "LogL"),
    32845: ("F", "LogLuv"),
    34892: ("F", "linear raw"),
}
_SAMPLES = {2: "signed whole numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}
_MOST_SAMPLES, _MOST_BLOCKS = 8, 2**18  # a pixel; an image: 8,192 px in tiles of 16 px
_BT601, _FULL_RANGE = (0.299, 0.587, 0.114), (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)  # TIFF 6.0, sections 21 and 20


@dataclass(frozen=True)
class Page:
    """All that decides the pixels; blocks are (place, bytes) in the file, row by row, plane after plane."""

    width: int
    height: int
    photometric: int
    bits: int
    samples: int
    alpha: int | None  # which sample, if one is
    has_planes_apart: bool
    compression: int
    has_predictor: bool
    has_bits_reversed: bool
    block_width: int
    block_height: int
    blocks: tuple[tuple[int, int], ...]
    is_tiled: bool
    palette: tuple[int, ...]
    jpeg_tables: bytes
    subsampling: tuple[int, int]
    coefficients: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def mode(self) -> str:
        """As Pillow calls it."""
        return {RGB: "RGB" if self.alpha is None else "RGBA", PALETTE: "P", CMYK: "CMYK", YCBCR: "YCbCr"}[self.photometric]

    @property
    def plane_samples(self) -> int:
        """Samples of a pixel that stand together."""
        return 1 if self.has_planes_apart else self.samples

    def rows(self, block: int) -> int:
        """How many rows of pixels a block holds: the last strip may hold fewer."""
        if self.is_tiled:
            return self.block_height
        strip = block % math.ceil(self.height / self.block_height)
        return min(self.block_height, self.height - strip * self.block_height)

    def size(self, rows: int) -> int:
        """Bytes of so many rows of a block, uncompressed."""
        across, down = self.subsampling
        if (across, down) != (1, 1):
            return math.ceil(self.block_width / across) * math.ceil(rows / down) * (across * down + 2)
        return rows * math.ceil(self.block_width * self.plane_samples * self.bits / 8)


def page(tags: Tags) -> Page:
    """The page of a file that holds one image.

    Raises:
        UnusableError: why its pixels cannot be had for certain.
    """
    require_upright([tags.number(274)] if 274 in tags else [], tags.text(700))
    compression, photometric, bits, samples = _kind(tags)
    alpha = _alpha(tags, photometric, samples)
    planar, fill = tags.number(284, 1), tags.number(266, 1)
    if planar not in (1, 2) or fill not in (1, 2):
        raise UnusableError(f"unclear tags: PlanarConfiguration {planar}, FillOrder {fill}; each is 1 or 2")
    predictor = tags.number(317, 1)
    if predictor not in (1, 2) or (predictor == 2 and (bits != 8 or compression not in _PREDICTED)):
        raise UnusableError(f"unclear tags: Predictor {predictor} does not go with compression {compression} of {bits} bits")
    is_apart = planar == 2 and samples > 1
    subsampling = _subsampling(tags, photometric, compression, is_apart or predictor == 2)
    is_tiled, width, height, blocks = _blocks(tags, samples if is_apart else 1)
    found = Page(
        width=tags.number(256),
        height=tags.number(257),
        photometric=photometric,
        bits=bits,
        samples=samples,
        alpha=alpha,
        has_planes_apart=is_apart,
        compression=compression,
        has_predictor=predictor == 2,
        has_bits_reversed=fill == 2,
        block_width=width,
        block_height=height,
        blocks=(),
        is_tiled=is_tiled,
        palette=_palette(tags, bits) if photometric == PALETTE else (),
        jpeg_tables=tags.blob(347) if compression == JPEG and 347 in tags else b"",
        subsampling=subsampling,
        coefficients=tags.fractions(529, _BT601) if photometric == YCBCR else _BT601,
        reference=tags.fractions(532, _FULL_RANGE) if photometric == YCBCR else _FULL_RANGE,
    )
    return replace(found, blocks=_placed(tags, found, blocks))


def _kind(tags: Tags) -> tuple[int, int, int, int]:
    """Compression, photometric interpretation, bits of a sample and samples of a pixel."""
    samples, compression, photometric = tags.number(277, 1), tags.number(259, RAW), tags.number(262)
    kinds = set(tags.numbers(339)) if 339 in tags else {1}
    depths = set(tags.numbers(258)) if 258 in tags else {1}
    bits = max(depths)
    if unknown := kinds - {1, 4}:
        raise UnusableError(f"{_SAMPLES.get(min(unknown), 'numbers of an unknown kind')}, {bits} bits a channel instead of 8")
    if bits > 8 or (photometric != PALETTE and bits != 1):
        require_depth(bits)
    if compression not in _TAKEN:
        name = _NOT_TAKEN.get(compression, "an unknown one")
        raise UnusableError(f"compression not taken, {name} ({compression}): save it as TIFF with deflate, or as PNG")
    if photometric not in _COLOURS:
        raise _no_colour(photometric, bits, samples)
    if photometric == PALETTE and bits not in (1, 2, 4, 8):
        raise UnusableError(f"unclear tags: a palette of {bits} bits")
    if len(depths) != 1 or tags.count(258) not in (1, samples) or (bits != 8 and photometric != PALETTE):
        raise UnusableError("unclear tags: BitsPerSample does not go with SamplesPerPixel")
    return compression, photometric, bits, samples


def _no_colour(photometric: int, bits: int, samples: int) -> UnusableError:
    if photometric in (0, 1) and bits == 1:
        return no_colour("1", "black and white")
    if photometric in (0, 1) and samples == 2:
        return no_colour("LA", "grey with transparency")
    return no_colour(*_NO_COLOUR.get(photometric, ("unknown", f"photometric interpretation {photometric}")))


def _alpha(tags: Tags, photometric: int, samples: int) -> int | None:
    """Which sample tells how much one sees of what lies behind."""
    colours = _COLOURS[photometric]
    extra = tags.numbers(338, _MOST_SAMPLES + 1) if 338 in tags else ()
    if samples > _MOST_SAMPLES:
        raise UnusableError(f"{samples:,} samples a pixel; at most {_MOST_SAMPLES} are decoded")
    if photometric == PALETTE and samples != 1:
        raise no_colour("PA", "a palette with transparency")
    if photometric == RGB and samples == 4 and not extra:
        return 3
    if samples != colours + len(extra) or (photometric == YCBCR and extra):
        raise UnusableError(f"unclear tags: {samples} samples a pixel, of which {colours} are colour and {len(extra)} extra")
    if tags.number(332, 1) != 1:
        raise UnusableError("inks other than cyan, magenta, yellow and black")
    shown = [colours + place for place, kind in enumerate(extra) if kind != 0]
    if (shown and photometric != RGB) or len(shown) > 1:
        raise UnusableError("translucent: an alpha channel beside colours that are not RGB, or two of them")
    return shown[0] if shown else None


def _subsampling(tags: Tags, photometric: int, compression: int, needs_none: bool) -> tuple[int, int]:
    """How many pixels, across and down, share a colour; inside JPEG that is JPEG's own affair."""
    if photometric != YCBCR or compression == JPEG:
        return 1, 1
    found = tags.numbers(530, 3) if 530 in tags else (2, 2)
    if len(found) != 2 or not set(found) <= {1, 2, 4} or (needs_none and found != (1, 1)):
        raise UnusableError(f"unclear tags: YCbCrSubSampling {found} does not go with the other tags")
    return found[0], found[1]


def _palette(tags: Tags, bits: int) -> tuple[int, ...]:
    if tags.count(320) != 3 * 2**bits:
        raise UnusableError(f"unclear tags: ColorMap has {tags.count(320):,} values instead of {3 * 2**bits}")
    values = tags.numbers(320)
    # Written in 8 bits, though 16 are the rule: known by every value, as in libtiff.
    return values if max(values) < 256 else tuple(value >> 8 for value in values)


def _blocks(tags: Tags, planes: int) -> tuple[bool, int, int, int]:
    """Whether they are tiles, their width and height, how many there are."""
    across, down = tags.number(256), tags.number(257)
    if is_tiled := 322 in tags or 323 in tags:
        width, height = tags.number(322), tags.number(323)
        require_decodable(width, height)
    else:
        width, height = across, min(tags.number(278, down), down)
    if not height:
        raise UnusableError("unclear tags: RowsPerStrip is 0")
    if is_tiled == (273 in tags or 279 in tags):
        raise UnusableError("unclear tags: strips and tiles in one" if is_tiled else "unclear tags: StripOffsets is missing")
    return is_tiled, width, height, planes * math.ceil(across / width) * math.ceil(down / height)


def _placed(tags: Tags, page: Page, needed: int) -> tuple[tuple[int, int], ...]:
    """Where the blocks are: all of them, written at all, within the file, over nothing else."""
    offsets, counts, name = (324, 325, "tile") if page.is_tiled else (273, 279, "strip")
    listed = tags.count(offsets)
    if max(needed, listed) > _MOST_BLOCKS:
        raise UnusableError(f"lists {max(needed, listed):,} {name}s; at most {_MOST_BLOCKS:,} are decoded")
    if listed < needed:
        raise UnusableError(f"incomplete: lists {listed:,} of {needed:,} {name}s")
    places = tags.numbers(offsets, needed)
    whole = [page.size(page.rows(block)) for block in range(needed)]
    if counts in tags:
        if tags.count(counts) < needed:
            raise UnusableError(f"incomplete: tells the bytes of {tags.count(counts):,} of {needed:,} {name}s")
        lengths = tags.numbers(counts, needed)
    elif page.compression == RAW and needed == 1 and page.bits == 8:  # else readers differ in what they guess
        lengths = tuple(whole)
    else:
        raise UnusableError(f"unclear tags: {'Tile' if page.is_tiled else 'Strip'}ByteCounts is missing")
    for block, (place, length) in enumerate(zip(places, lengths, strict=True)):
        if not place or not length:
            raise UnusableError(f"incomplete: {name} {block + 1:,} of {needed:,} was never written")
        if place + length > len(tags.data):
            raise UnusableError(
                f"cut off: {name} {block + 1:,} of {needed:,} ends at byte {place + length:,} of a file of {len(tags.data):,}"
            )
        if page.compression == RAW and length < whole[block]:
            raise UnusableError(f"incomplete: {name} {block + 1:,} has {length:,} of {whole[block]:,} bytes")
        if page.compression == RAW and page.subsampling != (1, 1) and length > page.size(page.block_height):
            raise UnusableError(f"unclear tags: {name} {block + 1:,} has {length:,} bytes, more than shared colours take")
    if page.compression == RAW:
        lengths = tuple(whole)
    found = tuple(zip(places, lengths, strict=True))
    _require_apart(tags, found, name)
    return found


def _require_apart(tags: Tags, blocks: tuple[tuple[int, int], ...], name: str) -> None:
    """Refuse blocks that lie over one another or over what is no pixels; two that are one and the same are well."""
    pixels = {(place, place + length) for place, length in blocks}
    ranges = sorted([(*where, True) for where in pixels] + [(*where, False) for where in set(tags.taken)])
    end, is_pixels = 0, False
    for start, stop, is_block in ranges:
        if start < end and (is_block or is_pixels):
            raise UnusableError(f"damaged: a {name} begins at byte {start:,}, where something else lies")
        if stop > end:
            end, is_pixels = stop, is_block
