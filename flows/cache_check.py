"""`python -m flows check`: whether what DVC's cache holds is still what its names say, and out with what is not.

Outputs are hard links into the cache. They are read-only, which stops everybody but root (in most containers: everybody) and
whoever makes them writable: an output edited in place is then edited in the cache too. DVC trusts a read-only object without a
look. It restores the edited one from there, calls it up to date, and a forced run comes to lie on it again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import ROOT
from flows.errors import FlowError
from flows.flow_lock import only_flow


@dataclass(frozen=True)
class Damage:
    """What was edited in place: so many objects, the outputs that were links to them, and the stages that make those."""

    objects: int
    files: tuple[str, ...]
    stages: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.files[:3]) + (f" and {len(self.files) - 3} more" if len(self.files) > 3 else "")
        where = f", with {shown}, edited in place" if self.files else ""
        return f"{self.objects} objects of DVC's cache were no longer what they are called and are deleted{where}"


def run() -> int:
    """Look at the whole cache; 0 when all of it is sound, 1 when something was not, with the command that makes it again.

    Raises:
        BusyError: a flow is at work.
        FlowError: DVC cannot read its stages.
    """
    with only_flow():
        damage = remove_damaged()
    if damage is None:
        sys.stdout.write("DVC's cache is what it says\n")
        return 0
    again = f"; make them, and what was made of them, again: dvc repro --force --downstream {' '.join(damage.stages)}"
    sys.stdout.write(f"{damage}{again if damage.stages else ''}\n")
    return 1


def remove_damaged(folder: Path = ROOT) -> Damage | None:
    """Delete the objects whose bytes are not those of their name, and the outputs that are links to them; None without any.

    DVC remembers size, inode and time of what it has read: only what changed since is read again.

    Raises:
        FlowError: DVC cannot read its stages.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(folder)) as repo:
            damaged = list(_find_damaged(repo.cache.local))
            if not damaged:
                return None
            inodes = {(stat.st_dev, stat.st_ino) for stat in (path.stat() for path in damaged)}
            files, stages = [], []
            for stage in repo.index.stages:
                links = [path for out in stage.outs for path in _files_of(Path(out.fs_path)) if _inode(path) in inodes]
                if links:
                    stages.append(stage.name)
                files += links
    except DvcException as error:
        raise FlowError(f"{' '.join(str(error).split())}; `dvc status` says more") from None
    for path in (*files, *damaged):
        path.unlink()
    return Damage(len(damaged), tuple(str(path.relative_to(folder.resolve())) for path in files), tuple(stages))


def _find_damaged(cache: Any) -> Iterator[Path]:
    from dvc_data.hashfile.hash import hash_file

    for name in cache.all():
        path = cache.oid_to_path(name)
        _, found = hash_file(path, cache.fs, cache.hash_name, cache.state)
        if str(found.value).split(".")[0] != name.split(".")[0]:
            yield Path(path)


def _files_of(out: Path) -> Iterable[Path]:
    return (path for path in out.rglob("*") if path.is_file()) if out.is_dir() else [out] if out.is_file() else []


def _inode(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
