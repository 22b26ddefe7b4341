import io
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.images import decoding, tiff_pixels

PX = 24


def cell(seed: int = 0, px: int = PX) -> np.ndarray:
    """A smooth random picture in colour, `(px, px, 3)`."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((px, px), Image.Resampling.BICUBIC))


def tiff(image: Image.Image | np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, "TIFF", **options)
    return buffer.getvalue()


def with_alpha(alpha: int) -> Image.Image:
    image = Image.fromarray(cell()).convert("RGBA")
    image.putalpha(255)
    image.putpixel((3, 3), (*image.getpixel((3, 3))[:3], alpha))
    return image


def by_hand(width: int, height: int, bits: tuple[int, ...], photometric: int = 2, extra: tuple = (), body=b"") -> bytes:
    """An uncompressed little-endian TIFF of one strip, written tag by tag."""
    tags = [(256, 4, (width,)), (257, 4, (height,)), (258, 3, bits), (259, 3, (1,)), (262, 3, (photometric,))]
    tags += [(273, 4, (0,)), (277, 3, (len(bits),)), (278, 4, (height,)), (279, 4, (len(body),))]
    tags += sorted(extra)
    tags.sort()
    start = 8 + 2 + 12 * len(tags) + 4
    heap, entries = b"", b""
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            place, heap = struct.pack("<I", start + len(heap)), heap + packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, len(values)) + place
    at = entries.index(struct.pack("<HHI", 273, 4, 1)) + 8
    entries = entries[:at] + struct.pack("<I", start + len(heap)) + entries[at + 4 :]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + heap + body


def saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(image: Image.Image, **options) -> bytes:
    return saved(image, "PNG", **options)


RGB = Image.fromarray(cell())
GREY16 = np.arange(PX * PX, dtype=np.uint16).reshape(PX, PX) * 64
SIXTEEN = np.random.default_rng(1).integers(0, 65536, (PX, PX, 3), dtype="<u2").tobytes()

USABLE = {
    "RGB, raw": tiff(RGB),
    "RGB, deflate": tiff(RGB, compression="tiff_adobe_deflate"),
    "RGB, LZW": tiff(RGB, compression="tiff_lzw"),
    "RGB by hand": by_hand(PX, PX, (8, 8, 8), body=cell().tobytes()),
    "RGBA, opaque": tiff(with_alpha(255)),
    "CMYK": tiff(RGB.convert("CMYK")),
    "YCbCr": tiff(RGB.convert("YCbCr")),
    "palette": tiff(RGB.quantize(256)),
    "RGB, PNG": png(RGB),
    "RGBA, PNG": png(with_alpha(255)),
    "palette, PNG": png(RGB.quantize(256)),
    "RGB, JPEG": saved(RGB, "JPEG", quality=95, subsampling=0),
}
UNUSABLE = {
    "zero bytes": (b"", "empty: 0 bytes"),
    "text": (b"patient,class\n", "not a TIFF, PNG or JPEG file"),
    "GIF": (saved(RGB, "GIF"), "not a TIFF, PNG or JPEG but a GIF file"),
    "header only": (b"II*\0", "unreadable header"),
    "cut in the header": (tiff(RGB)[:60], "unreadable"),
    "raw, cut off": (tiff(RGB)[:-700], "cut off: strip 1 of 1 ends at byte 1,868 of a file of 1,168"),
    "one byte short": (by_hand(PX, PX, (8, 8, 8), body=cell().tobytes()[:-1]), "incomplete: strip 1 has 1,727 of 1,728 bytes"),
    "1 x 1": (tiff(cell(px=1)), f"1 x 1 px instead of {PX} x {PX}"),
    "not square": (tiff(RGB.crop((0, 0, PX, PX - 1))), f"{PX} x {PX - 1} px instead of {PX} x {PX}"),
    "bomb": (by_hand(20000, 20000, (8, 8, 8), body=bytes(9)), f"20000 x 20000 px instead of {PX} x {PX}"),
    "huge tile": (
        by_hand(PX, PX, (8, 8, 8), extra=((322, 4, (40000,)), (323, 4, (40000,)))),
        "claims 40,000 px a side",
    ),
    "L": (tiff(RGB.convert("L")), "no 8-bit colour: mode L (grey)"),
    "LA": (tiff(RGB.convert("LA")), "no 8-bit colour: mode LA (grey with transparency)"),
    "1": (tiff(RGB.convert("1")), "no 8-bit colour: mode 1 (black and white)"),
    "LAB": (tiff(Image.new("LAB", (PX, PX))), "no 8-bit colour: mode LAB (CIE Lab)"),
    "I": (tiff(RGB.convert("L").convert("I")), "32 bits a channel instead of 8"),
    "F": (tiff(RGB.convert("L").convert("F")), "32 bits a channel instead of 8"),
    "16-bit grey": (tiff(Image.fromarray(GREY16)), "16 bits a channel instead of 8"),
    "16-bit RGB": (by_hand(PX, PX, (16, 16, 16), body=SIXTEEN), "16 bits a channel instead of 8"),
    "translucent": (tiff(with_alpha(128)), "translucent: alpha down to 128 of 255"),
    "palette with alpha": (
        by_hand(PX, PX, (8, 8), 3, ((338, 3, (2,)), (320, 3, tuple(range(768)))), bytes(2 * PX * PX)),
        "mode PA (a palette with transparency)",
    ),
    "two pages": (tiff(RGB, save_all=True, append_images=[RGB]), "more than one page"),
    "turned": (tiff(RGB, tiffinfo={274: 6}), "orientation tag 6"),
}


@pytest.mark.parametrize("kind", USABLE)
def test_colour_of_8_bits_is_usable(kind):
    seen = decoding.inspect(USABLE[kind], PX)
    assert (seen.reason, seen.width, seen.height) == ("", PX, PX)
    assert seen.mode == kind.split(",")[0].split()[0].replace("palette", "P")
    assert seen.pixels.shape == (PX, PX, 3)
    assert seen.pixels.dtype == np.uint8
    np.testing.assert_array_equal(decoding.decode(USABLE[kind]), seen.pixels)
    lossy = {"CMYK": 0, "YCbCr": 4, "palette": 40, "palette, PNG": 40, "RGB, JPEG": 12}.get(kind, 0)
    assert np.abs(seen.pixels.astype(int) - cell()).max() <= lossy


@pytest.mark.parametrize("left", [0, 2, 4, 7, 9])
def test_a_list_of_images_below_that_the_end_cuts_off_counts_as_far_as_it_goes(left):
    data = by_hand(PX, PX, (8, 8, 8), extra=((330, 4, (0, 0, 0)),), body=cell().tobytes())
    place = data.index(struct.pack("<HHI", 330, 4, 3)) + 8
    behind = struct.pack("<III", 9, 8, 8)[:left]  # nothing, and the image itself
    seen = decoding.inspect(data[:place] + struct.pack("<I", len(data)) + data[place + 4 :] + behind, PX)
    assert seen.reason == ("" if left < 8 else "more than one image: another lies below its list of tags (SubIFDs)")


@pytest.mark.parametrize("kind", UNUSABLE)
def test_all_else_is_unusable_for_a_reason(kind):
    data, reason = UNUSABLE[kind]
    with warnings.catch_warnings(action="error"):
        seen = decoding.inspect(data, PX)
    assert reason in seen.reason
    assert "0x" not in seen.reason
    assert seen.pixels is None


@pytest.mark.parametrize("kind", ["text", "16-bit RGB", "translucent", "two pages", "turned"])
def test_decode_refuses_what_inspect_refuses(kind):
    data, reason = UNUSABLE[kind]
    with pytest.raises(decoding.UnusableError, match=reason.split("(")[0]):
        decoding.decode(data)


def test_decode_refuses_a_bomb_without_knowing_the_size():
    with pytest.raises(decoding.UnusableError, match="claims 20,000 px a side"):
        decoding.decode(UNUSABLE["bomb"][0])


@pytest.mark.parametrize("kind", ["bomb", "1 x 1", "huge tile", "16-bit RGB", "two pages", "turned", "L"])
def test_the_header_is_judged_before_any_pixel_is_decoded(kind, monkeypatch):
    def too_late(data, page):
        raise AssertionError("decoded")

    monkeypatch.setattr(tiff_pixels, "decode", too_late)
    assert decoding.inspect(USABLE["RGB, raw"], PX).reason == "unreadable: decoded"
    assert UNUSABLE[kind][1] in decoding.inspect(UNUSABLE[kind][0], PX).reason


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(USABLE)), st.integers(0, 4000), st.binary(min_size=1, max_size=4), st.booleans())
def test_damage_never_raises(kind, at, junk, cut):
    data = USABLE[kind]
    at %= len(data)
    with warnings.catch_warnings(action="error"):
        seen = decoding.inspect(data[:at] if cut else data[:at] + junk + data[at + len(junk) :], PX)
    assert (seen.pixels is None) == bool(seen.reason)
    assert seen.pixels is None or seen.pixels.shape == (PX, PX, 3)


def test_statistics_are_those_of_the_channels():
    pixels = cell(3)
    numbers = decoding.statistics(pixels)
    np.testing.assert_allclose(numbers.mean, pixels.mean(axis=(0, 1)))
    np.testing.assert_allclose(numbers.std, pixels.std(axis=(0, 1)))


def test_the_pixels_digest_ignores_the_container_but_not_the_shape():
    raw, deflate = (decoding.decode(USABLE[kind]) for kind in ("RGB, raw", "RGB, deflate"))
    assert decoding.statistics(raw).sha256 == decoding.statistics(deflate).sha256
    assert decoding.statistics(raw).sha256 != decoding.statistics(raw.reshape(PX // 2, PX * 2, 3)).sha256


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return (int(decoding.statistics(one).phash, 16) ^ int(decoding.statistics(other).phash, 16)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_the_perceptual_hash_survives_what_the_eye_does_not_see(seed):
    pixels = cell(seed, px=144)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    assert distance(pixels, np.asarray(Image.open(buffer))) <= 4
    assert distance(pixels, np.asarray(Image.fromarray(pixels).resize((120, 120)))) <= 8
    assert distance(pixels, cell(seed + 100, px=144)) >= 16


def test_the_perceptual_hash_of_a_flat_image_is_no_accident():
    flat = np.full((PX, PX, 3), 200, dtype=np.uint8)
    assert len(decoding.statistics(flat).phash) == 16
    assert distance(flat, flat // 2) == 0


def test_resize_keeps_the_whole_field_and_averages():
    pixels = cell(7, px=48)
    small = decoding.resize(pixels, 16)
    means = pixels.reshape(16, 3, 16, 3, 3).mean(axis=(1, 3))
    assert small.shape == (16, 16, 3)
    assert np.abs(small - means).max() <= 1
    np.testing.assert_array_equal(decoding.resize(pixels, 48), pixels)
    assert decoding.resize(pixels, 64).shape == (64, 64, 3)
