"""The new patients who were seen so far, in numbers and under keys, and the looks that were taken at them.

They lie in predictions/, which git and DVC leave alone: no names, no images. A patient who is scored again counts once, as he
or she looked last; and so does one whose folder was renamed, since keys follow from pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pandas as pd
from filelock import FileLock

from pipeline.common import addresses, files, made, paths
from pipeline.common.errors import DataError
from pipeline.drift import summaries

_COLUMNS = [*summaries.COLUMNS, "model", "seen"]


def read() -> pd.DataFrame:
    """Everybody, those who were first seen first above: `summaries`' columns, model (by whose words), seen (UTC).

    Raises:
        DataError: the file is damaged.
    """
    if not paths.NEW_PATIENTS.is_file():
        return pd.DataFrame(columns=_COLUMNS)
    try:
        table = made.parquet(paths.NEW_PATIENTS, _COLUMNS)
        made.decode(table)
        summaries.require_sound(table)
    except Exception as error:  # Arrow raises whatever its parser stumbles over
        first = addresses.first_line(error)
        raise DataError(
            f"{paths.NEW_PATIENTS}: damaged ({first}); move it away, and the patients seen from now on are counted anew"
        ) from None
    return table


def of_model(patients: pd.DataFrame, model: str, known: pd.DataFrame) -> pd.DataFrame:
    """Those of whom a model spoke last, without patients of its own training cohort."""
    own = patients[patients["model"] == model]
    return own[~summaries.known_again(own["keys"], known["keys"])].reset_index(drop=True)


def last_model(patients: pd.DataFrame) -> str:
    """By whose words the newest are there; "" where nobody is."""
    return str(patients["model"].iloc[-1]) if len(patients) else ""


def add(rows: Sequence[Mapping[str, object]], model: str, now: datetime) -> None:
    """Write patients down behind those who are there; who is known again stays in place, as seen now."""
    with alone():
        before = read()
        fresh = summaries.once(summaries.table(rows)).assign(model=model, seen=now.isoformat())
        for place, keys in enumerate(fresh["keys"]):
            again = summaries.known_again(before["keys"], pd.Series([keys]))
            if again.any():
                same_model = before[again & (before["model"] == model).to_numpy()]
                if len(same_model):
                    fresh.loc[place, "seen"] = same_model["seen"].min()
                before = before[~again]
        fresh["keys"] = fresh["keys"].map(summaries.few)
        parts = [table for table in (before, fresh) if len(table)]
        together = pd.concat(parts, ignore_index=True).sort_values("seen", kind="stable", ignore_index=True)
        with files.in_one_step(paths.NEW_PATIENTS) as unfinished:
            together.to_parquet(unfinished, index=False)


def looks() -> list[dict[str, Any]]:
    """The looks that were taken, oldest first."""
    if not paths.LOOKS.is_file():
        return []
    found = []
    for number, line in enumerate(paths.LOOKS.read_bytes().splitlines(), start=1):
        try:
            look = json.loads(line)
            known = isinstance(look["of"], str) and isinstance(look["counts"], bool)
            if not known or datetime.fromisoformat(look["time"]).tzinfo is None:
                raise ValueError
            json.dumps(look, allow_nan=False)  # as it is written again
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DataError(f"{paths.LOOKS} line {number}: no look; remove the line") from None
        found.append(look)
    return found


def add_look(about: Mapping[str, Any]) -> None:
    """Write a look down."""
    with alone():
        lines = [json.dumps(one, allow_nan=False) for one in [*looks(), dict(about)]]
        files.write(paths.LOOKS, "\n".join(lines) + "\n")


@contextmanager
def alone() -> Iterator[None]:
    """Be alone with what was seen, within the block, which may call what is in here."""
    paths.PREDICTIONS.mkdir(exist_ok=True)
    with FileLock(paths.PREDICTIONS / ".drift.lock", is_singleton=True):
        yield
