"""The pixels of a TIFF page: its blocks decompressed to their last byte, put together, as red, green and blue.

A compression whose data hold a checksum is held to it, and every block must give as many bytes as it has pixels: that a
decoder did not fail is no proof that the data are whole.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import jpeg, tiff
from .image_faults import UnusableError
from .tiff import Page

Samples = NDArray[np.uint8]

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_NAMES = {
    tiff.LZW: "LZW",
    tiff.PACKBITS: "PackBits",
    tiff.LZMA: "LZMA",
    tiff.ZSTD: "Zstandard",
    **dict.fromkeys(tiff.DEFLATE, "deflate"),
}
_ROWS_AT_ONCE = 256  # converted
_LZMA_BYTES = 2**27  # memory that a block may ask for
_FIXED, _HALF = 16, 1 << 15  # bits behind the point in libtiff's conversion of colours


def decode(data: bytes, page: Page) -> Samples:
    """`(height, width, 3)` of a page of this file.

    Raises:
        UnusableError: a block is damaged, or something lies behind the colours.
    """
    if page.photometric == tiff.YCBCR and page.subsampling != (1, 1):
        return _converted(page, _rgb_of_ycbcr(page), *_subsampled(data, page))
    samples = _samples(data, page)
    if page.alpha is not None and (lowest := int(samples[..., page.alpha].min())) < 255:
        raise UnusableError(f"translucent: alpha down to {lowest} of 255")
    if page.photometric == tiff.PALETTE:
        colours = np.array(page.palette, dtype=np.uint8).reshape(3, -1).T
        return np.ascontiguousarray(colours)[samples[..., 0]]
    if page.photometric == tiff.CMYK:
        return _converted(page, _rgb_of_cmyk, samples[..., :4])
    if page.photometric == tiff.YCBCR and (page.compression != tiff.JPEG or page.has_planes_apart):
        return _converted(page, _rgb_of_ycbcr(page), *(samples[..., channel] for channel in range(3)))
    return np.ascontiguousarray(samples[..., :3])


def _converted(page: Page, to_rgb: Callable[..., Samples], *channels: Samples) -> Samples:
    """Some rows at a time, which bounds the memory."""
    pixels = np.empty((page.height, page.width, 3), dtype=np.uint8)
    for top in range(0, page.height, _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        pixels[rows] = to_rgb(*(channel[rows] for channel in channels))
    return pixels


def _rgb_of_cmyk(inks: Samples) -> Samples:
    size = (inks.shape[1], inks.shape[0])
    return np.asarray(Image.frombytes("CMYK", size, np.ascontiguousarray(inks).tobytes()).convert("RGB"))


def _samples(data: bytes, page: Page) -> Samples:
    """`(height, width, samples)`."""
    if len(page.blocks) == 1 and not page.is_tiled and not page.has_planes_apart:
        return _block(data, page, 0, page.height)
    canvas = np.empty((page.height, page.width, page.samples), dtype=np.uint8)
    by_plane = len(page.blocks) // (page.samples if page.has_planes_apart else 1)
    across = -(-page.width // page.block_width)
    for number in range(len(page.blocks)):
        plane, place = divmod(number, by_plane)
        y, x = place // across * page.block_height, place % across * page.block_width
        block = _block(data, page, number, page.rows(number))
        target = canvas[y : y + page.block_height, x : x + page.block_width]
        part = block[: target.shape[0], : target.shape[1]]
        if page.has_planes_apart:
            target[..., plane] = part[..., 0]
        else:
            target[...] = part
    return canvas


def _block(data: bytes, page: Page, number: int, rows: int) -> Samples:
    """One block, `(rows, block_width, samples that stand together)`."""
    shape = (rows, page.block_width, page.plane_samples)
    if page.compression == tiff.JPEG:
        place, length = page.blocks[number]
        most = page.block_height if number == len(page.blocks) - 1 else rows  # the last may go on below the image
        converted = page.photometric == tiff.YCBCR and not page.has_planes_apart
        return jpeg.block(
            data[place : place + length], page.jpeg_tables, (page.block_width, page.plane_samples), rows, most, converted
        )
    raw = _unpacked(data, page, number, rows)
    if page.bits < 8:
        bits = np.unpackbits(raw.reshape(rows, -1), axis=1)
        values = np.packbits(bits.reshape(rows, -1, page.bits), axis=2)[..., 0] >> np.uint8(8 - page.bits)
        return values[:, : page.block_width, None]
    samples = raw.reshape(shape)
    return np.add.accumulate(samples, axis=1, dtype=np.uint8) if page.has_predictor else samples


def _unpacked(data: bytes, page: Page, number: int, rows: int) -> Samples:
    """The bytes of a block as they were before compression, no more and no fewer."""
    place, length = page.blocks[number]
    if page.compression == tiff.RAW and not page.has_bits_reversed:
        return np.frombuffer(data, np.uint8, page.size(rows), place)
    packed = data[place : place + length]
    if page.has_bits_reversed:
        packed = packed.translate(_REVERSED)
    needed, most = page.size(rows), page.size(page.block_height)
    which = f"{'tile' if page.is_tiled else 'strip'} {number + 1:,} of {len(page.blocks):,}"
    try:
        unpacked = packed if page.compression == tiff.RAW else _decompressed(packed, page.compression, most)
        if page.compression != tiff.RAW and len(unpacked) > most:
            raise ValueError(f"gives more than {most:,} bytes")
    except (ValueError, RuntimeError, zlib.error, lzma.LZMAError) as error:
        raise UnusableError(f"damaged: {which}, {_NAMES[page.compression]}: {str(error).split(': ')[-1]}") from None
    if len(unpacked) < needed:
        raise UnusableError(f"cut off: {which} gives {len(unpacked):,} of {needed:,} bytes")
    return np.frombuffer(unpacked, np.uint8, needed)


def _decompressed(packed: bytes, compression: int, most: int) -> bytes | bytearray:
    """`most` bytes, or one more where there are more."""
    if compression == tiff.LZW:
        return imagecodecs.lzw_decode(packed, out=most + 1)
    if compression == tiff.PACKBITS:
        return imagecodecs.packbits_decode(packed, out=most + 1)
    if compression == tiff.ZSTD:
        return imagecodecs.zstd_decode(packed, out=most)
    stream: Any = zlib.decompressobj() if compression in tiff.DEFLATE else lzma.LZMADecompressor(memlimit=_LZMA_BYTES)
    unpacked: bytes = stream.decompress(packed, most + 1)  # to behind its end, where the checksum is compared
    if not stream.eof and len(unpacked) <= most:
        raise ValueError("its data end before its checksum")
    return unpacked


def _subsampled(data: bytes, page: Page) -> tuple[Samples, Samples, Samples]:
    """Brightness and the two colours, each `(height, width)`; the colours of a group of pixels are repeated."""
    across, down = page.subsampling
    planes = [np.empty((page.height, page.width), dtype=np.uint8) for _ in range(3)]
    columns = -(-page.width // page.block_width)
    for number in range(len(page.blocks)):
        rows = page.rows(number)
        units = _unpacked(data, page, number, rows).reshape(-(-rows // down), -(-page.block_width // across), -1)
        bright = units[..., :-2].reshape(*units.shape[:2], down, across).swapaxes(1, 2).reshape(units.shape[0] * down, -1)
        y, x = number // columns * page.block_height, number % columns * page.block_width
        for plane, block in zip(planes, (bright, units[..., -2], units[..., -1]), strict=True):
            full = block if block is bright else block.repeat(down, axis=0).repeat(across, axis=1)
            target = plane[y : y + min(rows, page.block_height), x : x + page.block_width]
            target[...] = full[: target.shape[0], : target.shape[1]]
    return planes[0], planes[1], planes[2]


def _rgb_of_ycbcr(page: Page) -> Callable[[Samples, Samples, Samples], Samples]:
    """TIFF 6.0, section 21, in the whole numbers of libtiff (TIFFYCbCrtoRGB), so that both give the same pixels."""
    luma_red, luma_green, luma_blue = page.coefficients
    if luma_green <= 0:
        raise UnusableError("unclear tags: YCbCrCoefficients give green no weight")
    reds, blues = 2 - 2 * luma_red, 2 - 2 * luma_blue
    black_y, white_y, black_b, white_b, black_r, white_r = page.reference
    steps = np.arange(256)
    light = _coded(steps, black_y, white_y, 255)
    cb, cr = _coded(steps - 128, black_b - 128, white_b - 128, 127), _coded(steps - 128, black_r - 128, white_r - 128, 127)
    to_red, to_blue = (_fixed(reds) * cr + _HALF) >> _FIXED, (_fixed(blues) * cb + _HALF) >> _FIXED
    red_to_green, blue_to_green = (
        -_fixed(luma_red * reds / luma_green) * cr,
        -_fixed(luma_blue * blues / luma_green) * cb + _HALF,
    )

    def to_rgb(bright: Samples, blue: Samples, red: Samples) -> Samples:
        lit = light[bright]
        green = lit + ((blue_to_green[blue] + red_to_green[red]) >> _FIXED)
        return np.stack([lit + to_red[red], green, lit + to_blue[blue]], axis=-1).clip(0, 255).astype(np.uint8)

    return to_rgb


def _fixed(factor: float) -> int:
    return int(min(max(np.float32(factor), np.float32(0)), np.float32(2)) * (1 << _FIXED) + 0.5)


def _coded(steps: NDArray[np.int64], black: float, white: float, span: int) -> NDArray[np.int64]:
    """What a stored value stands for, between its black and its white."""
    width = np.float32(white) - np.float32(black)
    value = (steps - int(black)).astype(np.float32) * np.float32(span) / (width if width else np.float32(1))
    return value.clip(-4096, 4096).astype(np.int64)  # towards 0
