"""`python -m flows gc`: what DVC, MLflow and Prefect keep that no reachable commit, registered version or decision needs.

Nothing is deleted here: sizes are said, and the commands that delete. Needed is what the dvc.lock of any commit names that a
branch, a tag, a stash or a worktree reaches, or that of this checkout; every registered version; and what data/decisions.jsonl
names.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import commits, dvc_stages, locked_files, unneeded_flow_runs
from flows.errors import FlowError
from pipeline.common import paths
from pipeline.common.errors import PipelineError
from pipeline.registry import decisions
from pipeline.registry.decisions import Decision

_SEEN_BY_DVC = ("HEAD", "--branches", "--tags", "--remotes")  # by `dvc gc --all-commits`; experiments by another option


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
    needed, decided = _find_needed(cache), _read_decisions()
    sys.stdout.write(
        "nothing is deleted here; these commands do it, once everybody has pushed their commits and a backup is there\n\n"
    )
    for part in (_of_dvc(needed, cache, decided), _of_mlflow(needed, decided), unneeded_flow_runs.report(days)):
        sys.stdout.write("\n".join(part) + "\n\n")
        sys.stdout.flush()
    return 0


def _read_decisions() -> list[Decision]:
    try:
        return decisions.parse(paths.DECISIONS.read_bytes(), str(paths.DECISIONS)) if paths.DECISIONS.is_file() else []
    except PipelineError as error:
        raise FlowError(str(error)) from None


def _find_needed(cache: Path) -> Needed:
    every = commits.parents("--all", *commits.worktree_heads(), *commits.stashed())
    locks = {content for _, content in commits.contents(locked_files.LOCK, every) if content}
    here = Path(locked_files.LOCK)
    objects, specs, unknown = set[str](), set[str](), 0
    for lock in {*locks, *([here.read_bytes()] if here.is_file() else [])}:
        try:
            outs = locked_files.outs(lock, locked_files.LOCK)
        except FlowError:  # somebody committed it with a conflict in it
            unknown += 1
            continue
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


def _of_dvc(needed: Needed, cache: Path, decided: Sequence[Decision]) -> Iterator[str]:
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
    of_no_commit = {
        f"{line.subtype} {line.candidate} {line.digest[:8]}"
        for line in decided
        if line.results_md5
        and line.results_md5 not in needed.objects
        and locked_files.object_path(cache, line.results_md5).is_file()
    }
    for name in sorted(of_no_commit):
        yield f"    {paths.DECISIONS} names {name}, whose results no dvc.lock does: DVC deletes them"
    if unseen := commits.unreached(_SEEN_BY_DVC):
        yield "    DVC does not see a stash, nor the commit of a worktree that no branch reaches; to keep what they name:"
        yield from (f"    git branch keep-{commit[:12]} {commit[:12]}" for commit in unseen)
    if gone:
        yield "    dvc gc --workspace --all-commits --all-experiments --dry     # lists them; takes long"
        yield "    dvc gc --workspace --all-commits --all-experiments --force   # with --cloud in the remote too"


def _of_mlflow(needed: Needed, decided: Sequence[Decision]) -> Iterator[str]:
    """As `python -m pipeline unneeded` finds it; of trainings nothing where not all that are needed are known."""
    asked = {"candidates": sorted({line.digest for line in decided}), "trainings": sorted(needed.trainings)}
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
