"""Variables of the environment that hold something else than they must."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from bench.bad_input import ROOT, odd_values
from bench.bad_input.guarded import Kind
from pipeline.cohort import delivered_metadata, delivery, pseudonyms
from pipeline.cohort.trees import Folder
from pipeline.common import addresses, config, environment

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
    *("http://127.0.0.1:1", "http://127.0.0.1:99999999", "http://[::1", "http://", "https://127.0.0.1:x/", "ftp://127.0.0.1"),
    *("127.0.0.1:5000", "postgresql://127.0.0.1:1/x", "postgresql://u:p@127.0.0.1:1/x", "postgresql://127.0.0.1:x/x"),
    *("postgresql", "mysql://127.0.0.1:1/x", "sqlite://", "sqlite:///", "sqlite:////proc/x.db", "sqlite:///a/b/c.db"),
    *("sqlite:///.", "file:///tmp/x", "databricks", "a:b:c", "./mlruns"),
)


def _make_variable(rng: random.Random, folder: Path) -> str:
    name = rng.choice(VARIABLES)
    value = rng.choice(_ADDRESSES) if name in VARIABLES[5:] and rng.random() < 0.7 else odd_values.odd_text(rng)
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
        "COHORT_METADATA": lambda: delivered_metadata.content(_settings(), Folder(folder / "source"), ""),
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
    """The one of this module."""
    named = (*VARIABLES, "MLFLOW", "sqlite", "//", "/etc/passwd")
    yield Kind("environment", _make_variable, _read_variable, _wrong_variable, named, one_in=2)
