"""Variants of TIFF, PNG and JPEG that are refused, and how the reason begins; `bench.image_variants` prints them."""

from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np
from PIL import Image

from bench.image_writing import (
    PX,
    XMP,
    Tag,
    bare,
    jpeg,
    picture,
    png,
    saved,
    strips,
    tags_of,
    tiff,
    tiles,
    with_one_below,
    ycbcr,
)


def refused() -> list[tuple[str, bytes, str]]:
    """Every kind of file that is not taken, with the beginning of the reason."""
    rgb = picture()
    grey = np.ascontiguousarray(rgb[..., :1])
    raw, short = [rgb.tobytes()], 3
    whole = jpeg(rgb)
    half, colour = len(whole) // 2, {"t259": (short, [7]), "t262": (short, [6])}
    ten = strips(rgb, 10)
    found: list[tuple[str, bytes, str]] = []

    def add(name: str, data: bytes, reason: str) -> None:
        found.append((name, data, reason))

    def without(tag: int, **more: Tag) -> dict[int, Tag]:
        return {key: value for key, value in tags_of(**more).items() if key != tag}

    add("TIFF, fewer strips than needed", tiff(tags_of(t278=(short, [10])), ten[:3]), "incomplete: lists 3 of")
    tile = {"t322": (short, [32]), "t323": (short, [32])}
    add("TIFF, fewer tiles than needed", tiff(tags_of(**tile), tiles(rgb, 32)[:3]), "incomplete: lists 3 of 4 tiles")
    sizes = (4, [0, *map(len, ten[1:])])
    add("TIFF, a strip never written", tiff(tags_of(t278=(short, [10]), t279=sizes), ten), "incomplete: strip 1 of")
    add("TIFF, offset 0", tiff(tags_of(t273=(4, [0])), raw), "incomplete: strip 1 of 1 was never written")
    add("TIFF, a strip over the tags", tiff(tags_of(t273=(4, [4])), raw), "damaged: a strip begins at byte 4")
    add("TIFF, cut off", tiff(tags_of(), raw)[:-100], "cut off: strip 1 of 1 ends at byte")
    add("TIFF, too few bytes", tiff(tags_of(t279=(4, [100])), raw), "incomplete: strip 1 has 100 of")
    many = tiff(tags_of(t273=(4, [99] * 300_000), t278=(short, [1])), raw)
    add("TIFF, 300,000 strips", many, "lists 300,000 strips")
    packed = bytearray(zlib.compress(raw[0]))
    packed[len(packed) // 2] ^= 1
    deflate = tags_of(t259=(short, [8]))
    add("TIFF, deflate, a bit flipped", tiff(deflate, [bytes(packed)]), "damaged: strip 1 of 1, deflate")
    add("TIFF, deflate, no checksum", tiff(deflate, [zlib.compress(raw[0])[:-4]]), "damaged: strip 1 of 1, deflate")
    add("TIFF, LZW, cut off", tiff(tags_of(t259=(short, [5])), [imagecodecs.lzw_encode(raw[0])[:900]]), "cut off: strip 1")
    twofold = imagecodecs.lzw_encode(raw[0] * 2)
    add("TIFF, LZW, more than the image", tiff(tags_of(t259=(short, [5])), [twofold]), "damaged: strip 1 of 1, LZW: gives more")
    add("TIFF, JPEG ends early", tiff(tags_of(**colour), [whole[:half]]), "damaged: JPEG")
    add("TIFF, JPEG ends early, end marked", tiff(tags_of(**colour), [whole[:half] + b"\xff\xd9"]), "damaged: JPEG")
    add("TIFF, JPEG with a hole", tiff(tags_of(**colour), [whole[:half] + bytes(len(whole) - half)]), "damaged: JPEG")
    small = jpeg(rgb[:16])
    add("TIFF, JPEG of another size", tiff(tags_of(**colour), [small]), "damaged: a JPEG block of")
    add(
        "TIFF, two pages",
        saved(Image.fromarray(rgb), "TIFF", save_all=True, append_images=[Image.fromarray(rgb)]),
        "more than one",
    )
    stacked = tiff(tags_of(t270=(2, b"ImageJ=1.54f\nimages=5\nslices=5\n\0")), [raw[0] * 5])
    add("TIFF, ImageJ's stack behind one list of tags", stacked, "more than one image: a stack of 5, saved by ImageJ")
    shaped = tiff(tags_of(t270=(2, b'{"shape": [5, %d, %d, 3]}\0' % (PX, PX))), [raw[0] * 5])
    add("TIFF, tifffile's stack behind one list of tags", shaped, "more than one image: a stack, saved by tifffile")
    add("TIFF, MetaMorph's stack", tiff(tags_of(t33629=(4, [0] * 4)), raw), "more than one image: a stack of 4")
    add("TIFF, a volume", tiff(tags_of(t32997=(4, [4])), raw), "more than one image: a volume of 4")
    add("TIFF, a thumbnail", tiff(tags_of(t254=(4, [1])), raw), "not the image itself: by its tags a thumbnail")
    add("TIFF, a thumbnail by the old tag", tiff(tags_of(t255=(short, [2])), raw), "not the image itself")
    add("TIFF, a mask", tiff(tags_of(t254=(4, [4])), raw), "not the image itself: by its tags a mask")
    add("TIFF, another image below it", with_one_below(tags_of()), "more than one image: another lies below")
    larger = tags_of(t254=(4, [1]), t256=(4, [2 * PX]))
    add("TIFF, a larger one below it", with_one_below(larger), "more than one image: another lies below")
    add("TIFF, a mask below it", with_one_below(tags_of(t254=(4, [4]))), "translucent: a mask lies beside the image")
    once = tiff(tags_of(t270=(2, b"shape=(5, %d, %d, 3)\0" % (PX, PX))), [raw[0] * 5])
    add("TIFF, tifffile's stack as it was told once", once, "more than one image: a stack, saved by tifffile")
    add("TIFF, turned", tiff(tags_of(t274=(short, [6])), raw), "orientation tag 6")
    add("TIFF, turned in XMP", tiff(tags_of(t700=(1, XMP % 6)), raw), "orientation 6 in its XMP")
    utf_16 = (XMP % 6).decode().encode("utf-16")
    add("TIFF, turned in XMP in UTF-16", tiff(tags_of(t700=(1, utf_16)), raw), "orientation 6 in its XMP")
    named = (XMP % 6).replace(b"tiff:Or", b"t:Or")
    add("TIFF, turned in XMP by another prefix", tiff(tags_of(t700=(1, named)), raw), "orientation 6 in its XMP")
    add("TIFF, turned in XMP as ASCII", tiff(tags_of(t700=(2, XMP % 3)), raw), "orientation 3 in its XMP")
    wide = [rgb.astype("<u2").tobytes()]
    add("TIFF, 16 bits", tiff(tags_of(t258=(short, [16] * 3)), wide), "16 bits a channel instead of 8")
    floats = tags_of(t258=(short, [32] * 3), t339=(short, [3] * 3))
    add("TIFF, floating point", tiff(floats, [rgb.astype("<f4").tobytes()]), "floating-point numbers, 32 bits")
    add("TIFF, signed", tiff(tags_of(t339=(short, [2] * 3)), raw), "signed whole numbers")
    add("TIFF, grey", tiff(tags_of(1, t262=(short, [1])), [grey.tobytes()]), "no 8-bit colour: mode L (grey)")
    add("TIFF, CIE Lab", tiff(tags_of(t262=(short, [8])), raw), "no 8-bit colour: mode LAB (CIE Lab)")
    clear = np.dstack([rgb, np.full((PX, PX), 128, np.uint8)])
    add(
        "TIFF, translucent",
        tiff(tags_of(4, t338=(short, [2])), [clear.tobytes()]),
        "translucent: alpha down to 128",
    )
    for number, name in (
        (34712, "JPEG 2000"),
        (50001, "WebP"),
        (34887, "LERC"),
        (50002, "JPEG XL"),
        (6, "JPEG of the old kind"),
    ):
        add(f"TIFF, {name}", tiff(tags_of(t259=(short, [number])), raw), f"compression not taken, {name}")
    add("TIFF, an unknown compression", tiff(tags_of(t259=(short, [12345])), raw), "compression not taken, an unknown one")
    add("TIFF, predictor without compression", tiff(tags_of(t317=(short, [2])), raw), "unclear tags: Predictor 2")
    add(
        "TIFF, floating-point predictor",
        tiff(tags_of(t259=(short, [8]), t317=(short, [3])), raw),
        "unclear tags: Predictor 3",
    )
    add(
        "TIFF, colour map too short",
        tiff(tags_of(1, t262=(short, [3]), t320=(short, [9] * 48)), raw),
        "unclear tags: Col",
    )
    add("TIFF, no PhotometricInterpretation", tiff(without(262), raw), "unclear tags: PhotometricInterpretation is missing")
    add("TIFF, samples that do not add up", tiff(tags_of(t277=(short, [5])), raw), "unclear tags")
    add(
        "TIFF, strips and tiles",
        tiff(tags_of(**tile, t273=(4, [300])), tiles(rgb, 32)),
        "unclear tags: strips and tiles in one",
    )
    subsampled = tags_of(t262=(short, [6]))
    add("TIFF, YCbCr, more bytes than its colours take", tiff(subsampled, [ycbcr(rgb).tobytes()]), "unclear tags: strip 1 has")
    named = bare(saved(Image.fromarray(rgb), "JPEG", keep_rgb=True))
    add("TIFF, JPEG of RGB, YCbCr by its tags", tiff(tags_of(**colour), [named]), "unclear tags: by its tags a block is YCbCr")
    add(
        "TIFF, JPEG of YCbCr, RGB by its tags",
        tiff(tags_of(t259=(short, [7])), [whole]),
        "unclear tags: by its tags a block is not",
    )
    add(
        "TIFF, YCbCr, colours in full where every second is due",
        tiff(subsampled, [ycbcr(rgb).tobytes()[: PX * PX]]),
        "incomplete",
    )
    good = png(rgb)
    flipped = bytearray(good)
    flipped[-30] ^= 1
    add("PNG, a bit flipped", bytes(flipped), "damaged: the checksum of a PNG chunk")
    add("PNG, cut off", good[:-20], "cut off: after 1 of its chunks")
    add("PNG, too few pixels", png(rgb, filtered=bytes(100)), "damaged: PNG, its data give 100 of")
    add("PNG, grey", png(grey, mode=0), "no 8-bit colour: mode L (grey)")
    add("PNG, 16 bits", png(rgb, bits=16, filtered=bytes(PX * (1 + 6 * PX))), "16 bits a channel instead of 8")
    add("PNG, translucent", saved(Image.fromarray(clear), "PNG"), "translucent: alpha down to 128")
    add("PNG, one colour transparent", png(rgb, (b"tRNS", bytes(6))), "translucent: one colour is")
    plte = (b"PLTE", bytes(range(48)))
    small_index = np.full((PX, PX), 3, np.uint8)
    add("PNG, palette with transparency", png(small_index, plte, (b"tRNS", b"\0"), mode=3), "a palette with transparency")
    add("PNG, palette too short", png(small_index + np.uint8(99), plte, mode=3), "damaged: uses colour 102 of a palette of 16")
    add("PNG, animated", png(rgb, (b"acTL", bytes(8))), "more than one page: an animated PNG")
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    add("PNG, turned", png(rgb, (b"eXIf", exif)), "orientation tag 6")
    words = b"\nexif\n      %d\n" % (6 + len(exif)) + (b"Exif\0\0" + exif).hex().encode() + b"\n"
    profile = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(words))
    add("PNG, turned, as ImageMagick writes it", png(rgb, profile), "orientation tag 6")
    add("PNG, turned in XMP", png(rgb, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % 6)), "orientation 6 in its XMP")
    packed_words = (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP % 6))
    add("PNG, turned in XMP that is compressed", png(rgb, packed_words), "orientation 6 in its XMP")
    add("PNG, turned in XMP as plain text", png(rgb, (b"tEXt", b"XML:com.adobe.xmp\0" + XMP % 6)), "orientation 6 in its XMP")
    add("PNG, turned, Exif as JPEG has it", png(rgb, (b"eXIf", b"Exif\0\0" + exif)), "orientation tag 6")
    signed = exif.replace(struct.pack(">HH", 274, 3), struct.pack(">HH", 274, 8))
    add("PNG, turned, by a signed number", png(rgb, (b"eXIf", signed)), "unclear tags: Orientation is written as type 8")
    behind = png(small_index, mode=3)
    table = png(small_index, plte, mode=3)[33:]
    table = table[: 12 + len(plte[1])]
    add("PNG, palette behind the pixels", behind[:-12] + table + behind[-12:], "damaged: PNG, its palette")
    add("PNG, two palettes", png(small_index, plte, (b"PLTE", bytes(48)), mode=3), "damaged: PNG, its palette")
    add("JPEG, cut off", whole[:half], "damaged: JPEG")
    add("JPEG, ends early, end marked", whole[:half] + b"\xff\xd9", "damaged: JPEG")
    add("JPEG, turned", jpeg(rgb, exif=b"Exif\0\0" + exif), "orientation tag 6")
    upright = exif[:-6] + b"\0\1" + exif[-4:]
    twice = jpeg(rgb, exif=b"Exif\0\0" + upright)
    twice = twice[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(exif)) + b"Exif\0\0" + exif + twice[2:]
    add("JPEG, turned, by the one of two Exif blocks", twice, "orientation tag 6")
    adobe = whole[:2] + b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, 0) + whole[2:]
    add("JPEG, YCbCr and RGB by its markers", adobe, "unclear colours: YCbCr by its JFIF marker")
    add("JPEG, grey", saved(Image.fromarray(rgb).convert("L"), "JPEG"), "no 8-bit colour: mode L (grey)")
    add("JPEG, CMYK", saved(Image.fromarray(rgb).convert("CMYK"), "JPEG"), "4 colours in a JPEG file")
    twin = whole[:2] + b"\xff\xe2\0\x08MPF\0II" + whole[2:]
    add("JPEG, several pictures", twin, "more than one page: several pictures")
    add("JPEG, arithmetic code", whole.replace(b"\xff\xc0", b"\xff\xc9", 1), "compression not taken, JPEG in arithmetic code")
    add(
        "a pointer of Git LFS",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "image not there: a pointer of Git",
    )
    add("a web page", b"<!DOCTYPE HTML><title>404</title>", "image not there: a web page")
    add("zeros", bytes(5000), "image not there: zeros alone")
    for form in ("GIF", "BMP", "WebP"):
        add(form, saved(Image.fromarray(rgb), form), f"not a TIFF, PNG or JPEG but a {form} file")
    return found
