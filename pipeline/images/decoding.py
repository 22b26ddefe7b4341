"""One image file's bytes: is it usable, what are its pixels, what do they look like as numbers.

Pixels are uint8 `(h, w, 3)`, red, green, blue. Nothing here knows a file name, a patient or the cohort, and nothing is
converted silently: what cannot become 8-bit RGB without loss or guesswork is unusable, with a reason. A file is what its
content says, whatever it is called. The header is judged before any pixel is decoded, and every image is decoded to its end.
This file and those it imports travel with every registered model, which so accepts what training accepted; they therefore
import each other by place and nothing else of this package.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import jpeg, png, tiff, tiff_images, tiff_pixels, tiff_tags
from .image_faults import UnusableError, require_decodable

Pixels = NDArray[np.uint8]
T = TypeVar("T")

LOSSY_TIFF = "TIFF with JPEG"
LOSSY = ("JPEG", LOSSY_TIFF)  # formats whose pixels are not those that were saved
_OTHER_FORMATS = (
    (b"\x89PNG", "damaged PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"RIFF", "WebP"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc", "JPEG XR"),
    (b"8BPS", "Photoshop"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"%PDF", "PDF"),
)
_IN_ITS_PLACE = (
    (b"version https://git-lfs", "a pointer of Git LFS; `git lfs pull` in the source brings it"),
    (b"/annex/objects/", "a pointer of git-annex; `git annex get` in the source brings it"),
    (b"<!doctype html", "a web page; fetch it again"),
    (b"<html", "a web page; fetch it again"),
    (b"<?xml", "an answer of a storage service; fetch it again"),
)
_MOST_PX = 2**31 - 1  # that a table of 32-bit numbers holds
_LARGE_PX = 2048**2  # an image of more is decoded `in_turn`
_ROWS_AT_ONCE = 256  # of which sharpness is told: bounds the memory
_VALUES = np.arange(256, dtype=np.int64)
_WAVES = np.rint(1024 * np.cos(np.pi * np.outer(np.arange(1, 9), 2 * np.arange(32) + 1) / 64))


@dataclass(frozen=True)
class Inspected:
    """What a file holds: as much as could be read, and why it is unusable ("" if it is usable)."""

    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
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


_one_after_the_other = ThreadPoolExecutor(1)
_Judged = tuple[Inspected, Callable[[], Pixels]]


def inspect(data: bytes, expected_px: int | None) -> Inspected:
    """Read a file of which `expected_px` x `expected_px` pixels are expected (None: any square); never raises."""
    seen = Inspected()
    try:
        seen, judge = _opened(data)
        if expected_px and (seen.width, seen.height) != (expected_px, expected_px):
            raise UnusableError(f"{seen.width} x {seen.height} px instead of {expected_px} x {expected_px}")
        if seen.width != seen.height:
            raise UnusableError(f"{seen.width} x {seen.height} px: not square")
        require_decodable(seen.width, seen.height)
        seen, decode = judge()
        return replace(seen, pixels=decode())
    except UnusableError as error:
        return replace(seen, reason=str(error))
    except Exception as error:  # a decoder raises whatever its parser stumbles over
        return replace(seen, reason=f"unreadable: {_said(error)}")


def decode(data: bytes) -> Pixels:
    """The pixels of a usable file of any size.

    Raises:
        UnusableError: why it is not usable.
    """
    seen = inspect(data, None)
    if seen.pixels is None:
        raise UnusableError(seen.reason)
    return seen.pixels


def in_turn(data: bytes, work: Callable[[], T]) -> T:
    """`work()` on this file; if it is large, in a thread that does one after the other, so that memory for one is enough."""
    try:
        seen, _ = _opened(data)
    except Exception:  # `inspect` says why
        return work()
    return work() if seen.width * seen.height <= _LARGE_PX else _one_after_the_other.submit(work).result()


def resize(pixels: Pixels, px: int) -> Pixels:
    """The whole field in `(px, px, 3)`: the mean of the area behind each pixel (bicubic where it grows)."""
    method = Image.Resampling.BOX if px <= min(pixels.shape[:2]) else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((px, px), method))


def statistics(pixels: Pixels) -> Statistics:
    """From whole numbers (the histogram), so that the same pixels give the same numbers on every machine."""
    image = Image.fromarray(pixels)
    grey = image.convert("L")
    digest = hashlib.sha256(f"{pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    counts = np.array(image.histogram(), dtype=np.int64).reshape(3, 256)
    (mean_r, std_r), (mean_g, std_g), (mean_b, std_b) = map(_mean_std, counts)
    return Statistics(
        sha256=digest.hexdigest(),
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
    grey = np.asarray(image)
    count, total, squares = 0, 0, 0
    for top in range(0, len(grey) - 2, _ROWS_AT_ONCE):
        part = grey[top : top + _ROWS_AT_ONCE + 2].astype(np.int16)
        inner = 4 * part[1:-1, 1:-1] - part[:-2, 1:-1] - part[2:, 1:-1] - part[1:-1, :-2] - part[1:-1, 2:]  # within 1,020
        count += inner.size
        total += int(inner.sum(dtype=np.int64))
        squares += int(np.square(inner, dtype=np.int32).sum(dtype=np.int64))  # a product would start threads of BLAS
    return math.sqrt(count * squares - total * total) / count if count else 0.0


def _shrunk(grey: Image.Image) -> NDArray[np.float64]:
    return np.asarray(grey.resize((32, 32), Image.Resampling.BOX), dtype=np.float64)


def _opened(data: bytes) -> tuple[Inspected, Callable[[], _Judged]]:
    """What the first bytes of a file say, and how its header is judged."""
    if data[:4] in tiff_tags.STARTS:
        tags = tiff_tags.Tags(data)
        width, height = (min(tags.number(tag), _MOST_PX) for tag in (256, 257))
        return Inspected(width, height, format="TIFF"), partial(_judged_tiff, data, tags, width, height)
    if data.startswith(jpeg.START):
        stream = jpeg.stream(data)
        seen = Inspected(stream.width, stream.height, jpeg.MODES.get(stream.samples, ""), format="JPEG")
        return seen, partial(_judged_jpeg, data, stream, seen)
    if data.startswith(png.START):
        header = png.header(data)
        seen = Inspected(min(header.width, _MOST_PX), min(header.height, _MOST_PX), header.mode, format="PNG")
        return seen, lambda: (seen, partial(png.decode, data, header))
    if not data:
        raise UnusableError("empty: 0 bytes")
    if what := next((what for start, what in _IN_ITS_PLACE if data[:64].lower().startswith(start)), ""):
        raise UnusableError(f"image not there: {what}")
    if not data.strip(b"\0"):
        raise UnusableError("image not there: zeros alone, as a copy or download leaves that did not end; fetch it again")
    found = next((name for start, name in _OTHER_FORMATS if data.startswith(start)), "")
    raise UnusableError(f"not a TIFF, PNG or JPEG{f' but a {found}' if found else ''} file")


def _judged_tiff(data: bytes, tags: tiff_tags.Tags, width: int, height: int) -> _Judged:
    tiff_images.require_one_image(tags)
    page = tiff.page(tags)
    form = LOSSY_TIFF if page.compression == tiff.JPEG else "TIFF"
    return Inspected(width, height, page.mode, form), partial(tiff_pixels.decode, data, page)


def _judged_jpeg(data: bytes, stream: jpeg.Stream, seen: Inspected) -> _Judged:
    jpeg.require_readable(stream)
    return seen, partial(jpeg.decode, data, stream)


def _said(error: Exception) -> str:
    """An exception in one line that is the same in every run (Pillow's may hold memory addresses)."""
    text = re.sub(r"<[^>]*0x[0-9a-f]+[^>]*>|0x[0-9a-f]+", "it", " ".join(str(error).split()))
    return text or type(error).__name__


def _perceptual_hash(grey: Image.Image) -> str:
    """64 bits that survive recompression and small changes of size: pHash.

    The signs of the 8 x 8 lowest frequencies (the mean left out) of the cosine transform of the image at 32 x 32 (after Zauner
    2010, "Implementation and benchmarking of perceptual image hash functions", who compares them with their median, near 0), in
    whole numbers (below 2 ** 53, so exact) so that no rounding decides a bit. A mirrored image's frequencies differ in signs
    alone, so its hash follows from this one.
    """
    return np.packbits(_WAVES @ _shrunk(grey) @ _WAVES.T > 0).tobytes().hex()
