"""What `weigh` leaves where nobody has decided anything: every training image counts the same."""

from __future__ import annotations

from pathlib import Path

from pipeline.common import paths


def all_the_same(subtype: str, *candidates: str, folder: Path = Path()) -> None:
    """The empty tables of a subtype's candidates."""
    (folder / paths.WEIGHTS).mkdir(parents=True, exist_ok=True)
    (folder / paths.LEFT_OUT).write_text("path\n")
    for candidate in candidates:
        table = folder / paths.weights(subtype, candidate)
        table.parent.mkdir(exist_ok=True)
        table.write_text("fold,path,weight\n")
