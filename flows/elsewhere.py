"""Trainings on other machines: Prefect's work pools carry the orders, DVC's remote carries the data.

The parent pushes what a training needs, hands it to a deployment of the flow `train-one`, and then takes its outputs from
the remote; it cannot train by accident. A worker serves that deployment from a clone of its own: every run in a git worktree at
the parent's commit, with the parent's params.yaml, dvc.yaml and dvc.lock, and shares the clone's DVC cache and checkpoints.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from flows import ROOT, dag, door

CARRIED = ("params.yaml", "dvc.yaml", "dvc.lock", "data/exclude.csv")
NO_TRAINING_HERE = {"RESTORE_ONLY": "1"}
_MAY_DIFFER = (*CARRIED, "reports/")


def require_committed_code() -> None:
    """Other machines work at the commit: what is not committed would not travel.

    Raises:
        StageError: names the file.
    """
    changed = [line[3:] for line in _git("status", "--porcelain", "--untracked-files=no").splitlines()]
    if loose := [name for name in changed if not name.startswith(_MAY_DIFFER)]:
        raise door.StageError(f"{loose[0]}: commit it first; other machines work at the commit, not at what lies here")


def train(stage: dag.Stage, deployment: str, say: Callable[[str], None]) -> door.Done:
    """Have a stage run by `deployment`, then take its outputs from the remote.

    Raises:
        StageError: the other machine failed, or its outputs are not on the remote.
    """
    _must(["dvc", "push", *stage.after], say, ROOT)
    order = {
        "stage": stage.name,
        "commit": _git("rev-parse", "HEAD"),
        "files": {name: (ROOT / name).read_text() for name in CARRIED if (ROOT / name).exists()},
        "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI", ""),
    }
    run = cast(FlowRun, run_deployment(deployment, parameters=order, flow_run_name=stage.title))
    if run.state is None or not run.state.is_completed():
        reason = run.state.message if run.state else "no state"
        raise door.StageError(f"{stage.name}: {deployment} did not complete it: {reason}")
    return door.run_stage(stage.name, pull=True, say=say, environment=NO_TRAINING_HERE)


@flow(name="train-one", flow_run_name="{stage}")
def train_one(stage: str, commit: str, files: dict[str, str], tracking_uri: str) -> str:
    """Run one stage as another checkout would, and push what came of it.

    Args:
        stage: as DVC names it.
        commit: the parent's, which this clone must have or be able to fetch.
        files: the parent's params.yaml, dvc.yaml, dvc.lock and data/exclude.csv, uncommitted changes included.
        tracking_uri: the parent's MLflow address; empty: this machine's own.
    """
    say = get_run_logger().info
    with door.shut_at_the_end(), _worktree(commit, files) as folder:
        wanted = next(one for one in dag.stages(folder) if one.name == stage)
        _must(["dvc", "pull", *(dep for dep in wanted.deps if not (folder / dep).exists())], say, folder)
        address = {"MLFLOW_TRACKING_URI": tracking_uri} if tracking_uri else {}
        done = door.run_stage(stage, say=say, environment=address, folder=folder)
        _must(["dvc", "push", "--run-cache", stage], say, folder)
    return done.state


@contextlib.contextmanager
def _worktree(commit: str, files: dict[str, str]) -> Iterator[Path]:
    """A checkout of `commit` with the parent's files, beside this clone's cache and checkpoints; gone afterwards."""
    if not _has(commit):
        subprocess.run(["git", "fetch", "--quiet", "--all"], cwd=ROOT, check=False, capture_output=True)
    if not _has(commit):
        raise door.StageError(f"{ROOT} has no commit {commit[:12]} and cannot fetch it; push it, or `git pull` there")
    (ROOT / ".worktrees").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=ROOT / ".worktrees"))
    try:
        _git("worktree", "add", "--detach", "--force", str(folder), commit)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        local = ROOT / ".dvc" / "config.local"
        if local.exists():
            shutil.copy(local, folder / ".dvc" / "config.local")
        _must(["dvc", "cache", "dir", "--local", str(ROOT / ".dvc" / "cache")], lambda line: None, folder)
        (ROOT / ".checkpoints").mkdir(exist_ok=True)
        (folder / ".checkpoints").symlink_to(ROOT / ".checkpoints")
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _must(command: list[str], say: Callable[[str], None], folder: Path) -> None:
    status, lines = door.call(command, say, folder=folder)
    if status != 0:
        raise door.StageError(f"{' '.join(command[:2])}: {lines[-1] if lines else f'ended with status {status}'}")


def _has(commit: str) -> bool:
    found = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, check=False, capture_output=True)
    return found.returncode == 0


def _git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise door.StageError(f"git {command[0]}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}")
    return done.stdout.strip("\n")
