"""`python -m flows compare main`: the results of this checkout beside those of another commit, paired over patients.

Figures are in git, patients' scores in DVC's cache or its remote, by the digests of each commit's dvc.lock; what cannot be had
is said on the page, and then metrics.json alone is compared. What is compared, and how, is `python -m pipeline compare`'s.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows import commits, dvc_stages, locked_files

_METRICS, _SCORES = "metrics.json", "patients.csv"
WORSE = 3  # exit status of `python -m pipeline compare`, and with --fail-on-regression of this


@dataclass(frozen=True)
class State:
    """What a commit, or this checkout, holds: metrics.json by their paths, and of patients.csv the digests.

    `others` are metrics.json that dvc.lock does not mean: the scores that it names are of another run than the figures.
    """

    name: str
    metrics: Mapping[str, bytes]
    scores: Mapping[str, str]
    others: tuple[str, ...]


def run(ref: str, output: str, fail_on_regression: bool = False) -> int:
    """Print the page and leave it, with its pictures, in `output`; 0, or `WORSE` if that is asked for and something got worse.

    Raises:
        FlowError: there is no such commit, or nothing to compare.
    """
    commit = commits.resolve(ref)
    before, after = _of_commit(ref, commit), _of_checkout()
    cache = locked_files.cache_folder()
    notes = [*_others(before), *_others(after), *_missing(before, after, cache)]
    with tempfile.TemporaryDirectory() as folder:
        for name, state in (("before", before), ("after", after)):
            _write(state, cache, Path(folder) / name)
        status, _ = dvc_stages.run_pipeline(
            "compare",
            *(str(Path(folder) / name) for name in ("before", "after")),
            *("--called", before.name, after.name),
            *(word for note in notes for word in ("--note", note)),
            *("--output", str(Path(output).absolute())),
            say=lambda _line: None,
            fine=(0, WORSE),
            folder=Path(),
        )
    sys.stdout.write((Path(output) / "comparison.md").read_text())
    return status if fail_on_regression else 0


def _of_commit(ref: str, commit: str) -> State:
    listed = commits.git("ls-tree", "-r", "-z", "--name-only", commit, "--", "reports").decode().split("\0")
    paths = [path for path in listed if _is_result(Path(path))]
    metrics = {path: commits.content(path, commit) or b"" for path in paths}
    lock = commits.content(locked_files.LOCK, commit) or b""
    name = f"{ref} ({commit[:12]})" if not commit.startswith(ref) else commit[:12]
    return _state(name, metrics, lock, f"{locked_files.LOCK} of {name}")


def _of_checkout() -> State:
    """The files as they lie here, committed or not."""
    commit = commits.resolve("HEAD")
    metrics = {path.as_posix(): path.read_bytes() for path in Path("reports").glob(f"*/*/{_METRICS}")}
    lock = Path(locked_files.LOCK)
    changed = commits.git("status", "--porcelain", "--", "reports", str(lock)).strip()
    name = f"this checkout ({commit[:12]}{', with results that are not committed' if changed else ''})"
    return _state(name, metrics, lock.read_bytes() if lock.is_file() else b"", str(lock))


def _is_result(path: Path) -> bool:
    return path.name == _METRICS and len(path.parts) == 4


def _state(name: str, metrics: Mapping[str, bytes], lock: bytes, lock_name: str) -> State:
    """Of each result that has metrics.json, and whose scores dvc.lock names: their path and digest."""
    outs = locked_files.outs(lock, lock_name)
    others = [path for path, content in metrics.items() if outs.get(path) not in (None, hashlib.md5(content).hexdigest())]
    beside = (str(Path(path).with_name(_SCORES)) for path in metrics if path not in others)
    return State(name, metrics, {path: outs[path] for path in beside if path in outs}, tuple(others))


def _others(state: State) -> list[str]:
    """A sentence where figures and scores do not belong together."""
    if not state.others:
        return []
    named = ", another ".join(state.others)
    return [
        f"{state.name}: its {locked_files.LOCK} names another {named} than is there, so the scores that it names are of "
        "another run: of those results metrics.json alone is compared, unpaired. `dvc repro` makes both anew, `dvc commit` "
        "takes both as they lie."
    ]


def _missing(before: State, after: State, cache: Path) -> list[str]:
    """Bring what the cache lacks from DVC's remote; a sentence where that could not be done."""
    wanted = {digest for state in (before, after) for digest in state.scores.values()}
    lacking = {digest for digest in wanted if not locked_files.object_path(cache, digest).is_file()}
    if not lacking:
        return []
    why = locked_files.fetch(lacking)
    still = [digest for digest in lacking if not locked_files.object_path(cache, digest).is_file()]
    if not still:
        return []
    many = f"{len(still)} of {len(wanted)} tables of patients' scores are neither in DVC's cache nor to be had from its remote"
    return [f"{many} ({why}): of those results metrics.json alone is compared, unpaired."]


def _write(state: State, cache: Path, folder: Path) -> None:
    for name, content in state.metrics.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for name, digest in state.scores.items():
        if (kept := locked_files.object_path(cache, digest)).is_file():
            shutil.copyfile(kept, folder / name)
