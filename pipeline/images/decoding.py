"""One image file's bytes: is it usable, what are its pixels, what do they look like as numbers.

Pixels are uint8 `(h, w, 3)`, red, green, blue. Nothing here knows a file name, a patient or the cohort, and nothing is
converted silently: what cannot become 8-bit RGB without loss or guesswork is unusable, with a reason. The size is read
from the header before any pixel is decoded, and every image is decoded to its end. This file travels with every registered
model, which so accepts what training accepted, and therefore imports nothing of this package.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

Pixels = NDArray[np.uint8]

_BITS_PER_SAMPLE, _ORIENTATION, _TILE_SIDES = 258, 274, (322, 323)  # TIFF 6.0 tags
_LARGEST_PX = 8192  # side of an image or tile that is decoded at all: a 143-byte file can claim 20,000 x 20,000
_COLOUR = ("RGB", "RGBA", "P", "CMYK", "YCbCr")
_WHY_NOT = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "La": "grey with transparency",
    "PA": "a palette with transparency",
    "LAB": "CIE Lab",
    "I": "more than 8 bits a channel",
    "F": "floating point",
}
_OTHER_FORMATS = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"RIFF", "WebP"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"PK\x03\x04", "ZIP"),
    (b"%PDF", "PDF"),
)
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_VALUES = np.arange(256, dtype=np.int64)
_WAVES = np.rint(1024 * np.cos(np.pi * np.outer(np.arange(1, 9), 2 * np.arange(32) + 1) / 64))


class UnusableError(ValueError):
    """Why an image cannot be used; the caller knows the file's name."""


@dataclass(frozen=True)
class Inspected:
    """What a file holds: as much as could be read, and why it is unusable ("" if it is usable)."""

    width: int = 0
    height: int = 0
    mode: str = ""
    reason: str = ""
    pixels: Pixels | None = None


@dataclass(frozen=True)
class Statistics:
    """An image in numbers; means and standard deviations of R, G, B in 0 to 255; sharpness in grey levels."""

    sha256: str
    phash: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sharpness: float


def inspect(data: bytes, expected_px: int | None) -> Inspected:
    """Read a file of which `expected_px` x `expected_px` pixels are expected (None: any square); never raises."""
    return _read(data, expected_px)


def decode(data: bytes) -> Pixels:
    """The pixels of a usable file of any size.

    Raises:
        UnusableError: why it is not usable.
    """
    seen = _read(data, None)
    if seen.pixels is None:
        raise UnusableError(seen.reason)
    return seen.pixels


def resize(pixels: Pixels, px: int) -> Pixels:
    """The whole field in `(px, px, 3)`: the mean of the area behind each pixel (bicubic where it grows)."""
    method = Image.Resampling.BOX if px <= min(pixels.shape[:2]) else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((px, px), method))


def statistics(pixels: Pixels) -> Statistics:
    """From whole numbers (the histogram), so that the same pixels give the same numbers on every machine."""
    image = Image.fromarray(pixels)
    grey = image.convert("L")
    counts = np.array(image.histogram(), dtype=np.int64).reshape(3, 256)
    (mean_r, std_r), (mean_g, std_g), (mean_b, std_b) = map(_mean_std, counts)
    return Statistics(
        sha256=hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest(),
        phash=_perceptual_hash(grey),
        mean=(mean_r, mean_g, mean_b),
        std=(std_r, std_g, std_b),
        sharpness=_sharpness(grey),
    )


def thumbnail(pixels: Pixels) -> NDArray[np.float64]:
    """The grey image at 32 x 32, flat, of mean 0 and norm 1 (all 0 for one without structure): for correlations."""
    grey = _shrunk(Image.fromarray(pixels).convert("L")).ravel()
    grey -= grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length else grey


def _mean_std(histogram: NDArray[np.int64]) -> tuple[float, float]:
    count, total, squares = int(histogram.sum()), int(histogram @ _VALUES), int(histogram @ _VALUES**2)
    return total / count, math.sqrt(count * squares - total * total) / count


