"""`python -m flows gc`: what DVC, MLflow and Prefect keep that no reachable commit, registered version or decision needs.

Nothing is deleted here: sizes are said, and the commands that delete. Needed is what the dvc.lock of any commit names that a
branch, a tag, a stash or a worktree reaches, or that of this checkout; every registered version; and what data/decisions.jsonl
names.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows import commits, dvc_stages, locked_files, unneeded_flow_runs
from flows.errors import FlowError

_SEEN_BY_DVC = ("HEAD", "--branches", "--tags", "--remotes")  # by `dvc gc --all-commits`; experiments by another option
_DECISIONS = Path("data/decisions.jsonl")


@dataclass(frozen=True)
class Needed:
    """The names of all objects of DVC's cache that are needed, and the trainings whose networks are among them.

    `unknown` are objects that the cache lacks, so that nobody can tell which trainings, or files, they name.
    """

    objects: frozenset[str]
    trainings: frozenset[str]
    unknown: int


def run(days: int) -> int:
    """Print what may go; flow runs of Prefect may after so many days.

    Raises:
        FlowError: it cannot be told what is needed.
    """
    commits.require_whole_history()
    if days < 0:
        raise FlowError(f"--days {days}: give a number of days from 0")
    cache = locked_files.cache_folder()
    needed = _find_needed(cache)
    sys.stdout.write(
        "nothing is deleted here; these commands do it, once everybody has pushed their commits and a backup is there\n\n"
    )
    for part in (_of_dvc(needed, cache), _of_mlflow(needed), unneeded_flow_runs.report(days)):
        sys.stdout.write("\n".join(part) + "\n\n")
        sys.stdout.flush()
    return 0


def _find_needed(cache: Path) -> Needed:
    every = commits.parents("--all", *commits.worktree_heads())
    locks = {content for _, content in commits.contents(locked_files.LOCK, every) if content}
    here = Path(locked_files.LOCK)
    objects, specs, unknown = set[str](), set[str](), 0
    for lock in {*locks, *([here.read_bytes()] if here.is_file() else [])}:
        outs = locked_files.outs(lock, f"{locked_files.LOCK} of an older commit")
        files = locked_files.files(outs, cache)
        objects |= {*outs.values(), *files.objects.values()}
        unknown += len(files.unlisted)
        specs |= {
            digest for path, digest in files.objects.items() if path.startswith("models/") and path.endswith("/spec.json")
        }
    trainings = set()
    for spec in specs:
        if (kept := locked_files.object_path(cache, spec)).is_file():
            trainings.add(str(json.loads(kept.read_bytes()).get("training", "")))
        else:
            unknown += 1
    return Needed(frozenset(objects), frozenset(trainings), unknown)


def _of_dvc(needed: Needed, cache: Path) -> Iterator[str]:
    kept, gone = 0, list[int]()
    for file in cache.glob("??/*"):
        size = file.stat().st_size
        if file.parent.name + file.name in needed.objects:
            kept += size
        else:
            gone.append(size)
    yield f"DVC's cache: {_megabytes(sum(gone))} in {len(gone)} objects no dvc.lock names; {_megabytes(kept)} are needed"
    if needed.unknown:
        yield f"    {needed.unknown} lists and specs of older commits are not in the cache; what they name counts as not named"
    if unseen := commits.unreached(_SEEN_BY_DVC):
        yield "    DVC does not see a stash, nor the commit of a worktree that no branch reaches; to keep what they name:"
        yield from (f"    git branch keep-{commit[:12]} {commit[:12]}" for commit in unseen)
    if gone:
        yield "    dvc gc --workspace --all-commits --all-experiments --dry     # lists them; takes long"
        yield "    dvc gc --workspace --all-commits --all-experiments --force   # with --cloud in the remote too"


def _of_mlflow(needed: Needed) -> Iterator[str]:
    """As `python -m pipeline unneeded` finds it; of trainings nothing where not all that are needed are known."""
    decided = (
        [json.loads(line) for line in _DECISIONS.read_bytes().splitlines() if line.strip()] if _DECISIONS.is_file() else []
    )
    asked = {"candidates": sorted({line["digest"] for line in decided}), "trainings": sorted(needed.trainings)}
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "needed.json", Path(folder) / "unneeded.json"
        given.write_text(json.dumps(asked | ({"trainings": None} if needed.unknown else {})))
        try:
            dvc_stages.run_pipeline("unneeded", str(given), str(answer), say=lambda _line: None, folder=Path())
        except FlowError as error:
            yield f"MLflow: cannot be asked ({error})"
            return
        found = json.loads(answer.read_text())
    size, many = _megabytes(found["bytes"]), len(found["runs"])
    yield f"MLflow: {size} in {many} runs of no registered version, commit or decision; {found['kept']} runs are needed"
    yield from (f"    {kind}: {count}" for kind, count in found["kinds"].items())
    if needed.unknown:
        yield "    trainings are left out: which are needed is not known until `dvc fetch --all-commits` has brought all specs"
    yield from (f"    {command}" for command in found["commands"])
    if found["strays"]:
        size, many = _megabytes(found["stray_bytes"]), len(found["strays"])
        yield f"MLflow's folder of artifacts: {size} in {many} folders of no run or model"
        yield from (f"    rm -r {path}" for path in found["strays"])


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
