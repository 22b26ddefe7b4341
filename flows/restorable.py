"""Whether a candidate that data/decisions.jsonl names can be brought back bit for bit, from where, and what is missing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flows import commits, locked_files
from flows.errors import FlowError
from pipeline.registry import bringing_back
from pipeline.registry.decisions import Decision

_TOLD = ("data/source.json", "data/manifest.parquet", "data/splits")  # what of dvc.lock says which data it was


@dataclass(frozen=True)
class Restorable:
    """`commit` holds the files, or was that of the registration (`held` False; empty if not known here); `why` not, if not."""

    commit: str
    held: bool
    why: str
    data: dict[str, str]  # file -> its digest at that commit
    objects: str  # what of the commit's files is in DVC's cache here
    weights: str  # whether the weights there are those of the decision


def find(line: Decision) -> Restorable:
    """Look for it in all commits of this repository, and in DVC's cache.

    Raises:
        FlowError: git or DVC cannot tell.
    """
    commit, held = bringing_back.commit_of(line)
    at = commit or _known(line.commit)
    if not at:
        return Restorable("", False, _why_not(line, ""), {}, "", "")
    outs = locked_files.outs(commits.content(locked_files.LOCK, at) or b"", f"{locked_files.LOCK} of commit {at[:12]}")
    data = {
        path: f"md5 {digest}" for path, digest in outs.items() if path in _TOLD or path == f"data/splits/{line.subtype}.csv"
    }
    if delivery := commits.content("data/delivery.json", at):
        data["data/delivery.json"] = f"sha256 {hashlib.sha256(delivery).hexdigest()}"
    if not held:
        return Restorable(at, False, _why_not(line, at), data, "", "")
    cache = locked_files.cache_folder()
    files = locked_files.files(locked_files.outs_of_stages(at), cache)
    return Restorable(at, True, "", data, _objects(files, cache), _weights(line, files, cache))


def _known(commit: str) -> str:
    try:
        return commits.resolve(commit) if commit else ""
    except FlowError:
        return ""


def _why_not(line: Decision, commit: str) -> str:
    if line.dirty:
        of = f" of commit {line.commit[:12]}" if line.commit else ""
        return f"it was registered from an uncommitted state{of}, and no commit's dvc.lock names its results"
    if not line.commit:
        return "it was registered outside git, and no commit's dvc.lock names its results"
    if not commit:
        return (
            f"commit {line.commit[:12]}, at which it was registered, is not in this repository; `git fetch --all` may bring it"
        )
    return (
        f"no commit's dvc.lock names its results, nor does that of commit {commit[:12]}, at which it was registered; trained "
        "again from there, on the same kind of machine, the same bytes come out"
    )


def _objects(files: locked_files.Files, cache: Path) -> str:
    lacks = sum(not locked_files.object_path(cache, digest).is_file() for digest in files.objects.values())
    if not lacks and not files.unlisted:
        return f"all {len(files.objects)} files are in DVC's cache here"
    folders = f", and the lists of {', '.join(files.unlisted)}" if files.unlisted else ""
    return f"DVC's cache here lacks {lacks} of {len(files.objects)} files{folders}; `dvc fetch --all-commits` brings them"


def _weights(line: Decision, files: locked_files.Files, cache: Path) -> str:
    """Looked up by their SHA-256 among the files of each fold."""
    below = f"models/{line.subtype}/{line.candidate}/"
    found = set()
    for path, digest in files.objects.items():
        fold = path.removeprefix(below).partition("/")[0] if path.startswith(below) else ""
        if (wanted := line.weights_sha256.get(fold)) and (kept := locked_files.object_path(cache, digest)).is_file():
            with kept.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == wanted:
                    found.add(fold)
    if not line.weights_sha256:
        return "the decision names none"
    if missing := sorted(line.weights_sha256.keys() - found):
        return f"not in DVC's cache here, or not those of the decision: {', '.join(missing)}"
    return f"{len(found)} of {len(found)} folds' in DVC's cache have the SHA-256 that the decision names"
