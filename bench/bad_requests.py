"""A registered model's files, requests to the served model and variables of the environment, damaged."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import h5py
import numpy as np

from bench import damage, served
from bench.bad_tables import ROOT
from bench.guarded import Kind
from pipeline.cohort import delivery, pseudonyms
from pipeline.cohort.trees import Folder
from pipeline.common import addresses, config, environment
from pipeline.common.errors import PipelineError

_here: dict[str, Any] = {}  # what `around` made, for the processes that are forked within it
VARIABLES = (
    "COHORT_DIR",
    "COHORT_METADATA",
    "PSEUDONYMS_DIR",
    "TRAIN_THREADS",
    "KERAS_BACKEND",
    "MLFLOW_TRACKING_URI",
    "REGISTRY_LOCK",
    "TUNE_STORAGE",
    "http_proxy",
)
_ADDRESSES = (
    *(
        "http://127.0.0.1:1",
        "http://127.0.0.1:99999999",
        "http://[::1",
        "http://",
        "https://127.0.0.1:x/",
        "ftp://127.0.0.1",
        "127.0.0.1:5000",
    ),
    *(
        "postgresql://127.0.0.1:1/x",
        "postgresql://u:p@127.0.0.1:1/x",
        "postgresql://127.0.0.1:x/x",
        "postgresql",
        "mysql://127.0.0.1:1/x",
    ),
    *(
        "sqlite://",
        "sqlite:///",
        "sqlite:////proc/x.db",
        "sqlite:///a/b/c.db",
        "sqlite:///.",
        "file:///tmp/x",
        "databricks",
        "a:b:c",
        "./mlruns",
    ),
)


class RefusedError(Exception):
    """The served model's answer to a request that it does not take."""


@contextmanager
def _registered() -> Iterator[None]:
    with served.project() as folder:
        (_here["model"],) = [path.parent for path in (folder / "mlartifacts" / "NPM1").rglob("MLmodel")]
        _here["sound"] = folder / "sound"
        shutil.copytree(_here["model"], _here["sound"])
        _here["project"] = folder
        yield


@contextmanager
def _serving() -> Iterator[None]:
    with _registered(), served.served(_here["project"]) as (address, _):
        _here["address"] = address
        yield


@cache
def _images() -> list[bytes]:
    return [path.read_bytes() for path in sorted(_here["project"].glob("*.tif"))]


