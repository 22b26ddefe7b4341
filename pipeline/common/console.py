"""What people see on the terminal; the one place that prints.

Progress bars are drawn on a terminal only; into a pipe or log file go plain lines, some seconds apart.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

_LINE_EVERY_S = 10.0


class _Terminal(Console):
    """One whose reader may go away (`| head`): the work goes on, unseen, instead of ending half-way."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # what Python still holds back is written at the end
        os.close(nowhere)


_console = _Terminal(soft_wrap=True, highlight=False)
_errors = _Terminal(stderr=True, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """One line of plain text, at once (no markup: file names may hold brackets)."""
    _console.print(text, markup=False)
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """About how long, for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def warn(text: str) -> None:
    """One line on standard error, for something the user should know and the run survives."""
    _errors.print(f"warning: {text}", markup=False)


def fail(text: str) -> None:
    """The one line a run ends with when the user has to mend something."""
    try:
        _errors.print(f"error: {text}", markup=False)
    except MemoryError:  # which may be what it is about
        sys.stderr.write(f"error: {text}\n")


def ask(question: str) -> str | None:
    """What the person at the terminal answers; None where nobody sits there."""
    if not (sys.stdin.isatty() and _console.is_terminal):
        return None
    return _console.input(f"{question} ", markup=False).strip()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers are right-aligned."""
    rows = [list(row) for row in rows]
    grid = Table(title=title, title_justify="left", title_style="bold")
    for position, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[position], int | float) for row in rows)
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(_text(value)) for value in row))
    if not _console.is_terminal:  # a log, a pipe: rich would take 80, and fold names
        _console.width = max(_console.width, 100)
    _console.print(grid, soft_wrap=False)
    sys.stdout.flush()


@contextmanager
def hushed() -> Iterator[None]:
    """Nothing is said within, but warnings: for work of which somebody else tells."""
    before, _console.quiet = _console.quiet, True
    try:
        yield
    finally:
        _console.quiet = before


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done."""
    if _console.is_terminal:
        yield from rich_track(items, total=total, description=what, console=_console, transient=True)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            say(f"{what}: {done:,} of {total:,}")


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
