"""Tables that persons keep for this project, damaged; and what the csv module finds in those that are accepted."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bench.bad_input import csv_cells, damage
from bench.bad_input.guarded import Kind
from bench.bad_input.made_up import FOLDS, IMAGES, PEOPLE, REVIEW
from pipeline.curation import expert_labels, review
from pipeline.folds import ledger, protocol
from pipeline.names import patient_names
from pipeline.stages import validate

_PATIENTS = pd.DataFrame(
    [("control" if n < 4 else "NPM1", who, who.lower(), True, n) for n, who in enumerate(PEOPLE)],
    columns=["class", "patient", "who", "usable", "set"],
)


_LABELS = [["", "typical lymphocyte", "p", who, f"{i}.TIF"] for who in PEOPLE for i in range(3)]


def _table(
    name: str,
    rows: list[list[str]],
    read: Callable[[Path], Any],
    seen: Callable[[Any], list[tuple[str, ...]]],
    expected: Callable[[list[list[str]]], list[tuple[str, ...]]],
) -> Kind:
    """A CSV table of our own form: `seen` of what was read is what is `expected` of the cells."""

    def make(rng: random.Random, folder: Path) -> str:
        way, data = damage.table_of(rng, rows)
        (folder / f"{name}.csv").write_bytes(data)
        return way

    def wrong(folder: Path, value: Any) -> str:
        try:
            other = expected(csv_cells.rows(folder / f"{name}.csv"))
        except (ValueError, IndexError, csv.Error) as error:
            return f"the other reader refuses it: {error!r}"
        mine = seen(value)
        return "" if sorted(mine) == sorted(other) else f"{sorted(set(mine) ^ set(other))[:3]!r:.300}"

    return Kind(name, make, lambda folder: read(folder / f"{name}.csv"), wrong, (f"{name}.csv", "params.yaml"))


def _by_header(*columns: str) -> Callable[[list[list[str]]], list[tuple[str, ...]]]:
    """The cells of these columns, wherever they stand."""

    def chosen(rows: list[list[str]]) -> list[tuple[str, ...]]:
        header = [cell.lower() for cell in rows[0]]
        if any(header.count(name.lower()) > 1 for name in columns):
            raise ValueError(f"a column is there twice: {header}")
        places = [header.index(name.lower()) for name in columns]
        return [tuple(row[place] for place in places) for row in rows[1:]]

    return chosen


def _exclusions(file: Path) -> list[tuple[str, ...]]:
    from pipeline.images import manifest

    lines = validate._exclusions(file)
    manifest.excluded(IMAGES, lines, str(file))
    return [(one.patient, one.path, one.reason) for one in lines]


def kinds() -> Iterable[Kind]:
    """All of this module."""
    yield _table(
        "exclude",
        [["patient", "path", "reason"], *[[path.split("/")[1], path, "why"] for path in IMAGES[:4]], ["GGG", "", "no"]],
        _exclusions,
        lambda found: found,
        _by_header("patient", "path", "reason"),
    )
    yield _table(
        "review",
        REVIEW,
        lambda file: review.read(file, set(IMAGES), False),
        lambda found: [(one.path, patient_names.identity(one.patient), one.decision) for one in found],
        lambda rows: sorted(
            {(row[0], patient_names.identity(row[1]), row[2].lower().replace("\u2019", "'")) for row in rows[1:]}
        ),
    )
    yield _table(
        "folds",
        FOLDS,
        lambda file: ledger.read(file, patient_names.identity),
        lambda found: [(str(row["who"]), str(int(row["fold"]))) for _, row in found.iterrows()],
        lambda rows: sorted(
            {(patient_names.identity(who), str(int(fold))) for who, fold in _by_header("patient", "fold")(rows)}
        ),
    )
    yield _table(
        "dealing",
        FOLDS,
        lambda file: protocol.read(file, _PATIENTS, 3, [0], 20, patient_names.identity),
        lambda found: [(who, str(fold)) for who, fold in found.folds.items()],
        lambda rows: [(patient_names.identity(who), str(int(fold))) for who, fold in _by_header("patient", "fold")(rows)],
    )
    yield _table(
        "labels",
        [["", *expert_labels.NEEDED[:1], "prediction", *expert_labels.NEEDED[1:]], *_LABELS],
        lambda file: expert_labels.read(file, IMAGES, False),
        lambda found: [(path.split("/")[1].lower(), path[-5], label) for path, label in found.items()],
        lambda rows: sorted(
            {
                (patient_names.identity(who), number, {"typical lymphocyte": expert_labels.HEALTHY}[label])
                for label, who, name in _by_header(*expert_labels.NEEDED)(rows)
                if patient_names.identity(who) in map(str.lower, PEOPLE)
                and (number := str(int(re.findall(r"\d+", name)[0]))) in ("0", "1", "2")
            }
        ),
    )
