"""What became of many rounds, also of several sittings: a line a kind, as docs/torture.md has it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any


def markdown(rounds: Iterable[Mapping[str, Any]]) -> str:
    """Kind, rounds, faults in them, rounds survived and lost; one whose fault came too late is none."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in rounds:
        if one["outcome"] != "missed":
            counts[one["kind"]] += Counter({"rounds": 1, "faults": one["faults"], one["outcome"]: 1})
    lines = ["| kind | rounds | faults | survived | lost |", "|---|---|---|---|---|"]
    for kind, count in [*counts.items(), ("all", sum(counts.values(), Counter[str]()))]:
        lines.append(f"| {kind} | {count['rounds']} | {count['faults']} | {count['survived']} | {count['lost']} |")
    return "\n".join(lines)
