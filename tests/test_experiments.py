"""DVC's experiments, by hand: in the checkout and in the copy that DVC makes, they log to the same MLflow, under DVC's name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from mlflow import MlflowClient
from processes import CLEAN

pytestmark = pytest.mark.rehearsal

# What `train` and `register` do with MLflow, without the hours: a training of one epoch stands in files, and is recorded.
STAGE = """
import json
from pathlib import Path
import pandas as pd
from ruamel.yaml import YAML
from pipeline.registry import mlflow_server

rate = YAML(typ="safe").load(Path("params.yaml"))["rate"]
folder = Path("model")
folder.mkdir(exist_ok=True)
spec = {"subtype": "NPM1", "control": "control", "px": 8, "fold": 0, "training": f"of-rate-{rate}"}
spec |= {"knobs": {"learning_rate": rate}, "machine": {"kind": "cpu"}, "inputs": {"cells": "0" * 64, "split": "0" * 64}}
(folder / "spec.json").write_text(json.dumps(spec))
pd.DataFrame({"epoch": [0], "val_loss": [0.7], "kept": [1]}).to_csv(folder / "history.csv", index=False)
mlflow_server.record_training(mlflow_server.connect(), folder)
"""
DAG = "stages: {train: {cmd: python stage.py, params: [rate], outs: [model]}}\n"


def dvc(folder: Path, *arguments: str) -> None:
    programs = {**CLEAN, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, env=programs, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def make(folder: Path) -> None:
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "t")
    git(folder, "config", "user.email", "t@localhost")
    dvc(folder, "init", "--quiet")
    (folder / "stage.py").write_text(STAGE)
    (folder / "dvc.yaml").write_text(DAG)
    (folder / "params.yaml").write_text("rate: 0.1   # of learning\n")
    (folder / ".gitignore").write_text("/model\n/mlflow.db*\n/mlartifacts\n__pycache__\n")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "begin")


def test_experiments_log_to_the_checkout_under_their_own_names(tmp_path: Path) -> None:
    make(tmp_path)
    dvc(tmp_path, "exp", "run", "--quiet", "--name", "here", "-S", "rate=0.2")
    dvc(tmp_path, "exp", "run", "--quiet", "--temp", "--name", "away", "-S", "rate=0.3")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("NPM1").experiment_id])
    found = {run.data.tags["dvc_exp"]: run for run in runs}
    assert sorted(found) == ["away", "here"]
    assert {name: run.data.params["learning_rate"] for name, run in found.items()} == {"here": "0.2", "away": "0.3"}
    for name, run in found.items():
        assert run.info.run_name == f"{name}: fold 0 of-rate-"
        assert run.info.status == "FINISHED"
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"spec.json", "history.csv"}
    assert "# of learning" in (tmp_path / "params.yaml").read_text()
