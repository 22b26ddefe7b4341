"""Files of earlier stages, as a disk may leave them; and what another reader makes of those that are accepted."""

from __future__ import annotations

import csv
import json
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

from bench.bad_input import damage, odd_values
from bench.bad_input.csv_cells import cells, csv_text
from bench.bad_input.guarded import Kind
from bench.bad_input.made_up import IMAGES, SPLIT, put_manifest, settings, sound_manifest
from pipeline.bags import scoring
from pipeline.common import config, made, paths
from pipeline.explanation import tested
from pipeline.folds import image_weights, split_table
from pipeline.pages import two_states
from pipeline.stages import deal, split, weigh


def _make_manifest(rng: random.Random, folder: Path) -> str:
    table = sound_manifest()
    way = rng.choice(("bytes", "bytes", "value", "column", "type", "rows", "twice"))
    column = rng.choice(("path", "class", "patient", "error", "look_alike", "pixels_sha256"))
    match way:
        case "value":
            table[column] = table[column].astype(object)
            table.loc[rng.randrange(len(table)), column] = rng.choice((odd_values.odd_text(rng), None))
        case "column":
            table = table.drop(columns=column)
        case "type":
            table[column] = rng.choice(
                ([1.5] * len(table), list(range(len(table))), [None] * len(table), [b"x"] * len(table), [["x"]] * len(table))
            )
        case "rows":
            table = table.head(rng.choice((0, 1, 5)))
        case "twice":
            table = pd.concat([table, table.head(3)])
    (folder / "data").mkdir(exist_ok=True)
    file = folder / "data/manifest.parquet"
    try:
        table.to_parquet(file, index=False)
    except Exception:  # no Parquet file can hold it
        return _make_manifest(rng, folder)
    if way == "bytes":
        file.write_bytes(damage.bytes_of(rng, file.read_bytes())[1])
    return way


def _read_manifest(folder: Path) -> None:
    deal.run(settings())
    split.run(settings())


_DEALT_BY = ["class", "patient", "error"]  # of the manifest's columns: in others there may be damage that changes nothing


def _wrong_manifest(folder: Path, _: object) -> str:
    rows = pyarrow.parquet.ParquetFile(folder / "data/manifest.parquet").read(columns=_DEALT_BY).to_pylist()
    expected = Counter(
        (row["patient"], str(int(row["class"] != settings().control)))
        for row in rows
        if row["error"] == "" and row["class"] in settings().classes  # others are none of this project's
    )
    with (folder / "data/splits/NPM1.csv").open(encoding="utf-8", newline="") as file:
        seen = {(row["patient"], row["label"]): int(row["images"]) for row in csv.DictReader(file)}
    return "" if seen == dict(expected) else f"{sorted(set(seen.items()) ^ set(expected.items()), key=str)[:3]}"


def _csv(
    name: str, place: str, rows: list[list[str]], read: Callable[[], Any], seen: Callable[[Any], list[tuple[str, ...]]]
) -> Kind:
    def make(rng: random.Random, folder: Path) -> str:
        way, data = damage.table_of(rng, rows)
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_bytes(data)
        return way

    def wrong(folder: Path, found: Any) -> str:
        other = [row for row in cells((folder / place).read_bytes().decode("utf-8-sig")) if row]
        places = [other[0].index(column) for column in rows[0]]
        expected = [tuple(row[n] for n in places) for row in other[1:]]
        plain = [tuple(_number(cell) for cell in row) for row in seen(found)]
        return "" if plain == [tuple(_number(cell) for cell in row) for row in expected] else f"{plain[:2]} is {expected[:2]}"

    return Kind(name, make, lambda folder: read(), wrong, (Path(place).name,))


def _number(cell: str) -> str:
    try:
        return f"{float(cell) + 0.0:.12g}"  # -0 is 0
    except ValueError:
        return cell


