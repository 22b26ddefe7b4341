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


RED, AMBER, CLEAR, NOTHING = STATES = ("red", "amber", "clear", "nothing to judge")
_SHOWN = {RED: "RED", AMBER: "amber", CLEAR: "ok", NOTHING: "-"}


@dataclass(frozen=True)
class Check:
    """One question in plain words, what was found (`value` for programs, `found` for people), and what to do in this state.

    `state` is red (something was found), amber (too few patients to tell), clear, or that there was nothing to judge.
    """

    name: str
    question: str
    found: str
    value: dict[str, Any] | None
    rule: str
    state: str
    advice: str  # empty where nothing is to be done

    @property
    def red(self) -> bool:
        """Whether something was found."""
        return self.state == RED

    @property
    def answered(self) -> bool:
        """Whether there was anything to judge."""
        return self.state != NOTHING


def overall(found: Sequence[Check]) -> str:
    """The gravest state; nothing to judge only where no answer says more."""
    return min((check.state for check in found), key=STATES.index, default=NOTHING)


def write(path: Path, about: Mapping[str, Any], found: Sequence[Check]) -> None:
    """Write `about`, the gravest state, the number of red answers, and all answers as JSON."""
    answers = [asdict(check) | {"red": check.red, "answered": check.answered} for check in found]
    contents = {**about, "state": overall(found), "red": sum(check.red for check in found), "checks": answers}
    text = json.dumps(_plain(contents), indent=2, ensure_ascii=False, allow_nan=False)
    paths.fresh(path).write_text(text + "\n", encoding="utf-8", newline="\n")


def show(title: str, found: Sequence[Check]) -> None:
    """Print the answers as a table, and what to do where they are red or amber."""
    console.table(title, ["", "check", "found"], [[_SHOWN[check.state], check.name, check.found] for check in found])
    for check in found:
        if check.state in (RED, AMBER):
            console.say(f"{_SHOWN[check.state]} {check.name}: {check.question}")
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
