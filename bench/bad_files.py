"""Vectors brought along and files of earlier stages, damaged; and what another reader makes of those that are accepted."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet

from bench import damage
from bench.bad_archives import settings
from bench.bad_tables import IMAGES, PEOPLE, cells
from bench.guarded import Kind
from pipeline.common import made, paths
from pipeline.encoders import made_elsewhere
from pipeline.folds import image_weights, split_table
from pipeline.images import manifest
from pipeline.pages import two_states
from pipeline.stages import deal, split

_ROWS = pd.DataFrame({"path": IMAGES[:3], "error": ["", "too dark", ""]})
_VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


def _make_h5(rng: random.Random, folder: Path) -> str:
    dtype = rng.choice(("f4", "f4", "f8", "f2", "i4", "u1", "bool", "S4", "O"))
    values: Any = _VECTORS
    way = rng.choice(("bytes", "bytes", "value", "shape", "dtype", "several", "nested", "chunks"))
    with h5py.File(folder / "AAA.h5", "w") as file:
        match way:
            case "value":
                values = _VECTORS.astype(np.float64)
                values[rng.randrange(3), rng.randrange(4)] = rng.choice((np.nan, np.inf, -np.inf, 1e308, 1e-320, -0.0))
            case "shape":
                values = np.zeros(rng.choice(((), (0,), (3,), (0, 4), (3, 0), (2, 4), (4, 4), (3, 5), (3, 4, 1), (100_000, 4))))
            case "dtype":
                values = (
                    np.array([[f"{v:.1f}" for v in row] for row in _VECTORS], dtype="S4")
                    if dtype in ("S4", "O")
                    else _VECTORS.astype(dtype)
                )
        name = "a/b/c" if way == "nested" else "features"
        file.create_dataset(
            name, data=values, **({"chunks": True, "compression": "gzip", "fletcher32": True} if way == "chunks" else {})
        )
        if way == "several":
            file[rng.choice(("other", "x/y"))] = rng.choice((values, values[:2], np.float64(3)))
        if way == "nested":
            file["link"] = h5py.SoftLink(rng.choice(("/a", "/nowhere", "/link")))
            file["outside"] = h5py.ExternalLink(rng.choice(("/etc/passwd", "other.h5")), "/x")
    if way in ("bytes", "chunks"):
        data = (folder / "AAA.h5").read_bytes()
        (folder / "AAA.h5").write_bytes(damage.bytes_of(rng, data)[1])
    return way


def _make_parquet(rng: random.Random, folder: Path) -> str:
    table: dict[str, Any] = {f"f{n}": _VECTORS[:, n].copy() for n in range(4)}
    table["path"] = list(IMAGES[:3])
    way = rng.choice(("bytes", "bytes", "value", "column", "names", "rows"))
    match way:
        case "value":
            table["f1"] = [rng.choice((np.nan, None, np.inf, 1e308, 10**30, "x", True)) for _ in range(3)]
        case "column":
            table.pop(rng.choice(list(table)))
            table[rng.choice(("extra", "f9", "patient"))] = rng.choice(
                ([1, 2, 3], ["a", "b", "c"], [True, False, True], [[1], [2], [3]])
            )
        case "names":
            table["path"] = [rng.choice((*IMAGES[:4], damage.odd_text(rng), None, 3)) for _ in range(3)]
        case "rows":
            table = {name: list(values)[: rng.choice((0, 1, 2))] for name, values in table.items()}
    try:
        pd.DataFrame(table).to_parquet(folder / "AAA.parquet")
    except Exception:  # no Parquet file can hold it
        return _make_parquet(rng, folder)
    if way == "bytes":
        data = (folder / "AAA.parquet").read_bytes()
        (folder / "AAA.parquet").write_bytes(damage.bytes_of(rng, data)[1])
    return way


def _wrong_h5(folder: Path, found: np.ndarray[Any, Any]) -> str:
    with h5py.File(folder / "AAA.h5", "r") as file:
        stored = [
            file[name][()]
            for name in ("features", "other", "x/y", "a/b/c")
            if name in file and isinstance(file[name], h5py.Dataset)
        ]
        if not stored:  # a name was damaged
            file.visititems(lambda name, item: stored.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    with np.errstate(over="ignore"):
        return (
            ""
            if any(
                np.array_equal(found, one[[0, 2]].astype(np.float32))
                for one in stored
                if one.ndim == 2 and one.dtype.kind == "f"
            )
            else "other numbers"
        )


def _wrong_parquet(folder: Path, found: np.ndarray[Any, Any]) -> str:
    table = pd.DataFrame(pyarrow.parquet.ParquetFile(folder / "AAA.parquet").read().to_pydict())
    numbers = table.select_dtypes("number").to_numpy(np.float64)
    order = [0, 2]
    if "path" in table:
        names = [str(name).rsplit("/", 1)[-1] for name in table["path"]]
        order = [names.index(IMAGES[n].rsplit("/", 1)[-1]) for n in (0, 2)]
    return "" if np.array_equal(found, numbers[order].astype(np.float32)) else "other numbers"


def _vectors(name: str, make: Callable[[random.Random, Path], str], wrong: Callable[[Path, Any], str]) -> Kind:
    return Kind(
        f"vectors {name}", make, lambda folder: made_elsewhere.read(folder / f"AAA.{name}", 4, _ROWS), wrong, (f"AAA.{name}",)
    )


def sound_manifest() -> pd.DataFrame:
    """Of all images."""
    usual: dict[str, object] = {
        "width": 144,
        "height": 144,
        "mode": "RGB",
        "format": "TIFF",
        "look_alike": "",
        "error": "",
        "phash": "0" * 16,
    }
    digest = [hashlib.sha256(path.encode()).hexdigest() for path in IMAGES]
    return manifest.build(
        {
            **usual,
            "path": path,
            "class": path.split("/")[0],
            "patient": path.split("/")[1],
            "sha256": sha,
            "pixels_sha256": sha,
            **dict.fromkeys(manifest.NUMBERS, 1.0),
        }
        for path, sha in zip(IMAGES, digest, strict=True)
    )


def _make_manifest(rng: random.Random, folder: Path) -> str:
    table = sound_manifest()
    way = rng.choice(("bytes", "bytes", "value", "column", "type", "rows", "twice"))
    column = rng.choice(("path", "class", "patient", "error", "look_alike", "pixels_sha256"))
    match way:
        case "value":
            table[column] = table[column].astype(object)
            table.loc[rng.randrange(len(table)), column] = rng.choice((damage.odd_text(rng), None))
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
    (folder / "data").mkdir()
    file = folder / "data/manifest.parquet"
    try:
        table.to_parquet(file, index=False)
    except Exception:  # no Parquet file can hold it
        return "again " + _again(rng, folder)
    if way == "bytes":
        file.write_bytes(damage.bytes_of(rng, file.read_bytes())[1])
    return way


def _again(rng: random.Random, folder: Path) -> str:
    for file in (folder / "data").iterdir():
        file.unlink()
    (folder / "data").rmdir()
    return _make_manifest(rng, folder)


def _read_manifest(folder: Path) -> None:
    deal.run(settings())
    split.run(settings())


def _wrong_manifest(folder: Path, _: object) -> str:
    rows = pyarrow.parquet.ParquetFile(folder / "data/manifest.parquet").read().to_pylist()
    expected: dict[str, int] = {}
    for row in rows:
        if row["error"] == "" and row["class"] in settings().classes:  # others are none of this project's
            expected[row["patient"]] = expected.get(row["patient"], 0) + 1
    with (folder / "data/splits/NPM1.csv").open(encoding="utf-8", newline="") as file:
        seen = {row["patient"]: int(row["images"]) for row in csv.DictReader(file)}
    return "" if seen == expected else f"{sorted(set(seen.items()) ^ set(expected.items()), key=str)[:3]}"


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
        return f"{float(cell):.12g}"
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


_INTERVAL = {"value": 0.8, "low": 0.6, "high": 0.9}
SPLIT = [split_table.COLUMNS, *[[who, str(int(n >= 4)), str(n % 3), "3"] for n, who in enumerate(PEOPLE)]]
_WEIGHTS = [image_weights.COLUMNS, *[[path, f"{n / 30:.4f}"] for n, path in enumerate(IMAGES[:20])]]


def kinds() -> Iterable[Kind]:
    """All of this module."""
    yield _vectors("h5", _make_h5, _wrong_h5)
    yield _vectors("parquet", _make_parquet, _wrong_parquet)
    yield Kind(
        "manifest", _make_manifest, _read_manifest, _wrong_manifest, ("manifest.parquet", "folds.csv", "class", "patient")
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
