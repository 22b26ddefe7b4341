"""A cohort as a ZIP archive, which comes from outside: all names, sizes and kinds in it are judged before a byte is unpacked.

One member that is not what it should be refuses the whole.
"""

from __future__ import annotations

import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from pipeline.cohort import other_archives
from pipeline.cohort.trees import CHUNK, DamagedError, stamp, unreadable
from pipeline.common import console
from pipeline.common.errors import DataError
from pipeline.common.params_data import ArchiveLimits
from pipeline.names import leftovers

_REPACK = "unpack it yourself, look at what is in it, and name the folder instead"
_UTF8, _PATCH, _ENCRYPTED = 0x800, 0x20, 0x2041  # flags of a member: APPNOTE.TXT 6.3.10, 4.4.4
_UNICODE_PATH = 0x7075  # an extra field: APPNOTE.TXT, 4.6.9
_DOS_FOLDER = 0x10
_LONGEST_NAME, _LONGEST_PATH = 255, 1024  # bytes


class Archive:
    """A ZIP archive that holds nothing but files and folders, within limits."""

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        """Judge the archive by its table of contents.

        Raises:
            DataError: names the archive, the member by its number, and what is wrong with it.
        """
        self._path = path
        self.litter: dict[str, str] = {}
        self.warned: set[str] = set()
        try:
            if refusal := other_archives.refusal(path):
                raise DataError(refusal)
            self._zip = zipfile.ZipFile(path)
        except NotImplementedError as error:
            raise DataError(f"{path}: a ZIP archive of a kind that Python does not read ({error}); {_REPACK}") from None
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise DamagedError(
                f"{path}: {other_archives.beginning(path)}not a ZIP archive, or a part of one ({error}); fetch it again"
            ) from None
        except OSError as error:
            raise unreadable(str(path), error) from None
        judged = self._judged(limits)
        self._members = {info.filename: info for info in judged if not info.is_dir()}
        self._folders: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        for info in judged:
            self._place(info)

    def where(self, path: str) -> str:
        """The archive and the member."""
        return f"{self._path}: {path}" if path else str(self._path)

    def children(self, at: str) -> tuple[list[str], list[str]]:
        """From the table of contents."""
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
        archive, info = stamp(self._path), self._members[path]
        return archive and (*archive, info.header_offset, info.CRC)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Unpacks; a member's declared size is never exceeded, its checksum is verified."""
        try:
            with self._zip.open(self._members[path]) as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, OSError) as error:
            raise DamagedError(f"{self.where(path)}: damaged ({error}); fetch the archive again") from None

    def _place(self, info: zipfile.ZipInfo) -> None:
        parent = info.filename.rstrip("/")
        if info.is_dir():
            self._folders.setdefault(parent, (set(), set()))
        else:
            parent = _above(parent)
            self._folders.setdefault(parent, (set(), set()))[1].add(info.filename)
        while parent:
            above = _above(parent)
            self._folders.setdefault(above, (set(), set()))[0].add(parent)
            parent = above

    def _judged(self, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
        numbered = []
        unsaid = 0
        for at, info in enumerate(self._zip.infolist(), 1):
            info.filename, is_guess = _name(info)
            unsaid += is_guess
            if not info.file_size and not info.is_dir() and _is_folder(info):
                info.filename += "/"
            kind = leftovers.litter(info.filename)
            if kind in ("", leftovers.HIDDEN):
                numbered.append((at, info))
            else:
                self.litter[info.filename] = kind
        if unsaid:
            console.warn(
                f"{self._path}: {unsaid} names are in an encoding that it does not say, read as code page 437; are patients "
                "called otherwise, unpack it by the program that packed it, and name the folder instead"
            )
        members = [info for _, info in numbered]
        if len(members) > limits.max_files:
            raise DataError(
                f"{self._path}: holds {len(members):,} members, more than ingest.archive.max_files ({limits.max_files:,})"
            )
        for number, info in numbered:
            if fault := _fault(info, limits):
                raise DataError(f"{self._path}: {_member(number)} {fault}; {_REPACK}")
            if info.flag_bits & _ENCRYPTED:
                raise DataError(other_archives.encrypted(self._path, _member(number), info.compress_type))
            if refusal := other_archives.unknown_method(self._path, info.compress_type):
                raise DataError(refusal)
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


def _above(place: str) -> str:
    return place.rpartition("/")[0]


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """Whether a member's attributes, of Unix or of DOS, say so; some programs leave out the slash behind its name."""
    return stat.S_ISDIR(info.external_attr >> 16) or bool(info.external_attr & _DOS_FOLDER)


def _name(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """A member's name, and whether it is a guess: many programs write UTF-8 and do not say so, and some the code page of their
    country, which by the standard would all be code page 437.
    """
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename, False
    try:
        raw = info.orig_filename.partition("\0")[0].encode("cp437")
    except UnicodeEncodeError:  # it was taken from the extra field already
        return info.filename, False
    extra = info.extra
    while len(extra) >= 4:  # a field's number and length
        number, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if number == _UNICODE_PATH and field[1:5] == struct.pack("<L", zlib.crc32(raw)):
            raw = field[5:]
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return info.filename, True


def _fault(info: zipfile.ZipInfo, limits: ArchiveLimits) -> str:
    """Why a member refuses its archive, "" if it doesn't."""
    name, raw = info.filename, info.orig_filename
    parts = name.rstrip("/").split("/")
    if "\0" in raw or not name.isprintable():
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
    if info.is_dir() and info.file_size:
        return "is a folder with a content of its own"
    if info.flag_bits & _PATCH:
        return "is the difference to another file"
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