def _json(name: str, place: str, values: dict[str, Any], read: Callable[[Path], Any], same: Callable[[Any, Any], bool]) -> Kind:
    def make(rng: random.Random, folder: Path) -> str:
        text = json.dumps(values, indent=2)
        if rng.random() < 0.5:
            way, changed = damage.values_of(rng, json.loads(text))
            data = json.dumps(changed, default=str, skipkeys=True).encode("utf-8", "surrogatepass")
        else:
            way, data = damage.text_of(rng, text)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(data)
        return way

    return Kind(
        name,
        make,
        read,
        lambda folder, found: "" if same(found, json.loads((folder / place).read_text())) else "other values",
        (Path(place).name, "the files of", "NPM1"),
    )


def _make_npy(rng: random.Random, folder: Path) -> str:
    (folder / "data/cells").mkdir(parents=True)
    file = folder / "data/cells/NPM1.npy"
    np.save(file, np.arange(5 * 4 * 4 * 3, dtype=np.uint8).reshape(5, 4, 4, 3))
    data = bytearray(file.read_bytes())
    if rng.random() < 0.4:  # the header: its text
        at = rng.randrange(10, 100)
        data[at : at + 1] = rng.choice((b"9", b"-", b"(", b"'", b"|O", b"<f8", b"e999", b",", b"0" * 30))
    else:
        data = bytearray(damage.bytes_of(rng, bytes(data))[1])
    file.write_bytes(data)
    return "bytes"


def _wrong_npy(folder: Path, found: Any) -> str:
    data = (folder / "data/cells/NPM1.npy").read_bytes()
    return (
        ""
        if data[-found.nbytes :] == np.asarray(found).tobytes() or data.find(np.asarray(found).tobytes()) >= 0
        else "other numbers"
    )


def _make_suspicion(rng: random.Random, folder: Path) -> str:
    (folder / "data/splits").mkdir(parents=True)
    put_manifest()
    paths.split_table("NPM1").write_text(csv_text(SPLIT))
    for fold in _down_weighted().folds:
        table = paths.suspicion("NPM1", "published", fold)
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(csv_text([image_weights.COLUMNS]))
    way, data = damage.table_of(rng, _LOOKED_AT)
    paths.suspicion("NPM1", "published", 0).write_bytes(data)
    return way


@cache
def _down_weighted() -> config.Config:
    return settings().model_copy(update={"down_weighted": ["published"]})


def _read_suspicion(folder: Path) -> None:
    weigh.run(_down_weighted())


def _wrong_suspicion(folder: Path, _: object) -> str:
    """The same images and weights, of patients who train in the fold."""
    expected = _weighed(folder / paths.suspicion("NPM1", "published", 0))
    seen = _weighed(folder / paths.weights("NPM1", "published", 0))
    if strangers := {path for path, _ in expected} - {row[0] for row in _LOOKED_AT}:
        return f"nobody trains on {min(strangers)!r}"
    return "" if seen == expected else f"{sorted(set(seen) ^ set(expected))[:3]!r:.300}"


def _weighed(table: Path) -> list[tuple[str, str]]:
    header, *rows = [row for row in cells(table.read_bytes().decode("utf-8-sig")) if row]
    return [(row[header.index("path")], _number(row[header.index("weight")])) for row in rows]


def _make_coefficients(rng: random.Random, folder: Path) -> str:
    place, learner = folder / "fold-0", rng.choice(sorted(_COEFFICIENTS))
    place.mkdir()
    file, spec = place / "coefficients.npz", {"kind": "bag", "learner": learner, "encoder": {"name": "x", "dimension": 4}}
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    np.savez(file, allow_pickle=False, **{name: numbers.random(shape) for name, shape in _COEFFICIENTS[learner].items()})
    way = rng.choice(("bytes", "bytes", "array", "array", "spec"))
    match way:
        case "bytes":
            file.write_bytes(damage.bytes_of(rng, file.read_bytes())[1])
        case "array":
            damage.arrays_of(rng, file)
        case _:
            spec = damage.values_of(rng, spec)[1]
    (place / "spec.json").write_text(json.dumps(spec, default=str, skipkeys=True), errors="replace")
    return way


