"""A reviewer's export and what was decided before, damaged; `curate --take` makes of both what the csv module finds in them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from bench.bad_input import csv_cells, damage
from bench.bad_input.guarded import Kind
from bench.bad_input.made_up import IMAGES, REVIEW, put_manifest, settings
from pipeline.common import paths
from pipeline.common.errors import PipelineError
from pipeline.stages import curate

_EXPORT = [REVIEW[0], *[[path, path.split("/")[1], "keep", "", "2026-02-01T08:00:00Z"] for path in IMAGES[4:16]]]


def _make(rng: random.Random, folder: Path) -> str:
    put_manifest()
    before, export = csv_cells.csv_text(REVIEW).encode(), csv_cells.csv_text(_EXPORT).encode()
    if rng.random() < 0.3:
        way, before = damage.table_of(rng, REVIEW)
    else:
        way, export = damage.table_of(rng, _EXPORT)
    paths.REVIEW.write_bytes(before)
    (folder / "before.csv").write_bytes(before)
    (folder / "export.csv").write_bytes(export)
    return way


def _read(folder: Path) -> None:
    before = paths.REVIEW.read_bytes()
    try:
        curate.take(settings(), Path("export.csv"), "Ben")
    except PipelineError as error:
        if paths.REVIEW.read_bytes() != before:
            raise RuntimeError(f"{paths.REVIEW} was changed: {error}") from None
        raise


def _wrong(folder: Path, _: object) -> str:
    expected = {_decision(row) for name in ("before.csv", "export.csv") for row in csv_cells.rows(folder / name)[1:]}
    seen = [_decision(row) for row in csv_cells.rows(paths.REVIEW)[1:]]
    return "" if sorted(seen) == sorted(expected) else f"{sorted(set(seen) ^ expected)[:3]!r:.300}"


def _decision(row: list[str]) -> tuple[str, ...]:
    """Without the patient, whose name may be spelled in several ways."""
    path, _, decision, reviewer, date = row
    return path, decision.lower().replace("\u2019", "'"), reviewer or "Ben", date


def kinds() -> Iterable[Kind]:
    """The one of this module."""
    yield Kind("reviewer's export", _make, _read, _wrong, ("export.csv", "review.csv"))
