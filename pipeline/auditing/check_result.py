"""What an audit found: one answer a question, as a file for programs and as a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.common import console, paths

_DECIMALS = 6


@dataclass(frozen=True)
class Check:
    """One question in plain words, what was found (`value` for programs, `found` for people), and what to do when it is red."""

    name: str
    question: str
    found: str
    value: dict[str, Any] | None
    rule: str
    red: bool
    advice: str
    answered: bool


def write(path: Path, about: Mapping[str, Any], found: Sequence[Check]) -> None:
    """Write `about`, the number of red answers, and all answers as JSON."""
    contents = {**about, "red": sum(check.red for check in found), "checks": [asdict(check) for check in found]}
    text = json.dumps(_plain(contents), indent=2, ensure_ascii=False, allow_nan=False)
    paths.fresh(path).write_text(text + "\n", encoding="utf-8", newline="\n")


def show(title: str, found: Sequence[Check]) -> None:
    """Print the answers as a table, and what to do where they are red."""
    states = [("RED" if check.red else "ok" if check.answered else "-") for check in found]
    rows = [[state, check.name, check.found] for state, check in zip(states, found, strict=True)]
    console.table(title, ["", "check", "found"], rows)
    for check in found:
        if check.red:
            console.say(f"RED {check.name}: {check.question}")
            console.say(f"    what to do: {check.advice}")


def _plain(value: Any) -> Any:
    """Numbers rounded, so that the last bits of a library's sums don't show; NaN becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, _DECIMALS) if math.isfinite(value) else None
    return value
