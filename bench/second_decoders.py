"""The same file by decoders that share no code with `pipeline.images`: tifffile with imagecodecs, and libtiff by Pillow.

Each gives `(height, width, 3)` in 8 bits or None where it gives up. What they leave to their caller (a colour table, inks) is
done here; YCbCr without JPEG only libtiff knows. PNG and JPEG are decoded by imagecodecs' libpng and libjpeg, and by Pillow.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

Pixels = NDArray[np.uint8]

logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def by_tifffile(data: bytes) -> Pixels | None:
    """A TIFF's first page."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        if page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression != tifffile.COMPRESSION.JPEG:
            return None
        samples = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples.ndim == 3:
            samples = np.moveaxis(samples, 0, -1)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            table = np.asarray(page.colormap)
            colours: Pixels = (table if table.max() < 256 else table >> 8).astype(np.uint8).T[samples]
            return colours
        if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:
            return np.asarray(Image.fromarray(np.ascontiguousarray(samples[..., :4]), "CMYK").convert("RGB"))
    return np.ascontiguousarray(samples[..., :3])


def by_libtiff(data: bytes) -> Pixels | None:
    """A TIFF by Pillow, made to leave the pixels to libtiff whatever the compression."""
    before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True
    try:
        with TiffImagePlugin.TiffImageFile(io.BytesIO(data)) as image:
            image.load()
            table = image.tag_v2.get(320, ())
            if image.mode == "P" and max(table) < 256:  # divided by 256 by Pillow
                colours: Pixels = np.asarray(table, dtype=np.uint8).reshape(3, -1).T[np.asarray(image)]
                return colours
            return np.asarray(image.convert("RGB"))
    finally:
        TiffImagePlugin.READ_LIBTIFF = before


def by_imagecodecs(data: bytes) -> Pixels | None:
    """A PNG or JPEG."""
    samples = (
        imagecodecs.png_decode(data) if data.startswith(b"\x89PNG") else imagecodecs.jpeg8_decode(data, outcolorspace="RGB")
    )
    return np.asarray(samples[..., :3])


def by_pillow(data: bytes) -> Pixels | None:
    """A PNG or JPEG."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def all_of(data: bytes) -> dict[str, Pixels | None]:
    """By decoder; a decoder may fail in any way."""
    decoders: dict[str, Callable[[bytes], Pixels | None]]
    if data[:2] in (b"II", b"MM"):
        decoders = {"tifffile": by_tifffile, "libtiff": by_libtiff}
    else:
        decoders = {"imagecodecs": by_imagecodecs, "Pillow": by_pillow}
    found: dict[str, Pixels | None] = {}
    for name, decode in decoders.items():
        with warnings.catch_warnings(action="ignore"):
            try:
                found[name] = decode(data)
            except Exception:  # a decoder raises whatever its parser stumbles over; None says that it did not read the file
                found[name] = None
    return found


def agree(one: Pixels, other: Pixels, is_lossy: bool) -> bool:
    """Equal; of JPEG, within 2 levels in 99.9 % of samples."""
    if one.shape != other.shape:
        return False
    if not is_lossy:
        return bool(np.array_equal(one, other))
    return bool((np.abs(one.astype(np.int16) - other) <= 2).mean() >= 0.999)
