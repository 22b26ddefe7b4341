"""The text of a params file that was written for another cohort: what it says of that one alone is left out or said of this.

Comments stand in lines of their own above what they are about, or behind it. Values are changed by `params_file`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_NETWORKS = re.compile(r"(?<=\n    networks:\n)(?: {6}.*\n)+")


def headed(text: str, head: Sequence[str]) -> str:
    """Other comments in place of those at the top."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join([*head, *lines[first:]]) + "\n"


def with_candidate(text: str, name: str, other: str) -> str:
    """A candidate under another name; whoever names it is the caller's to change."""
    return re.sub(rf"(?m)^  {re.escape(name)}:$", f"  {other}:", text, count=1)


def with_networks(text: str, classes: Collection[str], rate: float | None) -> str:
    """The networks of these classes, and the one of classes without one; with a learning rate for all, if that is not None."""
    block = _NETWORKS.search(text)
    assert block is not None  # the template has them
    comment, default, *others = block[0].splitlines()
    others = [line for line in others if line.split(":")[0].strip() in classes]
    if rate is not None:
        comment += "\n      # The rates are not the published ones: an epoch has few steps here."
        default, *others = [re.sub(r"(?<=learning_rate: )[^},]+", _shown(rate), line) for line in (default, *others)]
        others = [line.partition("   #")[0] for line in others]  # what is said of the published rates
    return text[: block.start()] + "\n".join([comment, default, *others]) + "\n" + text[block.end() :]


def _shown(rate: float) -> str:
    return f"{rate:.1e}".replace("e-0", "e-")
