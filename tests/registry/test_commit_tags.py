"""Which commit a run was made at: said as a tag, or said why not; and the same bytes whatever git is set to on a machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from small_project import copy_of_the_repository

from pipeline.registry import mlflow_runs


def test_a_checkout_that_belongs_to_another_user_is_said_once_with_gits_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to try this
    assert mlflow_runs.provenance().get("git_commit") is None
    mlflow_runs.provenance()
    said = capsys.readouterr().err
    assert said.startswith("warning: git: fatal: detected dubious ownership in repository")
    assert f"git config --global --add safe.directory {here}" in said
    assert said.count("\n") == 1


def test_a_clone_has_the_bytes_that_were_committed_whatever_git_does_to_line_ends(tmp_path: Path) -> None:
    """DVC compares the bytes of code, parameters and tables with those in dvc.lock."""
    (tmp_path / "project").mkdir()
    project, clone = copy_of_the_repository(tmp_path / "project"), tmp_path / "clone"
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "--quiet", str(project), str(clone)], check=True)
    listed = subprocess.run(["git", "ls-files"], cwd=project, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "pipeline/stages/pack.py" in listed
    assert [name for name in listed if (project / name).read_bytes() != (clone / name).read_bytes()] == []
