"""Vectors brought along, damaged; and what h5py and PyArrow find in those that are accepted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet

from bench.bad_input import damage, odd_values
from bench.bad_input.guarded import Kind
from bench.bad_input.made_up import IMAGES
from pipeline.encoders import made_elsewhere

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
            table["path"] = [rng.choice((*IMAGES[:4], odd_values.odd_text(rng), None, 3)) for _ in range(3)]
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


def kinds() -> Iterable[Kind]:
    """Both of this module."""
    yield _vectors("h5", _make_h5, _wrong_h5)
    yield _vectors("parquet", _make_parquet, _wrong_parquet)
