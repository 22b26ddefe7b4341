"""Candidates for the registry that nobody has trained, and many of them at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from conftest import ROOT
from processes import CLEAN
from scores import scores

from pipeline.common import config
from pipeline.registry import decisions, gate, mlflow_address, mlflow_server, registration, versions
from pipeline.stages import register

Start = Callable[[Path, int], Any]  # of a process: it has `communicate` and `returncode`
REACHED = {"image_accuracy": 0.9, "patient_auroc": 0.9, "patient_sensitivity": 0.9, "patient_specificity": 0.9}


def candidate(name: str, table: pd.DataFrame, cohort: str = "drawn", **figures: float) -> registration.Candidate:
    """A model that could not be loaded: files of the right names, and scores."""
    folder = Path("models") / name / "fold-0"
    folder.mkdir(parents=True)
    spec = {
        "subtype": "NPM1",
        "fold": 0,
        "training": name,
        "control": "control",
        "px": 48,
        "knobs": {"px": 48, "seed": len(name)},
        "machine": {"name": "none"},
        "inputs": {"cells": "0", "split": "1"},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "model.weights.h5").write_text(name)
    (folder / "history.csv").write_text("epoch,loss,val_loss,kept\n0,0.5,0.5,1\n")
    return registration.Candidate(
        subtype="NPM1",
        name="published",
        digest=name,
        folders=[folder],
        weights_sha256={"fold-0": name},
        settings={"control": "control", "um": 24.9, "cohort": {"cohort": cohort}},
        results_md5="",
        metrics={**REACHED, **figures},
        scores=table,
        pictures=[],
        card=name,
    )


def champion() -> str:
    """Whose version is champion."""
    found = versions.champion(mlflow_server.connect(), "NPM1")
    return str(found.tags["candidate"]) if found else "none"


def race(settings: config.Config, folder: Path, number: int, start: Start | None = None) -> None:
    """As many processes register a candidate each, at once; what came of it must be what comes of one after the other."""
    starts = [(start or _start)(folder, n) for n in range(number)]
    ends = [(process.communicate()[1], process.returncode) for process in starts]
    assert [code for _, code in ends] == [0] * number, "\n".join(err for err, _ in ends)
    registered = versions.versions(mlflow_server.connect(), "NPM1")
    assert sorted(model.tags["candidate"] for model in registered) == sorted(map(_name, range(number)))
    assert all("verdict" in model.tags for model in registered)
    written = [json.loads(line) for line in Path("data/decisions.jsonl").read_text().splitlines()]
    assert sorted(line["digest"] for line in written) == sorted(map(_name, range(number)))
    crowned, best = "none", None
    in_order = sorted(registered, key=lambda model: int(model.tags["tried_before"]))  # of the verdicts
    for place, model in enumerate(in_order):
        table = _scores(next(n for n in range(number) if _name(n) == model.tags["candidate"]))
        compared = max(place - 1, 0)  # the first was held against nobody
        if gate.judge(table, best, [], settings.register_.gate, settings.seed, compared).decision == "champion":
            crowned, best = model.tags["candidate"], table
    assert champion() == crowned
    named = decisions.read("NPM1", "drawn").champion
    assert named is not None
    assert named.digest == crowned


def _start(folder: Path, n: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, str(n)],
        cwd=folder,
        env={**CLEAN, "MLFLOW_TRACKING_URI": mlflow_address.address(), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        stderr=subprocess.PIPE,
        text=True,
    )


def register_one(n: int) -> None:
    """The candidate of this number, in the working folder and at the address that the environment names."""
    given = candidate(_name(n), _scores(n))
    rules, client = config.load(Path("params.yaml")), mlflow_server.connect()
    register.settle(client, registration.log_candidate(client, given), given, rules.register_, rules.seed)


def _name(n: int) -> str:
    return f"candidate-{n}"


def _scores(n: int) -> pd.DataFrame:
    return scores(1.0 + n % 5, seed=n)


if __name__ == "__main__":
    register_one(int(sys.argv[1]))
