"""Image files on disk: their bytes, or why they cannot be had; their pixels, or one line that names the file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pipeline.common import files
from pipeline.common.errors import DataError
from pipeline.images import decoding

_LARGEST_BYTES = 64 * 2**20  # of a file that is opened: an uncompressed image of 144 px has 62 KB
_TOO_LARGE = f"too large for an image of one cell: more than {_LARGEST_BYTES / 2**20:.0f} MB"


def read(file: Path) -> tuple[bytes, str, str]:
    """(content, its sha256, why it cannot be had)."""
    try:
        if not file.is_file():  # a pipe would keep us waiting
            return b"", "", "a link that leads nowhere" if file.is_symlink() else "not a regular file"
        if file.stat().st_size > _LARGEST_BYTES:
            return b"", files.sha256(file), _TOO_LARGE
        data = file.read_bytes()
    except OSError as error:
        return b"", "", f"cannot be read: {error.strerror}"
    return data, hashlib.sha256(data).hexdigest(), ""


def pixels(file: Path, sha256: str = "") -> decoding.Pixels:
    """The pixels of a file that was found usable before, and then had this `sha256` (where it is known).

    Raises:
        DataError: it no longer is, or has.
    """
    data, digest, unreadable = read(file)
    if sha256 and not unreadable and digest != sha256:
        raise DataError(f"{file}: is not the file that `validate` saw; run `dvc repro`, which brings that back")
    seen = decoding.inspect(data, None)
    if seen.pixels is None:
        raise DataError(f"{file}: {unreadable or seen.reason}; it was usable before: run it again")
    return seen.pixels


def shown(name: str) -> str:
    """A file's name as text that can be printed, also when its bytes are not UTF-8 or move a terminal's cursor."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
