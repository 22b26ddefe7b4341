"""`python -m flows gc`: what nothing needs, and that every commit still checks out after the commands that it names."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import small_history
from conftest import ROOT, write_params
from processes import CLEAN
from small_history import commit, git, kept

from flows import __main__ as flows


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits, a worktree's that no branch reaches, an uncommitted state, each with data of its own; and one of none."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////not/there/mlflow.db")
    monkeypatch.setenv("PREFECT_HOME", str(here / ".prefect"))
    write_params(here / "params.yaml", {})
    small_history.start()
    Path(".gitignore").write_text(Path(".gitignore").read_text() + "data\n.prefect\n")
    for name in ("first", "second", "of a worktree"):
        small_history.lock({"data": {"file": name.encode()}})
        last = commit()
    git("worktree", "add", "--quiet", "--detach", ".worktrees/one", last)
    git("reset", "--quiet", "--hard", "HEAD~1")
    lost = small_history.lock({"data": {"file": b"never committed and replaced"}})["data"]
    small_history.lock({"data": {"file": b"lies here"}})
    assert kept(lost).is_file()
    return here


def run(*command: str) -> None:
    subprocess.run(command, env=CLEAN, check=True, capture_output=True)


@pytest.mark.rehearsal
def test_after_its_commands_every_commit_still_checks_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in Path(".dvc/cache").rglob("*") if path.is_file()}
    assert flows.main(["gc"]) == 0
    said = capsys.readouterr().out
    assert {path: path.read_bytes() for path in Path(".dvc/cache").rglob("*") if path.is_file()} == before
    assert "DVC's cache: 0.0 MB in 2 objects no dvc.lock names; " in said
    assert "MLflow: cannot be asked (MLFLOW_TRACKING_URI: sqlite:////not/there/mlflow.db: its folder is not there; " in said
    assert "Prefect: no server is named (PREFECT_API_URL)" in said
    commands = re.findall(r"^    ((?:git branch|dvc gc) [^#\n]*)", said, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["git", "dvc", "dvc"]
    for command in (commands[0], commands[-1]):  # between them the one that only lists
        run(*command.split())
    assert len([path for path in Path(".dvc/cache/files").rglob("*") if path.is_file()]) == len(before) - 2
    git("checkout", "--quiet", "--force", "main")
    worktree = git("-C", ".worktrees/one", "rev-parse", "HEAD")
    for name, at in {"first": "main~1", "second": "main", "of a worktree": worktree}.items():
        git("checkout", "--quiet", "--force", at)
        shutil.rmtree("data", ignore_errors=True)
        run("dvc", "checkout", "--force")
        assert Path("data/file").read_text() == name


def test_what_was_stashed_before_the_last_is_needed_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (b"below", b"on top"):
        small_history.lock({"data": {"file": name}})
        git("stash", "--quiet")
    assert flows.main(["gc"]) == 0
    said = capsys.readouterr().out
    assert "in 4 objects no dvc.lock names" in said, "of two states that were replaced"
    kept_by = re.findall(r"git branch keep-\w+ (\w+)$", said, re.MULTILINE)
    assert {commit[:12] for commit in git("stash", "list", "--format=%H").split()} < set(kept_by)


def test_results_that_a_decision_alone_names_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = small_history.lock({"data": b"never committed"})["data"]
    small_history.lock({"data": b"others"})
    line = small_history.decision("first000", "2026-01-10", results_md5=results)
    Path("data").mkdir()
    Path("data/decisions.jsonl").write_text(line)
    assert flows.main(["gc"]) == 0
    assert "data/decisions.jsonl names NPM1 published first000, whose results no dvc.lock does: DVC" in capsys.readouterr().out
    Path("data/decisions.jsonl").write_text(line[:50])
    assert flows.main(["gc"]) == 2
    assert capsys.readouterr().err.startswith("error: data/decisions.jsonl, line 1: is cut off, or no decision; ")


def test_a_clone_without_older_commits_cannot_say_what_is_needed(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = tmp_path_factory.mktemp("clone")
    git("clone", "--quiet", "--depth", "1", project.as_uri(), str(clone))
    monkeypatch.chdir(clone)
    assert flows.main(["gc"]) == 2
    assert "`git fetch --unshallow` brings them" in capsys.readouterr().err
    assert flows.main(["gc", "--days", "-1"]) == 2