def _make_model(rng: random.Random, folder: Path, adjusted: bool = False) -> str:
    model = _here["model"]
    shutil.rmtree(model)
    shutil.copytree(_here["sound"], model)
    networks = model / "artifacts/networks"
    names = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    name = rng.choice([one for one in names if not adjusted or one.endswith((".h5", "spec.json"))])
    way = rng.choice(("bytes", "bytes", "gone", "exchanged", "more", "other numbers", "values"))
    file = model / name
    if way == "other numbers" and (name := next((one for one in names if one.endswith(".h5")), "")):
        file = model / name
        with h5py.File(file, "r+") as stored:
            found: list[str] = []
            stored.visititems(lambda place, item: found.append(place) if isinstance(item, h5py.Dataset) else None)
            place = rng.choice(found)
            values = stored[place][()]
            del stored[place]
            stored[place] = rng.choice(
                (values.astype("f8"), np.zeros((3, 3), "f4"), values.astype("i4"), np.full_like(values, np.nan), b"text")
            )
    elif way == "values" and (
        name := rng.choice([one for one in names if one.endswith(".json") and (not adjusted or "spec" in one)])
    ):
        file = model / name
        file.write_text(
            json.dumps(damage.values_of(rng, json.loads(file.read_text()))[1], default=str, skipkeys=True), errors="replace"
        )
    elif way == "gone":
        file.unlink()
    elif way == "exchanged":
        file.write_bytes((model / rng.choice([one for one in names if one != name])).read_bytes())
    elif way == "more":
        (file.parent / rng.choice(("more.py", "x.pkl", "__pycache__", "model.keras"))).write_bytes(
            b"import os; os.mkdir('written')"
        )
    else:
        file.write_bytes(damage.bytes_of(rng, file.read_bytes())[1])
    if adjusted and file.is_file():
        settings = json.loads((networks / "settings.json").read_text())
        settings["sha256"][file.relative_to(networks).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
        (networks / "settings.json").write_text(json.dumps(settings))
    return f"{way} {Path(name).name}"


def _load_model() -> None:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{_here['project']}/mlflow.db"
    environment.settle()
    import pandas as pd

    from pipeline.machine import device
    from pipeline.registry import champions, mlflow_server

    device.prepare("float32")
    _here["client"] = mlflow_server.connect()
    _here["rows"] = pd.DataFrame({"image": pd.Series(_images()[:3], dtype=object)})
    model = champions.load(_here["client"], "NPM1")
    assert model is not None
    _here["pyfunc"] = model.model
    _here["expected"] = model.model.predict(_here["rows"])["logit"].to_numpy()


def _read_model(folder: Path) -> Any:
    from pipeline.registry import champions

    found = champions.load(_here["client"], "NPM1")
    return None if found is None else found.model.predict(_here["rows"])["logit"].to_numpy()


def _read_adjusted(folder: Path) -> Any:
    """As another tool loads it, which asks no registry for its digests."""
    import mlflow

    return mlflow.pyfunc.load_model(str(_here["model"])).predict(_here["rows"])["logit"].to_numpy()


def _make_request(rng: random.Random, folder: Path) -> str:
    data = rng.choice(_images())
    rows: list[dict[str, Any]] = [
        {"image": base64.b64encode(one).decode(), **({"patient": rng.choice("AB")} if n % 2 == 0 else {})}
        for n, one in enumerate([data, *rng.sample(_images(), rng.choice((0, 1, 2)))])
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
                    {"image": rng.choice((damage.odd_text(rng), damage.odd_value(rng), "====", "A" * 100_001))}
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
    request = Request(_here["address"], (folder / "request").read_bytes(), {"Content-Type": (folder / "type").read_text()})
    try:
        with urlopen(request, timeout=50) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["predictions"]
            return found
    except HTTPError as error:
        said = error.read().decode("utf-8", "replace")
        if error.code >= 500 or "stack_trace" in said or "Traceback" in said:
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
    expected = _here["pyfunc"].predict(pd.DataFrame({"image": pd.Series(images, dtype=object)}))["logit"]
    return "" if np.allclose([row["logit"] for row in found], expected, atol=1e-5) else "other scores"


def _make_variable(rng: random.Random, folder: Path) -> str:
    name = rng.choice(VARIABLES)
    value = rng.choice(_ADDRESSES) if name in VARIABLES[5:] and rng.random() < 0.7 else damage.odd_text(rng)
    value = value.replace("\0", "").encode("utf-8", "ignore").decode()[:3000]
    (folder / "name").write_text(name)
    (folder / "value").write_text(value, newline="")
    (folder / "source").mkdir()
    return f"{name}={value[:60]!r}"


@cache
def _settings() -> config.Config:
    settings = config.load(ROOT / "params.yaml")
    ingest = settings.ingest.model_copy(update={"source": "folder", "pseudonyms": True})
    return settings.model_copy(update={"ingest": ingest})


def _read_variable(folder: Path) -> Any:
    from pipeline.machine import device
    from pipeline.registry import mlflow_server
    from pipeline.search import optuna_study

    name, value = (folder / "name").read_text(), (folder / "value").read_bytes().decode()
    for other in VARIABLES:
        os.environ.pop(other, None)
    os.environ[name] = value
    os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"

    def deciding() -> None:
        with mlflow_server.deciding():
            pass

    readers: dict[str, Callable[[], Any]] = {
        "COHORT_DIR": lambda: delivery._source(_settings()),
        "COHORT_METADATA": lambda: delivery.metadata_content(_settings(), Folder(folder / "source"), ""),
        "PSEUDONYMS_DIR": lambda: pseudonyms.of(_settings()),
        "TRAIN_THREADS": device._threads,
        "KERAS_BACKEND": environment.require_backend,
        "MLFLOW_TRACKING_URI": mlflow_server.connect,
        "REGISTRY_LOCK": deciding,
        "TUNE_STORAGE": lambda: optuna_study.Study("x", 1, 1, 1),
        "http_proxy": addresses.reach_loopback_directly,
    }
    return readers[name]()


def _wrong_variable(folder: Path, found: Any) -> str:
    name, value = (folder / "name").read_text(), (folder / "value").read_text()
    return f"{found} is {value}" if name == "TRAIN_THREADS" and value.strip() and int(value) != found else ""


def kinds() -> Iterable[Kind]:
    """All of this module."""
    from mlflow.exceptions import MlflowException

    refusals = (PipelineError, MlflowException)
    yield Kind(
        "model files",
        _make_model,
        _read_model,
        lambda folder, found: "" if found is not None and np.array_equal(found, _here["expected"]) else "other scores",
        ("NPM1",),
        load=_load_model,
        around=_registered,
        one_in=10,
    )
    yield Kind(
        "model files, digests adjusted",
        lambda rng, folder: _make_model(rng, folder, True),
        _read_adjusted,
        lambda folder, found: "" if found.shape == (3,) and np.isfinite(found).all() else f"{found}",
        ("networks", "fold-", "spec", "model", "MLmodel"),
        refusals,
        _load_model,
        _registered,
        one_in=10,
    )
    yield Kind(
        "requests", _make_request, _read_request, _wrong_request, ("request",), (RefusedError,), _load_model, _serving, one_in=2
    )
    yield Kind("environment", _make_variable, _read_variable, _wrong_variable, (*VARIABLES, "MLFLOW", "sqlite", "//"))
