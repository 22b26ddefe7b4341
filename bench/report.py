"""Tables that are printed row by row, as soon as a row is known."""

from __future__ import annotations

import time
from collections.abc import Callable


class Report:
    """Prints what is found as soon as it is."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def part(self, name: str) -> None:
        """Begin one."""
        print(f"\n## {name} (after {time.monotonic() - self._began:.0f} s)\n", flush=True)

    def table(self, *head: str) -> Callable[..., None]:
        """Begin a table; what is returned prints a row."""

        def row(*cells: object) -> None:
            print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)

        row(*head)
        print("|" + "---|" * len(head), flush=True)
        return row
