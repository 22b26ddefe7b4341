"""Trainings on other machines: Prefect's work pools carry the orders, DVC's remote carries the data.

The parent hands a training to a deployment of the flow `train-one` and then takes its outputs from the remote; it cannot train
by accident. A worker serves that deployment from a clone of its own: every run in a git worktree at the parent's commit, with
the parent's params.yaml, dvc.yaml and dvc.lock, and shares the clone's DVC cache, its checkpoints and its training slots.

An order stands in Prefect's database and pages, so no account is in it. Its params.yaml may name patients: those whom a search
saw (`tuned_on`), by what this project calls them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
from filelock import FileLock, Timeout
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling
from ruamel.yaml import YAML

from flows import ROOT, dag, dvc_stages, training_slots
from flows.child_process import ending_with_flow, flow_ends_within
from flows.errors import FlowError
from flows.retries import service_task
from pipeline.common.addresses import without_account

CARRIED = ("params.yaml", "dvc.yaml", "dvc.lock")
NO_TRAINING_HERE = {"RESTORE_ONLY": "1"}
_MAY_DIFFER = (*CARRIED, "data/", "reports/")  # carried, or read by no training but from DVC
_CODE = ("pipeline/", "flows/")
_WORKTREES = Path(".worktrees/trainings")  # theirs alone: in the folder above lie those that people make, by our own pages
_LOOK_EVERY_S = 2.0
_SOON_S = 30.0  # a worker asks for orders every 15 s


def require_committed_code(stages: Sequence[dag.Stage]) -> None:
    """Other machines work at the commit: what is not committed would not travel.

    Raises:
        FlowError: there is such a file; the message names it.
    """
    code = (*_CODE, *(dep for stage in stages for dep in stage.deps))
    changed = _git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")  # names as they are, one each
    for line in filter(None, changed.split("\0")):
        status, name = line[:2], line[3:]
        if not name.startswith(_MAY_DIFFER) and (status != "??" or name.startswith(code)):
            raise FlowError(f"{name}: commit it first; other machines work at the commit, not at what lies here")


def shared_mlflow() -> str:
    """The address of MLflow that workers are told, without account; empty when they are to record in their own."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    scheme, mark, _ = address.partition("://")
    return without_account(address) if mark and scheme not in ("sqlite", "file") else ""


def train(
    stage: dag.Stage, deployment: str, force: bool, ordered_by: str, say: Callable[[str], None]
) -> dvc_stages.StageOutcome:
    """Have a stage run by `deployment`, then take its outputs from the remote.

    Raises:
        FlowError: the other machine failed, or its outputs are not on the remote.
    """
    order = {
        "stage": stage.name,
        "commit": _git("rev-parse", "HEAD"),
        "files": {name: (ROOT / name).read_text() for name in CARRIED if (ROOT / name).exists()},
        "tracking_uri": shared_mlflow(),
        "force": force,
        "ordered_by": ordered_by,
    }
    try:
        ordered = cast(FlowRun, run_deployment(deployment, parameters=order, flow_run_name=stage.title, timeout=0))
    except ObjectNotFound:
        raise FlowError(
            f"{stage.name}: the Prefect server has no deployment {deployment}; `python -m flows deploy --trainers`, typed "
            "where it is to train, makes it"
        ) from None
    state = _wait_for_end(ordered, deployment, say)
    if not state.is_completed():
        raise FlowError(f"{stage.name}: {deployment} did not complete it: {state.message or state.name}")
    return dvc_stages.run_stage(stage.name, pull=True, say=say, environment=NO_TRAINING_HERE)


def _wait_for_end(ordered: FlowRun, deployment: str, say: Callable[[str], None]) -> State[Any]:
    """Wait for an ordered run; the state in which it ends. It is cancelled when this flow ends before it."""
    since, said = time.monotonic(), False
    with get_client(sync_client=True) as client:
        while not flow_ends_within(_LOOK_EVERY_S):
            with contextlib.suppress(httpx.HTTPError):  # the server is away for a while: the run goes on without it
                state = client.read_flow_run(ordered.id).state
                if state is not None and state.is_final():
                    return state
                if not said and state is not None and state.is_scheduled() and time.monotonic() - since > _SOON_S:
                    said = True
                    say(f"{deployment}: no worker has taken it yet; `prefect worker start --pool trainers` starts one")
        with contextlib.suppress(httpx.HTTPError):
            client.set_flow_run_state(ordered.id, Cancelling(message="the flow that ordered it has ended"))
    raise FlowError(f"{ordered.name}: ended with the flow")


