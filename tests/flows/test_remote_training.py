"""What is told to other machines, and the worktrees in which they train."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import toy_project
from filelock import FileLock

from flows import dag, dvc_stages, remote_training
from flows.errors import FlowError

COMMIT = ("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "toy")


def git(folder: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy project with one commit, in which this process orders and trains."""
    toy_project.make(tmp_path)
    git(tmp_path, "add", "-A")
    git(tmp_path, *COMMIT)
    monkeypatch.setattr(remote_training, "ROOT", tmp_path)
    return tmp_path


def test_code_that_would_not_travel_is_refused_and_what_does_not_matter_is_not(project: Path) -> None:
    stages = dag.read_stages(project)
    (project / "note.txt").write_text("never committed, read by nobody")
    (project / "data").mkdir()
    (project / "data" / "exclude.csv").write_text("patient,path,reason\n")
    (project / "data" / "decisions.jsonl").write_text("{}\n")
    git(project, "add", "data/decisions.jsonl")  # known to git, and changed by `register`
    remote_training.require_committed_code(stages)
    for name in ("flows/new.py", "pipeline/new/inner.py", "pipeline/Müller 2.py"):
        path = project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("never committed")
        with pytest.raises(FlowError, match=f"^{name}: commit it first"):
            remote_training.require_committed_code(stages)
        path.unlink()
    git(project, "mv", "data/decisions.jsonl", "pipeline/moved.py")
    with pytest.raises(FlowError, match=r"^pipeline/moved\.py: commit it first"):
        remote_training.require_committed_code(stages)
    git(project, "mv", "pipeline/moved.py", "data/decisions.jsonl")
    (project / "stage.py").write_text("changed")
    with pytest.raises(FlowError, match=r"^stage\.py: commit it first"):
        remote_training.require_committed_code(stages)
    git(project, "checkout", "stage.py")
    git(project, "rm", "--quiet", "--cached", "source.txt")  # of dvc.yaml's dependencies, and unknown to git
    git(project, *COMMIT)
    with pytest.raises(FlowError, match=r"^source\.txt: commit it first"):
        remote_training.require_committed_code(stages)


@pytest.mark.parametrize(
    ("parents", "told", "workers", "used"),
    [
        ("http://10.0.0.1:5000", "http://10.0.0.1:5000", "", "http://10.0.0.1:5000"),
        ("https://me:secret@mlflow.org/x", "https://mlflow.org/x", "", "https://mlflow.org/x"),
        (
            "https://me:secret@mlflow.org/x",
            "https://mlflow.org/x",
            "https://w:hers@mlflow.org/x",
            "https://w:hers@mlflow.org/x",
        ),
        ("http://10.0.0.1:5000", "http://10.0.0.1:5000", "http://10.0.0.2:5000", "http://10.0.0.1:5000"),
        ("postgresql+psycopg2://db/m?password=secret", "postgresql+psycopg2://db/m", "", "postgresql+psycopg2://db/m"),
        ("postgresql://me:s/e?c#r:e@t@db/m", "postgresql://db/m", "", "postgresql://db/m"),
        ("postgresql://me:pa[ss@db/m", "postgresql://db/m", "", "postgresql://db/m"),
        ("https://jane@clinic.org:secret@mlflow.org/x", "https://mlflow.org/x", "", "https://mlflow.org/x"),
        ("http://10.0.0.1:5000/@me", "http://10.0.0.1:5000/@me", "", "http://10.0.0.1:5000/@me"),
        ("postgresql://me@db:5432/m", "postgresql://db:5432/m", "", "postgresql://db:5432/m"),
        ("", "", "", "sqlite:///{root}/mlflow.db"),
        ("sqlite:///mlflow.db", "", "sqlite:///mine.db", "sqlite:///{root}/mine.db"),
        ("sqlite:////srv/mlflow.db", "", "sqlite:////srv/w.db", "sqlite:////srv/w.db"),
    ],
)
def test_workers_record_at_the_parents_server_without_being_told_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parents: str, told: str, workers: str, used: str
) -> None:
    monkeypatch.setattr(remote_training, "ROOT", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", parents)
    assert remote_training.shared_mlflow() == told
    monkeypatch.setenv("MLFLOW_TRACKING_URI", workers)
    assert remote_training.mlflow_here(told) == used.format(root=tmp_path)


def test_a_worktree_is_gone_afterwards_and_so_are_those_of_the_dead(project: Path) -> None:
    commit = git(project, "rev-parse", "HEAD")
    ours = project / ".worktrees" / "trainings"
    dead, living, a_persons = ours / "dead", ours / "living", project / ".worktrees" / "NPM1-5b0cd9e1"
    for folder in (dead, living, a_persons):
        git(project, "worktree", "add", "--detach", str(folder), commit)
    with FileLock(f"{living}.lock"):
        with remote_training.worktree(commit, {"params.yaml": "seed: 1"}) as folder:
            assert (folder / "params.yaml").read_text() == "seed: 1"
            assert (folder / "stage.py").is_file()
            assert not dead.exists()
            assert living.exists()
            assert (a_persons / "stage.py").is_file(), "a champion is being brought back there"
        assert not folder.exists()
        assert "dead" not in git(project, "worktree", "list")
    assert {path.name for path in ours.iterdir()} <= {"living", "living.lock"}


def test_a_worktree_has_the_cache_that_the_clone_has(project: Path) -> None:
    (project / ".dvc" / "config.local").write_text("[cache]\n    dir = ../../of all\n")
    with remote_training.worktree("HEAD", {}) as folder:
        assert dvc_stages.cache(folder).resolve() == project.parent / "of all"


def test_a_worktree_that_cannot_be_made_says_why_and_leaves_nothing(project: Path) -> None:
    (project / ".git" / "worktrees").write_text("in the way")
    with pytest.raises(FlowError, match=r"^git worktree: .*worktrees"), remote_training.worktree("HEAD", {}):
        pass
    assert not list((project / ".worktrees" / "trainings").iterdir())
