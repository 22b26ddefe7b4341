"""What `weigh` leaves where nobody has decided anything: every training image counts the same."""

from __future__ import annotations

import itertools
from pathlib import Path

from pipeline.common import paths

FOLDS = 5


def all_the_same(subtype: str, *candidates: str, folder: Path = Path()) -> None:
    """The empty tables of a subtype's candidates, of any fold that a test has."""
    (folder / paths.WEIGHTS).mkdir(parents=True, exist_ok=True)
    (folder / paths.LEFT_OUT).write_text("path\n")
    for candidate, fold in itertools.product(candidates, range(FOLDS)):
        table = folder / paths.weights(subtype, candidate, fold)
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("path,weight\n")