@flow(name="train-one", flow_run_name="{stage}")
def train_one(
    stage: str, commit: str, files: dict[str, str], tracking_uri: str, force: bool = False, ordered_by: str = ""
) -> str:
    """Run one stage as another checkout would, and push what came of it.

    Args:
        stage: as DVC names it.
        commit: the parent's, which this clone must have or be able to fetch.
        files: the parent's params.yaml, dvc.yaml and dvc.lock, uncommitted changes included.
        tracking_uri: the parent's MLflow server, without account; empty: this machine's own records.
        force: train from the first epoch although the run cache may have it.
        ordered_by: the flow run that wants it, a tag of MLflow's run.
    """
    say = get_run_logger().info
    with ending_with_flow(), worktree(commit, files) as folder:
        wanted = next(one for one in dag.read_stages(folder) if one.name == stage)
        if missing := [dep for dep in wanted.deps if not (folder / dep).exists()]:
            dvc_stages.run_dvc("pull", *missing, say=say, folder=folder)
        if force:
            dvc_stages.forget_training(wanted)
        recorded = _read_lock_entry(folder, stage)
        variables = {"MLFLOW_TRACKING_URI": mlflow_here(tracking_uri), "FLOW_RUN": ordered_by}
        done = train_here(wanted.title, stage, force, variables, folder)
        now = _read_lock_entry(folder, stage)
        if force and {**recorded, "outs": []} == {**now, "outs": []} and recorded != now:
            raise FlowError(
                f"{stage}: trained anew it came out otherwise than in dvc.lock, which stays; is this another type of machine?"
            )
        dvc_stages.run_dvc("push", "--run-cache", stage, say=say, folder=folder)
    return done.state


@service_task("{title}")
def train_here(title: str, stage: str, force: bool, variables: dict[str, str], folder: Path) -> dvc_stages.StageOutcome:
    """Run the stage that trains in a slot of this machine; tried again when a service was away."""
    say = get_run_logger().info
    with training_slots.find_slots().take() as slot_variables:
        return dvc_stages.run_stage(stage, force=force, say=say, environment={**slot_variables, **variables}, folder=folder)


def mlflow_here(shared: str) -> str:
    """Where a worker's training records: `shared`, with this machine's account for it, else this machine's own records.

    A database file is this clone's, never one in the worktree, which goes when the training is done.
    """
    own = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if shared:
        return own if without_account(own) == shared else shared
    kind, path = own[: len("sqlite:///")], own[len("sqlite:///") :]
    return f"{kind}{ROOT / path}" if kind == "sqlite:///" else own


def _read_lock_entry(folder: Path, stage: str) -> dict[str, Any]:
    """What dvc.lock says of a stage; empty when it says nothing."""
    path = folder / "dvc.lock"
    lock = YAML(typ="safe", pure=True).load(path) if path.exists() else None
    recorded: dict[str, Any] = ((lock or {}).get("stages") or {}).get(stage, {})
    return recorded


@contextlib.contextmanager
def worktree(commit: str, files: dict[str, str]) -> Iterator[Path]:
    """Make a checkout of `commit` with the parent's files and this clone's cache and checkpoints; it goes with the block."""
    if not _has(commit):
        subprocess.run(["git", "fetch", "--quiet", "--all"], cwd=ROOT, check=False, capture_output=True)
    if not _has(commit):
        raise FlowError(f"{ROOT} has no commit {commit[:12]} and cannot fetch it; push it, or `git pull` there")
    (ROOT / _WORKTREES).mkdir(parents=True, exist_ok=True)
    for left in (ROOT / _WORKTREES).iterdir():
        if left.is_dir():
            with contextlib.suppress(Timeout), FileLock(f"{left}.lock", timeout=0):  # whoever held it was killed
                _remove(left)
    folder = ROOT / _WORKTREES / uuid.uuid4().hex
    with FileLock(f"{folder}.lock"):
        try:
            _git("worktree", "add", "--detach", "--force", str(folder), commit)
            for name, text in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            local = ROOT / ".dvc" / "config.local"
            if local.exists():
                shutil.copy(local, folder / ".dvc" / "config.local")
            dvc_stages.run_dvc("cache", "dir", "--local", str(dvc_stages.cache(ROOT)), say=lambda line: None, folder=folder)
            (ROOT / ".checkpoints").mkdir(exist_ok=True)
            (folder / ".checkpoints").symlink_to(ROOT / ".checkpoints")
            yield folder
        finally:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a worktree, its lock and git's note of it, as far as they are there."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=False, capture_output=True)
    Path(f"{folder}.lock").unlink(missing_ok=True)


def _has(commit: str) -> bool:
    found = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, check=False, capture_output=True)
    return found.returncode == 0


def _git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise FlowError(f"git {command[0]}: {' '.join(done.stderr.split()) or 'failed'}")
    return done.stdout.strip("\n")
