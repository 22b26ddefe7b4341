"""Files and folders that are there whole or not at all, and the digests that tell their contents apart.

Whatever is killed on the way leaves the old state, and beside it at most one `.unfinished` of the same name, which the next
attempt begins anew; or a folder's old state as `.former-unfinished`, which that brings back. Who is to write what another
process is writing waits until that is done.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from pipeline.common import console, dvc_leftovers
from pipeline.common.errors import FULL

_NO_ROOM = (*FULL, errno.EFBIG)
_TOLD = re.compile(r"\berrno = (\d+)")  # HDF5
_UNFINISHED, _FORMER = ".unfinished", ".former-unfinished"  # in .dvcignore


@contextmanager
def in_one_step(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """An empty file beside `path` to write to, which takes the place of `path` when the block ends without an error.

    It is on the disk before it takes its place, and never a hard link into DVC's cache. `mode` is what the file may be used
    for, as far as the process's umask allows.
    """
    _make_folder(path.parent)
    unfinished = path.with_name(path.name + _UNFINISHED)
    with _alone(
        path, unfinished, lambda: os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)), unfinished.unlink
    ):
        try:
            with _naming(path):
                yield unfinished
            with unfinished.open("rb") as written:
                os.fsync(written.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def _make_folder(folder: Path) -> None:
    """Make sure that it is there; the system's "File exists" where a file is says too little."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
    dvc_leftovers.remove_half_copies(folder)


@contextmanager
def _alone(path: Path, unfinished: Path, make: Callable[[], None], remove: Callable[[], None]) -> Iterator[None]:
    """`unfinished`, made anew, is this process's within the block; what one left that is gone is removed."""
    while True:
        try:
            make()
            made = True
        except FileExistsError:
            made = False
        with _held(path, unfinished) as is_there:
            if is_there and made:
                yield
                return
            if is_there:
                remove()


@contextmanager
def _held(path: Path, unfinished: Path) -> Iterator[bool]:
    """Whether `unfinished` is there, once nobody else holds it; nobody else does within the block.

    The kernel frees what a process held that ends. Where a file system knows no such locks nobody waits.
    """
    try:
        held = os.open(unfinished, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:  # who held it has just ended
        yield False
        return
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say(f"{path}: another process is writing it; this one waits for that")
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:
            pass
        is_there = False
        with suppress(FileNotFoundError):
            is_there = os.path.samestat(os.fstat(held), unfinished.lstat())
        yield is_there
    finally:
        os.close(held)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Where there is no room for what is written to it, say so of `path`.

    The system's own error names no file; some libraries, HDF5 for one, make an error of another kind of it, with its words.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) and error.errno else _number_in(str(error))
        if number not in _NO_ROOM or (isinstance(error, OSError) and error.filename is not None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _number_in(words: str) -> int:
    """The system's number of an error that a library tells in words; 0 where it tells none."""
    found = _TOLD.search(words)
    return int(found[1]) if found else 0


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file in one step; text as UTF-8 with plain line ends."""
    with in_one_step(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def folder_in_one_step(folder: Path, unfinished: Path | None = None) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` when the block ends without an error.

    It lies beside `folder`. Where that is no place for it, but for the moment of the replacement, it is `unfinished`, on
    whatever file system.
    """
    _require_no_mount(folder)
    if unfinished is None:
        with _filled_beside(folder) as beside:
            yield beside
        return
    with _held(folder, _beside(folder)) as is_there:
        if is_there:
            _clear_away(folder)
    _make_folder(unfinished.parent)
    with _alone(folder, unfinished, unfinished.mkdir, partial(shutil.rmtree, unfinished)):
        try:
            with _naming(folder):
                yield unfinished
            with _filled_beside(folder) as beside:
                for place in unfinished.iterdir():
                    _bring(place, beside / place.name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _require_no_mount(folder: Path) -> None:
    """See, before hours of work, that another folder can take the place of this one.

    No folder can be moved below itself; where it is the root of a mount, of the same file system or not, for another reason.
    """
    if folder.is_symlink():
        return
    try:
        folder.rename(folder / "below")
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EBUSY):
            raise OSError(errno.EBUSY, "a mount, which nothing can take the place of", str(folder)) from None


@contextmanager
def _filled_beside(folder: Path) -> Iterator[Path]:
    unfinished, former = _beside(folder), _beside(folder, _FORMER)
    _make_folder(folder.parent)
    with _alone(folder, unfinished, unfinished.mkdir, partial(_clear_away, folder)):
        _remove(former)  # left behind by a kill after both renames
        try:
            with _naming(folder):
                yield unfinished
            try:
                folder.rename(former)  # to delete it takes a while, in which a part of it would be there
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.rmtree(folder)  # a file system in layers moves no folder of a lower one
            unfinished.rename(folder)
        except BaseException:
            with suppress(OSError):
                _clear_away(folder)
            raise
        _remove(former)


def _beside(folder: Path, ending: str = _UNFINISHED) -> Path:
    return folder.with_name(f".{folder.name}{ending}")


def _clear_away(folder: Path) -> None:
    """Remove what was to take the place of `folder`, which is there again if that ended between the two renames."""
    former = _beside(folder, _FORMER)
    if os.path.lexists(former) and not os.path.lexists(folder):
        former.rename(folder)
    shutil.rmtree(_beside(folder))


def _remove(path: Path) -> None:
    """Remove a folder, as far as that goes, or what lay in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _bring(place: Path, target: Path) -> None:
    """Rename a file or folder, or copy it where the other place is on another file system."""
    try:
        place.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if not place.is_dir():
            shutil.copyfile(place, target)
            return
        target.mkdir()
        for below in place.iterdir():  # not `copytree`, whose error says nothing of a full disk but in words
            _bring(below, target / below.name)


def require_writable(path: Path) -> None:
    """See, before hours of work, that `path` can be made, or replaced with all that lies below it.

    Raises:
        PermissionError: a folder of it cannot be written to.
    """
    for folder in (path.parent, path, *path.rglob("*/")):
        while not folder.is_dir():
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, "cannot be written", str(folder))


def sha256(path: Path) -> str:
    """Digest of a file's content, whatever its size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    """The digest by which DVC knows a file."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """One digest of the contents of several files, in this order, whatever their names."""
    total = hashlib.sha256()
    for path in paths:
        total.update(bytes.fromhex(sha256(path)))
    return total.hexdigest()


def sha256_below(folder: Path) -> dict[str, str]:
    """The digest of every file below `folder`, by its path there, with forward slashes and in order; no half copy of DVC's."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not dvc_leftovers.is_half_copy(path))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