def _read_coefficients(folder: Path) -> Any:
    spec, known = tested.learner(Path("fold-0"))
    return known, scoring.logits(spec["learner"], known, [np.eye(4, dtype=np.float32)])


def _wrong_coefficients(folder: Path, found: Any) -> str:
    """The numbers that NumPy's format holds, member by member of the archive; and a logit that is one."""
    known, logits = found
    with zipfile.ZipFile("fold-0/coefficients.npz") as archive:
        stored = {name.removesuffix(".npy"): np.lib.format.read_array(archive.open(name)) for name in archive.namelist()}
    same = set(stored) == set(known) and all(np.array_equal(stored[name], known[name]) for name in stored)
    return "" if same and np.isfinite(logits).all() else f"other numbers, or {logits}"


_LOOKED_AT = [image_weights.COLUMNS, *[[path, f"0.{n + 1}"] for n, path in enumerate(IMAGES[15:18])]]
_COEFFICIENTS: dict[str, dict[str, tuple[int, ...]]] = {  # of vectors of four numbers
    "pooled": {"quantiles": (2,), "mean": (16,), "weights": (16,), "intercept": ()},
    "instances": {"mean": (4,), "weights": (4,), "intercept": (), "pooling": (2,), "pooling_intercept": ()},
    "attention": {
        **{"mean": (4,), "scale": (4,), "hidden": (2, 4, 3), "hidden_bias": (2, 3), "gate": (2, 3, 2), "gate_bias": (2, 2)},
        **{"view": (2, 3, 2), "view_bias": (2, 2), "attention": (2, 2), "out": (2, 3), "out_bias": (2,)},
    },
}
_INTERVAL = {"value": 0.8, "low": 0.6, "high": 0.9}


_WEIGHTS = [image_weights.COLUMNS, *[[path, f"{n / 30:.4f}"] for n, path in enumerate(IMAGES[:20])]]


def kinds() -> Iterable[Kind]:
    """All of this module."""
    yield Kind(
        "manifest",
        _make_manifest,
        _read_manifest,
        _wrong_manifest,
        ("manifest.parquet", "folds.csv", "class", "patient"),
        first=("data/folds.csv",),
    )
    yield _csv(
        "split",
        "data/splits/NPM1.csv",
        SPLIT,
        lambda: split_table.read("NPM1"),
        lambda found: [tuple(map(str, row)) for row in found[split_table.COLUMNS].itertuples(index=False)],
    )
    yield _csv(
        "weights",
        "data/weights/NPM1/published/fold-0.csv",
        _WEIGHTS,
        lambda: image_weights.read(paths.weights("NPM1", "published", 0)),
        lambda found: [(str(path), str(weight)) for path, weight in found.items()],
    )
    yield Kind("packed cells", _make_npy, lambda folder: made.array(Path("data/cells/NPM1.npy")), _wrong_npy, ("NPM1.npy",))
    yield Kind("suspicion", _make_suspicion, _read_suspicion, _wrong_suspicion, ("fold-0.csv", "suspicion"))
    yield Kind("coefficients", _make_coefficients, _read_coefficients, _wrong_coefficients, ("fold-0",))
    yield _json(
        "spec.json",
        "models/NPM1/published/fold-0/spec.json",
        {"px": 48, "inputs": {"split": "ab"}, "training": "cd"},
        lambda folder: made.values(Path("models/NPM1/published/fold-0/spec.json")),
        lambda one, other: repr(dict(one)) == repr(other),
    )
    yield _json(
        "metrics.json",
        "reports/NPM1/published/metrics.json",
        {"images": 24, "patients": 2, "patient_auroc": _INTERVAL, "patient_brier": _INTERVAL},
        lambda folder: two_states.read(Path()),
        lambda one, other: (
            repr(one["NPM1 published"].metrics) == repr({name.removeprefix("leaked_"): value for name, value in other.items()})
        ),
    )
