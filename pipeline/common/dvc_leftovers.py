"""What DVC leaves behind where the disk was full or it was killed, and does not clear away itself (DVC 3.67).

Half copies: hidden files with names of its own, beside an output or in its cache. They are in .dvcignore, so never data.
A folder of its run cache without an entry: the next `dvc repro` would end with "join() argument must be str, bytes, or
os.PathLike object, not 'NoneType'" (dvc/stage/cache.py, `_load`), and so would every later one.
"""

from __future__ import annotations

import configparser
import functools
import os
import re
import time
from contextlib import suppress
from pathlib import Path

_HALF_COPY = re.compile(r"\.[\w-]{22}\.tmp")  # dvc_objects/fs/utils.py, `tmp_fname`
_A_WHILE_S, _A_MOMENT_S = 60.0, 1.0  # since anything was written: what changes is somebody's who is at work
_OF_SEVERAL = ("audit", "explained")  # reports of several stages, by subtype


def is_half_copy(path: Path) -> bool:
    """Whether a file is called as DVC calls what it has not copied whole."""
    return _HALF_COPY.fullmatch(path.name) is not None


@functools.cache
def remove_half_copies(folder: Path) -> None:
    """Remove those that lie in `folder` itself; once a process."""
    unchanged_s = _A_MOMENT_S if _is_one_stages(folder) else _A_WHILE_S
    with suppress(FileNotFoundError):
        for path in map(Path, os.scandir(folder)):
            if is_half_copy(path):
                _remove(path, unchanged_s)


def _is_one_stages(folder: Path) -> bool:
    """Whether no other DVC process copies to it while a stage writes there: reports/<subtype>/<candidate>."""
    match folder.parts:
        case "reports", whose, _:
            return whose not in _OF_SEVERAL
    return False


def clear_cache(dvc: Path = Path(".dvc")) -> None:
    """Remove half copies and folders without an entry from the cache of the project whose `.dvc` this is."""
    kept = _cache(dvc)
    remove_half_copies(kept / "files" / "md5")
    for folder in (kept / "runs").glob("*/*"):
        _remove(folder, _A_MOMENT_S)


def _remove(path: Path, unchanged_s: float) -> None:
    """Remove a file, or a folder if it is empty, that nobody has changed for a while; where that cannot be, it stays."""
    with suppress(OSError):
        if time.time() - path.lstat().st_mtime > unchanged_s:
            path.rmdir() if path.is_dir() else path.unlink()


def _cache(dvc: Path) -> Path:
    """Where DVC keeps its cache, as the project's settings say."""
    settings = configparser.RawConfigParser()
    with suppress(configparser.Error, UnicodeDecodeError):
        settings.read([dvc / "config", dvc / "config.local"], encoding="utf-8")
    return dvc / Path(settings.get("cache", "dir", fallback="cache")).expanduser()
