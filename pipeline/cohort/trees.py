"""A cohort as it was delivered: a tree whose files can be listed and read, never changed; and a folder as one.

Places in a tree are relative, with forward slashes; "" is its top. The other tree is `zip_archive`'s.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pipeline.common.errors import DataError
from pipeline.names import leftovers

CHUNK = 1 << 20


class Tree(Protocol):
    """What `ingest` needs to know of a source, without the litter that is known by name."""

    litter: dict[str, str]
    """What was met of it so far: place -> kind."""
    warned: set[str]
    """What was warned of so far, which is not said again however often it is looked at."""

    def where(self, path: str) -> str:
        """How messages name a place in the tree."""

    def children(self, at: str) -> tuple[list[str], list[str]]:
        """The folders and the files directly in a folder, as places, sorted."""

    def files(self, at: str) -> list[str]:
        """Every file below a folder, however deep, whatever it is, sorted."""

    def size(self, path: str) -> int:
        """Bytes of a file."""

    def stamp(self, path: str) -> tuple[int, ...]:
        """What changes when a file's content does: size, two times in nanoseconds, and more; empty for what is not there."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's content, a part at a time.

        Raises:
            NotCopied: this one file cannot be had.
            DataError: reading failed, and would for others.
        """


class DamagedError(DataError):
    """An archive's bytes are not what they were: no setting mends that."""


class NotCopied(Exception):  # noqa: N818 - a finding about one file, not an error of the run
    """Why a file of the source cannot be had."""


class Folder:
    """A folder of originals, left as they are."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.litter: dict[str, str] = {}
        self.warned: set[str] = set()

    def where(self, path: str) -> str:
        """The path of the original."""
        return str(self._root / path)

    def children(self, at: str) -> tuple[list[str], list[str]]:
        """Links to folders count as folders here."""
        try:
            entries = sorted(os.scandir(self._root / at), key=lambda entry: entry.name)
        except OSError as error:
            raise unreadable(self.where(at), error) from None
        places = [
            (_is_folder(entry), place)
            for entry in entries
            if not self._is_litter(place := f"{at}/{entry.name}" if at else entry.name)
        ]
        return [place for is_dir, place in places if is_dir], [place for is_dir, place in places if not is_dir]

    def files(self, at: str) -> list[str]:
        """Refuses links to folders: what they lead to would be copied again, or for ever."""

        def refuse(error: OSError) -> None:
            raise unreadable(str(error.filename), error)

        found = []
        for parent, folders, names in os.walk(self._root / at, onerror=refuse):
            place = Path(parent).relative_to(self._root)
            folders[:] = [name for name in folders if not self._is_litter((place / name).as_posix())]
            for name in folders:
                if (link := Path(parent) / name).is_symlink():
                    raise DataError(f"{link}: a link to a folder; put the folder itself there, or take the link out")
            found += [path for name in names if not self._is_litter(path := (place / name).as_posix())]
        return sorted(found)

    def size(self, path: str) -> int:
        """0 for what cannot be opened: copying it will say why."""
        try:
            return (self._root / path).stat().st_size
        except OSError:
            return 0

    def stamp(self, path: str) -> tuple[int, ...]:
        """Of what a link leads to."""
        return stamp(self._root / path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """What only this file has (no permission, a dangling link) refuses it alone; a failing disk refuses all."""
        original = self._root / path
        try:
            if not original.is_file():  # a pipe would keep us waiting
                raise NotCopied(_why_no_file(original))
            with original.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.ENOENT):
                raise NotCopied(f"cannot be read: {error.strerror}") from None
            raise unreadable(self.where(path), error) from None

    def _is_litter(self, path: str) -> bool:
        """Before it is opened: much of it is for the system's eyes only."""
        kind = leftovers.litter(path)
        if known := kind not in ("", leftovers.HIDDEN):
            self.litter[path] = kind
        return known


def unreadable(name: str, error: OSError) -> DataError:
    """Of what cannot be read, and would not be the next time."""
    return DataError(f"{name}: cannot be read ({error.strerror}); mend it or take it out of the source")


def stamp(path: Path) -> tuple[int, ...]:
    """Of a file: size, times of content and of all else in nanoseconds, inode; empty if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()  # what stands in the way of reading it is said then
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _why_no_file(path: Path) -> str:
    if not path.is_symlink():
        return "not a regular file"
    try:
        path.resolve(strict=True)
    except RuntimeError:  # pathlib's word for a loop
        return "a link that leads to itself"
    except OSError:
        return "a link that leads nowhere"
    return "a link to what is not a regular file"
