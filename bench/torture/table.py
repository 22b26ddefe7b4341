"""What became of many rounds, also of several sittings: a line a kind, as docs/torture.md has it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any


def markdown(rounds: Iterable[Mapping[str, Any]]) -> str:
    """Kind, tries, survived, lost; a round whose fault came too late is no try."""
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    for one in rounds:
        outcomes[one["kind"]][one["outcome"]] += 1
    lines = ["| kind | tries | survived | lost |", "|---|---|---|---|"]
    for kind, count in [*outcomes.items(), ("all", sum(outcomes.values(), Counter[str]()))]:
        lines.append(f"| {kind} | {count['survived'] + count['lost']} | {count['survived']} | {count['lost']} |")
    return "\n".join(lines)
