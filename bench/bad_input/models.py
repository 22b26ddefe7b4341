"""A registered model's files, damaged, with and without digests made to match: networks, learners of bags, and a call."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mlflow.exceptions import MlflowException

from bench import served
from bench.bad_input import damage
from bench.bad_input.guarded import PLANTED, Kind
from pipeline.common import environment
from pipeline.common.errors import PipelineError

here: dict[str, Any] = {}  # what `around` made, for the processes that are forked within it
_ASKED = {"networks": "logit", "bags": "patient_logit", "call": "probability"}  # what models of a kind answer with
_NAMES = {"networks": "NPM1", "bags": "NPM1", "call": "call"}
_NUMBERS = (".h5", ".npz")


@contextmanager
def registered(of: str = "networks") -> Iterator[None]:
    """A project with a model of networks or bags, or a call; `here` says what is where."""
    with served.project("networks" if of == "networks" else "bags") as folder:
        (model,) = [path.parent for path in (folder / "mlartifacts" / _NAMES[of]).rglob("MLmodel")]
        here.update({"of": of, "name": _NAMES[of], "model": model, "sound": folder / "sound", "project": folder})
        shutil.copytree(model, here["sound"])
        yield


@cache
def images() -> list[bytes]:
    """TIFF files to ask about."""
    return [path.read_bytes() for path in sorted(here["project"].glob("*.tif"))]


def _make(rng: random.Random, folder: Path, adjusted: bool = False) -> str:
    model = here["model"]
    shutil.rmtree(model)
    shutil.copytree(here["sound"], model)
    names = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    if adjusted:
        names = [name for name in names if name.startswith("artifacts/") and name.endswith((*_NUMBERS, ".json"))]
    way = rng.choice(("bytes", "bytes", "gone", "exchanged", "more", "other numbers", "values"))
    if way == "other numbers":
        file = model / rng.choice([name for name in names if name.endswith(_NUMBERS)])
        (_other_h5 if file.suffix == ".h5" else damage.arrays_of)(rng, file)
    elif way == "values":
        file = model / rng.choice([name for name in names if name.endswith(".json")])
        values = damage.values_of(rng, json.loads(file.read_text()))[1]
        file.write_text(json.dumps(values, default=str, skipkeys=True), errors="replace")
    else:
        file = model / rng.choice(names)
        match way:
            case "gone":
                file.unlink()
            case "exchanged":
                file.write_bytes((model / rng.choice([name for name in names if model / name != file])).read_bytes())
            case "more":
                beside = file.parent / rng.choice(("more.py", "x.pkl", "__pycache__", "model.keras"))
                beside.write_bytes(f"import os; os.mkdir({PLANTED!r})".encode())
            case _:
                file.write_bytes(damage.bytes_of(rng, file.read_bytes())[1])
    if adjusted:
        _adjust(model / "artifacts/networks", file)
    return f"{way} {file.name}"


def _other_h5(rng: random.Random, file: Path) -> None:
    with h5py.File(file, "r+") as stored:
        found: list[str] = []
        stored.visititems(lambda place, item: found.append(place) if isinstance(item, h5py.Dataset) else None)
        place = rng.choice(found)
        values = damage.other_numbers(rng, stored[place][()])
        del stored[place]
        stored[place] = b"text" if values is None else values


def _adjust(networks: Path, file: Path) -> None:
    """As somebody would who wants it to be taken for the registered file."""
    listed = networks / "settings.json"
    if file == listed or not file.is_file() or not listed.is_file():
        return
    settings = json.loads(listed.read_text())
    settings["sha256"][file.relative_to(networks).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    if file.name == "encoder.weights.h5":
        for spec in networks.glob("fold-*/spec.json"):
            about = json.loads(spec.read_text())
            about["encoder"]["weights_file_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
            spec.write_text(json.dumps(about))
            settings["sha256"][spec.relative_to(networks).as_posix()] = hashlib.sha256(spec.read_bytes()).hexdigest()
    listed.write_text(json.dumps(settings))


def load() -> None:
    """Fetch the sound model, and ask it."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{here['project']}/mlflow.db"
    environment.settle()
    import pandas as pd

    from pipeline.machine import device
    from pipeline.registry import champions, mlflow_server

    device.prepare("float32")
    here["client"] = mlflow_server.connect()
    here["rows"] = pd.DataFrame({"image": pd.Series(images()[:3], dtype=object), "patient": ["A", "B", "A"]})
    model = champions.load(here["client"], here["name"])
    assert model is not None
    here["pyfunc"] = model.model
    here["expected"] = _asked(model.model)


def _asked(model: Any) -> Any:
    return model.predict(here["rows"])[_ASKED[here["of"]]].to_numpy()


def _read(folder: Path) -> Any:
    from pipeline.registry import champions

    found = champions.load(here["client"], here["name"])
    return None if found is None else _asked(found.model)


def _read_adjusted(folder: Path) -> Any:
    """As another tool loads it, which asks no registry for its digests."""
    import mlflow

    return _asked(mlflow.pyfunc.load_model(str(here["model"])))


def _wrong(folder: Path, found: Any) -> str:
    return "" if found is not None and np.array_equal(found, here["expected"]) else "other scores"


def _wrong_adjusted(folder: Path, found: Any) -> str:
    """Other numbers are another model; what is none may not be answered."""
    return "" if found.shape == here["expected"].shape and np.isfinite(found).all() else f"{found}"


def kinds() -> Iterable[Kind]:
    """All of this module."""
    yield Kind("model files", _make, _read, _wrong, ("NPM1",), load=load, around=registered, one_in=20)
    refusals = (PipelineError, MlflowException)
    named = ("networks", "fold-", "spec", "model", "MLmodel")
    for of, name in (("networks", "model files"), ("bags", "bag model files"), ("call", "call's model files")):
        yield Kind(
            f"{name}, digests adjusted",
            partial(_make, adjusted=True),
            _read_adjusted,
            _wrong_adjusted,
            named,
            refusals,
            load,
            partial(registered, of),
            one_in=20,
        )
