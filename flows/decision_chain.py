"""data/decisions.jsonl as git has it: which commit holds a line first, and where lines were taken out, which nobody may do.

Git is the chain: a line that a commit's parent had and the commit has not is a break in it, and so is one missing from the
working file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from flows import commits
from flows.commits import Commit

WORKING = "the file as it lies here, uncommitted"


@dataclass(frozen=True)
class Break:
    """Lines that were there before a commit, or before what lies here (`WORKING`), and are not after it."""

    before: str
    after: str
    lines: tuple[bytes, ...]


@dataclass(frozen=True)
class Chain:
    """All lines ever written, in the order of their commits; the last are in none."""

    standing: frozenset[bytes]  # in the file as it lies here
    first: dict[bytes, Commit | None]  # every line ever -> the first commit that holds it, None where none does
    breaks: list[Break]


def read(path: str, working: bytes) -> Chain:
    """The chain of a file whose present content is `working`.

    Raises:
        FlowError: git cannot tell.
    """
    parents = commits.parents("HEAD")
    held = {commit: _lines(content or b"") for commit, content in commits.contents(path, parents)}
    first: dict[bytes, str] = {}
    broken: list[tuple[str, str, tuple[bytes, ...]]] = []
    for commit, before in parents.items():
        for line in held[commit]:
            first.setdefault(line, commit)
        for parent in before:
            if held[parent] is not held[commit] and (gone := _gone(held[parent], held[commit])):
                broken.append((parent, commit, gone))
    head, here = next(reversed(parents)), _lines(working)
    if gone := _gone(held[head], here):
        broken.append((head, "", gone))
    told = commits.describe(list({*first.values(), *(name for row in broken for name in row[:2] if name)}))
    return Chain(
        frozenset(here),
        {line: told[commit] for line, commit in first.items()} | {line: None for line in here if line not in first},
        [Break(str(told[before]), str(told[after]) if after else WORKING, gone) for before, after, gone in broken],
    )


@cache  # most commits have the file of the one before
def _lines(content: bytes) -> Sequence[bytes]:
    return tuple(dict.fromkeys(line.strip() for line in content.split(b"\n") if line.strip()))


def _gone(before: Sequence[bytes], after: Sequence[bytes]) -> tuple[bytes, ...]:
    kept = set(after)
    return tuple(line for line in before if line not in kept)
