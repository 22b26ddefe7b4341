"""The files that a dvc.lock names, and which of them are in DVC's cache on this machine."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.errors import FlowError

LOCK = "dvc.lock"
_FOLDER = ".dir"  # how the name of an object ends that lists a folder's


@dataclass(frozen=True)
class Files:
    """Files by their paths, each with the name of its object; and the folders whose list of files is not in the cache."""

    objects: Mapping[str, str]
    unlisted: tuple[str, ...]


def outs(lock: bytes, name: str) -> dict[str, str]:
    """Every output that a dvc.lock names, and its digest, of a folder the digest of its list.

    Raises:
        FlowError: it is none; the message calls it `name`.
    """
    try:
        stages = YAML(typ="safe").load(lock.decode()) or {}
        every = (stages.get("stages") or {}).values()
        return {out["path"]: out["md5"] for stage in every for out in stage.get("outs", []) if "md5" in out}
    except (YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise FlowError(f"{name}: is no dvc.lock ({str(error).splitlines()[0]})") from None


def outs_of_stages(commit: str) -> dict[str, str]:
    """The same of a commit, without those of stages that its dvc.yaml no longer has: what `dvc checkout` brings there.

    Raises:
        FlowError: DVC cannot read the commit.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.brancher import switch

    try:
        with Repo(".") as repo, switch(repo, commit):
            every = [out for stage in repo.index.stages for out in stage.outs if out.use_cache and out.hash_info]
            return {out.def_path: out.hash_info.value for out in every}
    except DvcException as error:
        raise FlowError(f"commit {commit[:12]}: {' '.join(str(error).split())}; `git show {commit[:12]}:dvc.yaml`") from None


def cache_folder() -> Path:
    """Where DVC keeps objects on this machine.

    Raises:
        FlowError: this is no DVC project.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(".") as repo:
            return Path(repo.cache.local.path)
    except DvcException as error:
        raise FlowError(f"{' '.join(str(error).split())}; run this in the checkout's root") from None


def object_path(cache: Path, digest: str) -> Path:
    """Where an object lies, if it is there."""
    return cache / digest[:2] / digest[2:]


def files(named: Mapping[str, str], cache: Path) -> Files:
    """All files of these outputs, those of folders one by one as far as the cache has their lists."""
    found: dict[str, str] = {}
    unlisted = []
    for path, digest in named.items():
        if not digest.endswith(_FOLDER):
            found[path] = digest
        elif (listing := object_path(cache, digest)).is_file():
            found |= {f"{path}/{name}": own for name, own in _listed(listing)}
        else:
            unlisted.append(path)
    return Files(found, tuple(unlisted))


def _listed(listing: Path) -> Iterator[tuple[str, str]]:
    for row in json.loads(listing.read_bytes()):
        yield row["relpath"], row["md5"]


def fetch(digests: Collection[str]) -> str:
    """Bring objects from DVC's remote into the cache, as far as it has them; why not all of them came, empty if they did."""
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    try:
        with Repo(".") as repo:
            result = repo.cloud.pull([HashInfo("md5", digest) for digest in digests])
    except Exception as error:  # DVC's own, and whatever the client of a remote raises
        return " ".join(str(error).split()) or type(error).__name__
    return f"it has no {min(info.value for info in result.failed)}" if result.failed else ""
