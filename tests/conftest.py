"""Shared by the tests: the repository's root, and params.yaml with changes."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

# Before NumPy is imported, and for all children: where three tests run at once, several threads a library are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from ruamel.yaml import YAML

from pipeline.common import config

ROOT = Path(__file__).parents[1]
settings.register_profile("here", deadline=None, max_examples=40)  # no timed tests: machines are shared
settings.load_profile("here")

# These wait for servers, flows and trainings; the others fill the gaps.
SLOWEST_FIRST = [
    "test_team",
    "test_workers",
    "test_end_to_end_faults",
    "test_deliveries",
    "test_flow_faults",
    "test_end_to_end",
    "test_flows",
]

REAL_CELLS = ROOT.parent / "shared" / "real_cells"


def _with_the_demos_params() -> str:
    """How to have them beside: at HEAD, or at what was before the commit that brought another cohort's."""
    told = [("git", "show", "HEAD:params.yaml"), ("git", "log", "-1", "--format=%h", "-Ssource: demo", "--", "params.yaml")]
    here, changed = (subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout for words in told)
    commit = "HEAD" if "source: demo" in here else f"{changed.strip()}^"
    if subprocess.run(("git", "rev-parse", "--verify", commit), cwd=ROOT, capture_output=True, check=False).returncode != 0:
        return "a clone of this project as it was published, with its history"
    return f"another checkout: git worktree add --detach ../tested {commit} && cd ../tested && make test"


def demo_params() -> dict[str, Any]:
    """params.yaml of the repository, which tests and benches take for the demo's."""
    return deepcopy(_demo_params(ROOT / "params.yaml"))


@cache  # asked for by most tests
def _demo_params(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = YAML(typ="safe", pure=True).load(path)
    if values["ingest"]["source"] != "demo":
        raise SystemExit(
            "error: params.yaml: is of a cohort of your own, and what is tested is about the demo's; test in "
            + _with_the_demos_params()
        )
    return values


def write_params(target: Path, changes: dict[str, Any]) -> Path:
    """params.yaml of the repository at `target`, with values at dotted keys replaced; of its candidates the network alone."""
    values = demo_params()
    values["kinds"]["bag"], values["candidates"] = [], {"published": values["candidates"]["published"]}
    values["call"]["candidates"] = []
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[last] = deepcopy(value)  # a later key may lie within it
    YAML().dump(values, target)
    return target


def pytest_configure() -> None:
    try:
        demo_params()
    except SystemExit as error:
        raise pytest.UsageError(str(error).removeprefix("error: ")) from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def _databases_of_mlflow_are_copies(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of one: the migrations through which MLflow makes each take half a second."""
    if not (mlflow_database := sys.modules.get("pipeline.registry.mlflow_database")):
        return
    made, upgrade = tmp_path_factory.mktemp("mlflow") / "made.db", mlflow_database._upgrade

    def copy(address: str) -> None:
        if not made.exists():
            upgrade(f"sqlite:///{made}")
        shutil.copy(made, address.removeprefix("sqlite:///"))

    mlflow_database._upgrade = copy


@pytest.fixture
def params(tmp_path: Path) -> Callable[[dict[str, Any]], config.Config]:
    """Config of params.yaml with changes at dotted keys."""

    def changed(changes: dict[str, Any]) -> config.Config:
        return config.load(write_params(tmp_path / "params.yaml", changes))

    return changed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the test works in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def originals(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound delivery; the test adds to it."""
    import delivery  # only where it is asked for: it draws cells

    root = here / "originals"
    delivery.sound(root)
    monkeypatch.setenv("COHORT_DIR", str(root))
    return root


def pytest_collection_finish() -> None:
    """What the imports made stays: no collection of garbage has to look through it again, nor as often as Python has it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