def _sharpness(image: Image.Image) -> float:
    """Standard deviation of the Laplacian of a grey image, in whole numbers up to the root.

    The variance of the Laplacian is a common measure of focus (Pech-Pacheco et al. 2000).
    """
    grey = np.asarray(image).astype(np.int16)
    inner = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]  # within 1,020
    count, total = inner.size, int(inner.sum(dtype=np.int64))
    squares = int(np.square(inner, dtype=np.int32).sum(dtype=np.int64))  # a product would start threads of BLAS
    return math.sqrt(count * squares - total * total) / count if count else 0.0


def _shrunk(grey: Image.Image) -> NDArray[np.float64]:
    return np.asarray(grey.resize((32, 32), Image.Resampling.BOX), dtype=np.float64)


def _read(data: bytes, expected_px: int | None) -> Inspected:
    if not data:
        return Inspected(reason="empty: 0 bytes")
    if not data.startswith(_TIFF_STARTS):
        found = next((name for start, name in _OTHER_FORMATS if data.startswith(start)), "")
        return Inspected(reason=f"not a TIFF but a {found} file" if found else "not a TIFF file")
    try:
        # not Image.open: it would guess the format, and judge the size before we can name it
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    except Exception as error:  # Pillow raises whatever its parsers stumble over
        return Inspected(reason=f"unreadable header: {_said(error)}")
    width, height = image.size
    mode = image.mode
    reason = _header_fault(image, expected_px)
    pixels = None
    if not reason:
        try:
            image.load()
            reason = _translucency(image)
            if not reason:
                pixels = np.asarray(image if mode == "RGB" else image.convert("RGB"))
        except Exception as error:
            reason = f"unreadable pixels, cut off or damaged: {_said(error)}"
    return Inspected(width, height, mode, reason, pixels)


def _header_fault(image: Any, expected_px: int | None) -> str:
    width, height = image.size
    if expected_px and (width, height) != (expected_px, expected_px):
        return f"{width} x {height} px instead of {expected_px} x {expected_px}"
    if width != height:
        return f"{width} x {height} px: not square"
    tile_sides = [side for tag in _TILE_SIDES if isinstance(side := image.tag_v2.get(tag, 0), int)]
    if max(width, height, *tile_sides) > _LARGEST_PX:
        return f"claims {max(width, height, *tile_sides):,} px a side; at most {_LARGEST_PX:,} are decoded"
    if image.is_animated:
        return "more than one page"
    orientation = image.tag_v2.get(_ORIENTATION, 1)
    if orientation != 1:
        return f"orientation tag {orientation}: unclear which way up the pixels are"
    bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    if bits > 8:
        return f"{bits} bits a channel instead of 8"
    if image.mode not in _COLOUR:
        return f"no 8-bit colour: mode {image.mode} ({_WHY_NOT.get(image.mode, 'unknown')})"
    return ""


def _translucency(image: Any) -> str:
    if image.mode == "P" and "transparency" in image.info:
        return "a palette with transparency"
    if image.mode != "RGBA":
        return ""
    lowest, _ = image.getchannel("A").getextrema()
    return "" if lowest == 255 else f"translucent: alpha down to {lowest} of 255"


def _said(error: Exception) -> str:
    """An exception in one line that is the same in every run (Pillow's may hold memory addresses)."""
    text = re.sub(r"<[^>]*0x[0-9a-f]+[^>]*>|0x[0-9a-f]+", "it", " ".join(str(error).split()))
    return text or type(error).__name__


def _perceptual_hash(grey: Image.Image) -> str:
    """64 bits that survive recompression and small changes of size: pHash.

    The signs, against their median, of the 8 x 8 lowest frequencies (the mean left out) of the cosine transform of the
    image at 32 x 32 (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"), in whole numbers
    (below 2 ** 53, so exact) so that no rounding decides a bit.
    """
    frequencies = _WAVES @ _shrunk(grey) @ _WAVES.T
    ranked = np.sort(frequencies, axis=None)
    return np.packbits(2 * frequencies > ranked[31] + ranked[32]).tobytes().hex()
