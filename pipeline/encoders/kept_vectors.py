"""Vectors already made, kept by image and encoder, so that only new images cost and a killed run goes on where it was.

One file an encoder, to whose end whole records are added: the SHA-256 of the image's file, its vector, and the CRC-32 of
both. What a kill or a lost disk left half-written is found by that, and made again. Nothing of it is a result.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_RECORDS_AT_ONCE = 1024


class KeptVectors:
    """The vectors of one encoder; images are named by the SHA-256 of their file, in hexadecimal."""

    def __init__(self, file: Path, dimension: int) -> None:
        """Open or begin `file`; what follows the last sound record is cut off."""
        self._file = file
        self._dtype = np.dtype([("image", "u1", (32,)), ("vector", "<f4", (dimension,)), ("check", "<u4")])
        self._rows: dict[bytes, int] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        self._records = file.open("a+b")
        self._count = self._read()
        self._records.truncate(self._count * self._dtype.itemsize)

    def __contains__(self, image: str) -> bool:
        return bytes.fromhex(image) in self._rows

    def add(self, images: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep `(n, dimension)` vectors of n images; they are on the disk when this returns."""
        records = np.zeros(len(images), self._dtype)
        records["image"] = [list(bytes.fromhex(image)) for image in images]
        records["vector"] = vectors
        records["check"] = [self._sum(record) for record in records]
        self._records.write(records.tobytes())
        self._records.flush()
        os.fsync(self._records.fileno())
        for image in images:
            self._rows[bytes.fromhex(image)] = self._count
            self._count += 1

    def vectors(self, images: Sequence[str]) -> Iterable[NDArray[np.float32]]:
        """`(dimension,)` of each of `images`, in their order; all must be kept."""
        size = self._dtype.itemsize
        for image in images:
            record = os.pread(self._records.fileno(), size, self._rows[bytes.fromhex(image)] * size)
            yield np.frombuffer(record, self._dtype)["vector"][0]

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _read(self) -> int:
        """How many sound records the file begins with, each of which is noted."""
        self._records.seek(0)
        count = 0
        while len(part := self._records.read(_RECORDS_AT_ONCE * self._dtype.itemsize)) >= self._dtype.itemsize:
            for record in np.frombuffer(part[: len(part) // self._dtype.itemsize * self._dtype.itemsize], self._dtype):
                if self._sum(record) != record["check"]:
                    return count
                self._rows[record["image"].tobytes()] = count
                count += 1
        return count

    def _sum(self, record: np.void) -> int:
        return zlib.crc32(record["vector"].tobytes(), zlib.crc32(record["image"].tobytes()))
