"""Requests to a served model, damaged; and what the model says in Python of the images in those that it answers."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np

from bench import served
from bench.bad_input import damage, models, odd_values
from bench.bad_input.guarded import Kind, RefusedError


@contextmanager
def _serving() -> Iterator[None]:
    with models.registered(), served.served(models.here["project"]) as (address, _):
        models.here["address"] = address
        yield


def _make_request(rng: random.Random, folder: Path) -> str:
    data = rng.choice(models.images())
    rows: list[dict[str, Any]] = [
        {"image": base64.b64encode(one).decode(), **({"patient": rng.choice("AB")} if n % 2 == 0 else {})}
        for n, one in enumerate([data, *rng.sample(models.images(), rng.choice((0, 1, 2)))])
    ]
    if rng.random() < 0.7:  # of all rows or of none
        rows = [{**row, "patient": "A"} for row in rows]
    body: Any = {"dataframe_records": rows, "params": {"um": 24.9}}
    if rng.random() < 0.3:
        body = {"dataframe_split": {"columns": ["image"], "data": [[row["image"]] for row in rows]}}
    way = rng.choice(("image", "values", "values", "bytes", "row", "none"))
    kept: Any = None
    match way:
        case "image":
            body = {"dataframe_records": [{"image": base64.b64encode(damage.bytes_of(rng, data)[1]).decode()}]}
        case "values":
            body = damage.values_of(rng, body)[1]
        case "row":
            body = {
                "dataframe_records": [
                    {"image": rng.choice((odd_values.odd_text(rng), odd_values.odd_value(rng), "====", "A" * 100_001))}
                ]
            }
        case "none":
            body = rng.choice(
                (
                    {"dataframe_records": []},
                    {},
                    [],
                    {"instances": [1]},
                    {"inputs": {"image": "x"}},
                    {"columns": ["image"], "data": []},
                )
            )
        case "bytes":
            kept = damage.bytes_of(rng, json.dumps(body).encode())[1]
    text = kept if kept is not None else json.dumps(body, default=str, skipkeys=True).encode()
    (folder / "request").write_bytes(text)
    (folder / "type").write_text(
        rng.choice((*["application/json"] * 9, "text/csv", "", "text/plain; charset=x", "application/json; charset=utf-16"))
    )
    return way


def _read_request(folder: Path) -> list[dict[str, Any]]:
    request = Request(
        models.here["address"], (folder / "request").read_bytes(), {"Content-Type": (folder / "type").read_text()}
    )
    try:
        with urlopen(request, timeout=50) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["predictions"]
            return found
    except HTTPError as error:
        said = error.read().decode("utf-8", "replace")
        ours = "served.py" in said or "stack_trace" not in said  # MLflow's answer to what is no table at all has its own
        if error.code >= 500 or ("Traceback" in said and ours):
            raise RuntimeError(f"status {error.code}: {' '.join(said.split())[:400]}") from None
        raise RefusedError(f"request: {said}".replace("\n", " ")) from None


def _wrong_request(folder: Path, found: list[dict[str, Any]]) -> str:
    """As the model says in Python of the images that another reader finds in the request."""
    import pandas as pd

    body = json.loads((folder / "request").read_text())
    records = body.get("dataframe_records")
    if records is None:
        split = body["dataframe_split"]
        rows = ([row] if isinstance(row, str) else row for row in split["data"])  # pandas takes a text for a row of one cell
        records = [dict(zip(split["columns"], row, strict=True)) for row in rows]
    if not records:
        return "" if not found else "an answer to nothing"
    images = [base64.decodebytes(row["image"].encode()) for row in records]
    expected = models.here["pyfunc"].predict(pd.DataFrame({"image": pd.Series(images, dtype=object)}))["logit"]
    return "" if np.allclose([row["logit"] for row in found], expected, atol=1e-5) else "other scores"


def kinds() -> Iterable[Kind]:
    """The one of this module."""
    refusals = (RefusedError,)
    yield Kind(
        "requests", _make_request, _read_request, _wrong_request, ("request",), refusals, models.load, _serving, one_in=2
    )
