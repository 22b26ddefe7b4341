"""MLflow's database is made once, whoever comes first, and an address never shows a password."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from pipeline.registry import mlflow_server

CONNECT = """
from pipeline.registry import mlflow_server
client = mlflow_server.connect()
print(sorted(experiment.name for experiment in client.search_experiments()), len(client.search_registered_models()))
"""


def test_processes_that_all_find_no_database_make_one(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", CONNECT],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ends = [(start.communicate(), start.returncode) for start in starts]
    assert [code for _, code in ends] == [0] * 4, "\n".join(err for (_, err), _ in ends)
    assert {out for (out, _), _ in ends} == {"['Default'] 0\n"}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql+psycopg2://mlflow:pa55@db:5432/mlflow", "postgresql+psycopg2://***@db:5432/mlflow"),
        ("postgresql://mlflow:pa/ss@word@db/mlflow", "postgresql://***@db/mlflow"),
        ("postgresql://db/mlflow?user=mlflow&password=pa55", "postgresql://db/mlflow?user=mlflow&password=***"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("", "sqlite:///mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch, address: str, shown: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert mlflow_server.shown_address() == shown
