"""What git keeps of this checkout: its commits, and a file as each of them has it.

Every command runs in the checkout's root. What keeps git from answering is the user's to mend, and never an empty answer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flows.errors import FlowError

_FIELDS = "%H%x00%an%x00%cI%x00%s"


@dataclass(frozen=True)
class Commit:
    """A commit: who made it, when it came here, what it says of itself."""

    id: str
    author: str
    time: datetime
    subject: str

    def __str__(self) -> str:
        return f"{self.id[:12]} ({self.time:%Y-%m-%d}, {self.author})"


def git(*arguments: str, given: bytes = b"") -> bytes:
    """What git prints.

    Raises:
        FlowError: there is no git, no repository, or git refuses.
    """
    program = shutil.which("git")
    if program is None:
        raise FlowError("git: is not installed; history stands in git's commits")
    done = subprocess.run(
        [program, *arguments], input=given, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"}
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        if "not a git repository" in said:
            raise FlowError(f"{Path.cwd()}: is no git repository, so it has no history; run this in a clone (`git clone`)")
        raise FlowError(f"git {arguments[0]}: {said or f'ended with status {done.returncode}'}")
    return done.stdout


def require_whole_history() -> None:
    """Refuse a clone that lacks the older commits, or a repository without any.

    Raises:
        FlowError: it does.
    """
    if git("rev-parse", "--is-shallow-repository").strip() == b"true":
        raise FlowError("this clone is shallow: older commits are not here; `git fetch --unshallow` brings them")
    if not git("rev-list", "--max-count=1", "--all").strip():
        raise FlowError(f"{Path.cwd()}: git has no commit yet; `git commit` makes the first")


def resolve(name: str) -> str:
    """The commit that a branch, tag or beginning of a name stands for.

    Raises:
        FlowError: none is called so.
    """
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
    except FlowError as error:
        if "ended with status" not in str(error):
            raise
        raise FlowError(f"git knows no commit {name}; `git fetch --all` may bring it, `git branch --all` lists them") from None


def parents(*commits: str) -> dict[str, list[str]]:
    """Every commit that `commits`, as `git rev-list` takes them, reach and its parents, those before them first."""
    lines = git("rev-list", "--topo-order", "--reverse", "--parents", *commits, "--").decode().splitlines()
    return {commit: before for commit, *before in map(str.split, lines)}


def worktree_heads() -> list[str]:
    """The commits that this checkout and the worktrees beside it stand at."""
    lines = git("worktree", "list", "--porcelain").decode().splitlines()
    found = (line.removeprefix("HEAD ") for line in lines if line.startswith("HEAD "))
    return [commit for commit in found if commit.strip("0")]


def stashed() -> list[str]:
    """The commits of the stash, also those below its top, which no ref names."""
    return git("stash", "list", "--format=%H").decode().split()


def unreached(reached: Sequence[str]) -> list[str]:
    """The commits that a worktree or the stash stands at and none of `reached`, as `git rev-list` takes them, reaches."""
    every = set(git("rev-list", *reached, "--").decode().split())
    return [commit for commit in dict.fromkeys([*worktree_heads(), *stashed()]) if commit not in every]


def contents(path: str, commits: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """A file as each of these commits has it; None where one has none. The same content is read once."""
    asked = list(commits)
    place = git("rev-parse", "--show-prefix").decode().strip() + path
    names = "".join(f"{commit}:{place}\n" for commit in asked).encode()
    found = git("cat-file", "--batch-check=%(objecttype) %(objectname)", given=names).decode().splitlines()
    blobs = [line.split()[1] if line.startswith("blob ") else "" for line in found]
    known = _read(list(dict.fromkeys(filter(None, blobs))))
    return ((commit, known.get(blob)) for commit, blob in zip(asked, blobs, strict=True))


def content(path: str, commit: str) -> bytes | None:
    """A file as a commit has it; None where it has none."""
    return next(contents(path, [commit]))[1]


def describe(commits: Sequence[str]) -> dict[str, Commit]:
    """Who made each of these commits, and when."""
    if not commits:
        return {}
    told = git("log", "--no-walk=unsorted", "--stdin", f"--format={_FIELDS}", given="\n".join(commits).encode()).decode(
        errors="replace"
    )
    rows = (line.split("\0") for line in told.split("\n") if line)  # a subject may hold what else ends a line
    return {name: Commit(name, author, datetime.fromisoformat(time), subject) for name, author, time, subject in rows}


def _read(blobs: Sequence[str]) -> dict[str, bytes]:
    answer = git("cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs).encode()) if blobs else b""
    found, at = {}, 0
    for blob in blobs:
        start = answer.index(b"\n", at) + 1
        size = int(answer[at:start].split()[2])
        found[blob], at = answer[start : start + size], start + size + 1
    return found
