"""The user's mistakes end in one line and status 2; nobody sees a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, write_params

from pipeline.__main__ import main


def call(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["evaluate", "BCR_ABL1"], "there is no subtype BCR_ABL1; params.yaml has: PML_RARA, NPM1"),
        (["train", "NPM1", "3"], "fold 3 is not trained; params.yaml's folds has: 0"),
        (["split"], "data/manifest.parquet: not there"),
        (["pack"], "data/manifest.parquet: not there"),
        (["weigh"], "data/manifest.parquet: not there"),
        (["curate"], "data/manifest.parquet: not there"),
        (["curate", "--take", "export.csv"], "export.csv: not there; name the CSV that the page exported"),
        (["curate", "--reviewer", "Dr A"], "--reviewer: says who decided in a file that is taken; name that with --take"),
        (["train", "NPM1", "0"], "data/splits/NPM1.csv: not there"),
        (["evaluate", "NPM1"], "data/splits/NPM1.csv: not there"),
        (["audit", "NPM1"], "data/splits/NPM1.csv: not there"),
        (["register", "NPM1"], "reports/NPM1/published/metrics.json: not there"),
        (["report"], "reports/PML_RARA/published/metrics.json: not there"),
        (["predict", "nowhere"], "nowhere: not a folder; name a patient's folder of images"),
        (["call"], "call.candidates names nobody: there is no call; name a candidate of kind bag there"),
    ],
)
def test_one_line_and_status_2(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    """In this process: `call` below shows that a shell gets the same."""
    write_params(here / "params.yaml", {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    assert main(arguments) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: {expected}"), said
    assert said.count("\n") == 1


def test_ctrl_c_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def run(settings: object) -> None:
        raise KeyboardInterrupt

    write_params(here / "params.yaml", {})
    monkeypatch.setattr("pipeline.stages.report.run", run)
    assert main(["report"]) == 130
    assert capfd.readouterr().err.startswith("error: report: interrupted; nothing half-written is left")


def test_without_params_it_says_where_to_stand(tmp_path: Path) -> None:
    done = call(tmp_path, "split")
    assert done.returncode == 2
    assert done.stderr == "error: params.yaml: not found; run this in the folder that holds it\n"


def test_a_tracking_server_that_is_away_is_named_before_anything_is_registered(tmp_path: Path) -> None:
    write_params(tmp_path / "params.yaml", {})
    done = call(tmp_path, "register", "NPM1", MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9")
    assert done.returncode == 75
    assert done.stderr.startswith("error: MLFLOW_TRACKING_URI: http://***@127.0.0.1:9 does not answer")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


def test_every_stage_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("ingest", "validate", "split", "pack", "train", "evaluate", "audit", "register", "report", "predict"):
        with pytest.raises(SystemExit) as ended:
            main([stage, "--help"])
        assert ended.value.code == 0
        assert f"python -m pipeline {stage}" in capsys.readouterr().out
