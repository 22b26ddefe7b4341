"""What is kept of new patients and of looks at them, and of a champion's training patients, damaged."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

from bench.bad_input import damage, models, odd_values
from bench.bad_input.guarded import Kind
from pipeline.common import paths
from pipeline.common.params_judging import Drift
from pipeline.drift import history, look, summaries
from pipeline.stages import drift

_RULES = Drift(window=24, fewest=3, looks_per_year=52, false_alarms_per_year=0.5, permutations=119)
_NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)
_LOOKS = [
    {"time": f"2026-11-{day:02}T08:00:00+00:00", "of": "predicted", "model": "call v1", "state": "no drift", "counts": day != 8}
    for day in (1, 8, 15)
]


def _people(count: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(count)
    numbers = [name for name in summaries.COLUMNS if name not in ("keys", "class", "call", "images", "probabilities", "vector")]
    return [
        {
            "keys": summaries.keys([rng.bytes(8).hex() for _ in range(4)]),
            "class": "",
            "call": ("control", "NPM1")[number % 2],
            "images": 12,
            **{name: float(rng.normal(100, 9)) for name in numbers},
            "probabilities": rng.dirichlet([1, 1]).tolist(),
            "vector": rng.normal(size=4).tolist(),
        }
        for number in range(count)
    ]


@cache
def _patients(count: int) -> pd.DataFrame:
    return summaries.table(_people(count))


def _damaged(rng: random.Random, sound: pd.DataFrame, file: Path) -> str:
    """As a Parquet file: other bytes, or a column or a row that is not what it was."""
    table = sound.copy()
    way = rng.choice(("bytes", "bytes", "cell", "cell", "column", "type", "rows", "twice"))
    column, row = rng.choice(list(table.columns)), rng.randrange(len(table))
    match way:
        case "cell":
            values = table[column].tolist()
            values[row] = rng.choice(
                (None, math.nan, math.inf, -1, 1e308, "", odd_values.odd_text(rng), [], [1.0], [math.nan] * 4)
            )
            table[column] = pd.Series(values, dtype=object)
        case "column":
            table = table.drop(columns=column)
        case "type":
            new: tuple[Any, ...] = (1.5, 7, None, b"x", ["x"], "x", True, [math.inf, 0.0])
            table[column] = pd.Series([rng.choice(new)] * len(table), dtype=object)
        case "rows":
            table = table.head(rng.choice((0, 1, 2)))
        case "twice":
            table = pd.concat([table, table.head(2)])
    try:
        table.to_parquet(file, index=False)
    except Exception:  # no Parquet file can hold it
        return _damaged(rng, sound, file)
    if way == "bytes":
        file.write_bytes(damage.bytes_of(rng, file.read_bytes())[1])
    return f"{way} {column}"


def _make_new(rng: random.Random, folder: Path) -> str:
    paths.PREDICTIONS.mkdir()
    seen = [f"2026-11-{1 + n:02}T08:00:00+00:00" for n in range(8)]
    how = _damaged(rng, _patients(8).assign(model="call a", seen=seen), paths.NEW_PATIENTS)
    shutil.copyfile(paths.NEW_PATIENTS, folder / "before.parquet")
    return how


def _read_new(folder: Path) -> Any:
    found = history.read()
    _look(_patients(40), history.of_model(found, history.last_model(found), _patients(40)))
    history.add(_people(1), "call a", _NOW)
    return found["keys"].tolist(), history.read()["keys"].tolist()


def _look(known: pd.DataFrame, new: pd.DataFrame) -> None:
    """As `python -m pipeline drift` and a page of `predict` do."""
    seen = look.look(known, new, _RULES, 1)
    json.dumps(drift._about(seen, "call v1", drift.PREDICTED, True, _NOW), allow_nan=False)
    look.standing(known, new, _RULES)


def _make_looks(rng: random.Random, folder: Path) -> str:
    paths.PREDICTIONS.mkdir()
    way, looks = "text", _LOOKS
    if rng.random() < 0.6:
        way, looks = damage.values_of(rng, json.loads(json.dumps(_LOOKS)))
    text = "".join(json.dumps(one, default=str, skipkeys=True) + "\n" for one in looks)
    data = text.encode("utf-8", "surrogatepass")
    if way == "text":
        way, data = damage.text_of(rng, text)
    paths.LOOKS.write_bytes(data)
    (folder / "before.jsonl").write_bytes(data)
    return way


def _read_looks(folder: Path) -> Any:
    past = [one for one in history.looks() if one["of"] == drift.PREDICTED and one["counts"]]
    drift._is_due(past, _NOW, _RULES.looks_per_year)
    history.add_look(_LOOKS[0])
    return past


def _wrong_looks(folder: Path, past: Any) -> str:
    before, after = (
        [json.loads(line) for line in file.read_bytes().splitlines()] for file in (folder / "before.jsonl", paths.LOOKS)
    )
    if repr(after) != repr([*before, _LOOKS[0]]):
        return "other looks were written down"
    return "" if past == [one for one in before if one["of"] == drift.PREDICTED and one["counts"]] else "other looks count"


def _wrong_new(folder: Path, found: Any) -> str:
    """Everybody who was there, and the one who came, whom a look at the file after it has too."""
    read, after = found
    before, kept = (
        pyarrow.parquet.ParquetFile(file).read().to_pydict()["keys"] for file in (folder / "before.parquet", paths.NEW_PATIENTS)
    )
    if read != before or after != kept or not set(_patients(1)["keys"]) <= set(kept):
        return "others are kept"
    gone = {key for keys in read for key in keys.split()} - {key for keys in kept for key in keys.split()}
    return f"{sorted(gone)[:3]} are lost" if gone else ""


def _make_known(rng: random.Random, folder: Path) -> str:
    file: Path = next(models.here["project"].glob(f"mlartifacts/{models.here['name']}/**/training_patients.parquet"))
    if "patients" not in models.here:
        models.here["patients"] = pd.read_parquet(file)
    return _damaged(rng, models.here["patients"], file)


def _read_known(folder: Path) -> Any:
    from pipeline.registry import versions

    client = models.here["client"]
    champion = versions.champion(client, models.here["name"])
    assert champion is not None
    found = versions.patients(client, champion)
    _look(found, _patients(8))
    return found["keys"].tolist()


def _wrong_known(folder: Path, found: Any) -> str:
    file = next(models.here["project"].glob(f"mlartifacts/{models.here['name']}/**/training_patients.parquet"))
    return "" if found == pyarrow.parquet.ParquetFile(file).read().to_pydict()["keys"] else "others"


def kinds() -> Iterable[Kind]:
    """All of this module."""
    yield Kind("new patients", _make_new, _read_new, _wrong_new, ("new_patients.parquet",))
    yield Kind("looks", _make_looks, _read_looks, _wrong_looks, ("looks.jsonl",))
    readers = (_make_known, _read_known, _wrong_known)
    yield Kind("training patients", *readers, ("NPM1",), load=models.load, around=models.registered, one_in=2)
