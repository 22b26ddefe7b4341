"""A cohort as it was delivered, a folder or a ZIP archive: a tree whose files can be listed and read, never changed.

Places in a tree are relative, with forward slashes; "" is its top. A ZIP archive comes from outside: every name, size and
kind in it is judged before the first byte is unpacked, and one member that is not what it should be refuses the whole.
"""

from __future__ import annotations

import errno
import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from pipeline.common.config import ArchiveLimits
from pipeline.common.errors import DataError

_REPACK = "unpack it yourself, look at what is in it, and name the folder instead"
_MACOS = "__MACOSX/"  # Finder's archives carry a second tree of resource forks
_CHUNK = 1 << 20
_LONGEST_NAME, _LONGEST_PATH = 255, 1024  # bytes


class Tree(Protocol):
    """What `ingest` needs to know of a source."""

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

    def where(self, path: str) -> str:
        """The path of the original."""
        return str(self._root / path)

    def children(self, at: str) -> tuple[list[str], list[str]]:
        """Links to folders count as folders here."""
        try:
            entries = sorted(os.scandir(self._root / at), key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(self.where(at), error) from None
        places = [(_is_folder(entry), f"{at}/{entry.name}" if at else entry.name) for entry in entries]
        return [place for is_dir, place in places if is_dir], [place for is_dir, place in places if not is_dir]

    def files(self, at: str) -> list[str]:
        """Refuses links to folders: what they lead to would be copied again, or for ever."""

        def refuse(error: OSError) -> None:
            raise _unreadable(str(error.filename), error)

        found = []
        for parent, folders, names in os.walk(self._root / at, onerror=refuse):
            for name in folders:
                if (link := Path(parent) / name).is_symlink():
                    raise DataError(f"{link}: a link to a folder; put the folder itself there, or take the link out")
            place = Path(parent).relative_to(self._root)
            found += [(place / name).as_posix() for name in names]
        return sorted(found)

    def size(self, path: str) -> int:
        """0 for what cannot be opened: copying it will say why."""
        try:
            return (self._root / path).stat().st_size
        except OSError:
            return 0

    def stamp(self, path: str) -> tuple[int, ...]:
        """Of what a link leads to."""
        return _stamp(self._root / path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """What only this file has (no permission, a dangling link) refuses it alone; a failing disk refuses all."""
        original = self._root / path
        try:
            if not original.is_file():  # a pipe would keep us waiting
                raise NotCopied(_why_no_file(original))
            with original.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.ENOENT):
                raise NotCopied(f"cannot be read: {error.strerror}") from None
            raise _unreadable(self.where(path), error) from None


class Archive:
    """A ZIP archive that holds nothing but files and folders, within limits."""

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        """Judge the archive by its table of contents.

        Raises:
            DataError: names the archive, the member by its number, and what is wrong with it.
        """
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
            raise DamagedError(f"{path}: not a ZIP archive, or a part of one ({error}); fetch it again") from None
        except OSError as error:
            raise _unreadable(str(path), error) from None
        self._members = {info.filename: info for info in self._judged(limits) if not info.is_dir()}
        self._folders: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        for name in self._members:
            self._place(name)

    def where(self, path: str) -> str:
        """The archive and the member."""
        return f"{self._path}: {path}" if path else str(self._path)

    def children(self, at: str) -> tuple[list[str], list[str]]:
        """Folders without a file in them are not seen."""
        folders, files = self._folders[at]
        return sorted(folders), sorted(files)

    def files(self, at: str) -> list[str]:
        """From the table of contents."""
        return sorted(name for name in self._members if name.startswith(f"{at}/" if at else ""))

    def size(self, path: str) -> int:
        """Unpacked."""
        return self._members[path].file_size

    def stamp(self, path: str) -> tuple[int, ...]:
        """The archive's, and what its table of contents says of the member."""
        archive, info = _stamp(self._path), self._members[path]
        return archive and (*archive, info.header_offset, info.CRC)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Unpacks; a member's declared size is never exceeded, its checksum is verified."""
        try:
            with self._zip.open(self._members[path]) as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError, OSError) as error:
            raise DamagedError(f"{self.where(path)}: damaged ({error}); fetch the archive again") from None

    def _place(self, name: str) -> None:
        parent = _above(name)
        self._folders.setdefault(parent, (set(), set()))[1].add(name)
        while parent:
            above = _above(parent)
            self._folders.setdefault(above, (set(), set()))[0].add(parent)
            parent = above

    def _judged(self, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
        numbered = [(at, info) for at, info in enumerate(self._zip.infolist(), 1) if not info.filename.startswith(_MACOS)]
        members = [info for _, info in numbered]
        if len(members) > limits.max_files:
            raise DataError(
                f"{self._path}: holds {len(members):,} members, more than ingest.archive.max_files ({limits.max_files:,})"
            )
        for number, info in numbered:
            if fault := _fault(info, limits):
                raise DataError(f"{self._path}: {_member(number)} {fault}; {_REPACK}")
        _require_distinct(self._path, numbered)
        total, packed = sum(info.file_size for info in members), self._path.stat().st_size
        if total > limits.max_total_gb * 1e9:
            raise DataError(
                f"{self._path}: unpacks to {total / 1e9:,.1f} GB, more than ingest.archive.max_total_gb "
                f"({limits.max_total_gb:g})"
            )
        if total > limits.max_ratio * packed:
            raise DataError(
                f"{self._path}: unpacks to {total / packed:,.0f} times its size, more than ingest.archive.max_ratio "
                f"({limits.max_ratio:g}); microscope images do not, so this may be a bomb"
            )
        return members


def _stamp(path: Path) -> tuple[int, ...]:
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


def _above(place: str) -> str:
    return place.rpartition("/")[0]


def _fault(info: zipfile.ZipInfo, limits: ArchiveLimits) -> str:
    """Why a member refuses its archive, "" if it doesn't."""
    name, raw = info.filename, info.orig_filename
    parts = name.rstrip("/").split("/")
    if "\0" in raw or not raw.isprintable():
        return "has unprintable characters in its name"
    if "\\" in raw:
        return "has backslashes in its name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
        return "would land outside the target folder"
    if "" in parts or "." in parts:
        return "has an empty part in its name"
    if max(len(part.encode()) for part in parts) > _LONGEST_NAME or len(name.encode()) > _LONGEST_PATH:
        return "has a name that no file system takes"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.file_size > limits.max_file_mb * 1e6:
        return f"unpacks to {info.file_size / 1e6:,.0f} MB, more than ingest.archive.max_file_mb ({limits.max_file_mb:g})"
    return ""


def _member(number: int) -> str:
    """By its number: nobody knows yet which parts of its name are patients' names."""
    return f"member {number} (`zipinfo -1` lists them)"


def _require_distinct(archive: Path, members: Iterable[tuple[int, zipfile.ZipInfo]]) -> None:
    files: dict[str, int] = {}
    folders: set[str] = set()
    for number, info in members:
        name = info.filename.rstrip("/")
        folders.update(str(parent) for parent in PurePosixPath(name).parents)
        if info.is_dir():
            folders.add(name)
        elif name in files:
            raise DataError(f"{archive}: {_member(number)} has the name of member {files[name]}; {_REPACK}")
        else:
            files[name] = number
    if both := sorted(files[name] for name in files.keys() & folders):
        raise DataError(f"{archive}: {_member(both[0])} is a file and a folder; {_REPACK}")


def _unreadable(name: str, error: OSError) -> DataError:
    return DataError(f"{name}: cannot be read ({error.strerror}); mend it or take it out of the source")
