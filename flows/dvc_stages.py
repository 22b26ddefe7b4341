"""The one place that calls DVC: run one stage as `dvc repro` would, and leave no process behind.

Whoever runs a stage this way and whoever types `dvc repro` work on the same files under the same locks, so both can be mixed at
any moment. Two flows in one checkout cannot: each would take the other's half-done stages for its own (`alone`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from filelock import FileLock, Timeout

from flows import ROOT

State = Literal["ran", "restored", "unchanged"]
UNREACHABLE = 75  # exit status of `python -m pipeline` when a service does not answer: worth another try
_LEASH = Path(__file__).with_name("child_process.py")
_TAIL = 40
_DVC = ("dvc", "--wait-for-lock")  # without it DVC gives up after 3 s when another one is at work
_RESTORED = re.compile(r"cached - skipping run|checking out outputs|Fetching")
_ALONE = FileLock(ROOT / ".prefect" / "flow.lock", timeout=0, thread_local=False)  # the kernel frees it, after a kill -9 too


class StageError(Exception):
    """A stage failed for a reason that another try would not change."""


class UnreachableError(StageError):
    """A stage failed because a service did not answer."""


class BusyError(Exception):
    """Another flow is at work in this checkout."""


@dataclass(frozen=True)
class Done:
    """How a stage ended."""

    stage: str
    state: State
    seconds: float


_open: set[subprocess.Popen[str]] = set()
_closed = threading.Event()


@contextlib.contextmanager
def shut_at_the_end() -> Iterator[None]:
    """Around a flow's body: however it ends, a cancellation included, no stage goes on without it."""
    _closed.clear()
    try:
        yield
    finally:
        _closed.set()
        for process in list(_open):
            _let_go(process)


def shut_within(seconds: float) -> bool:
    """Wait so long; whether the flow has ended meanwhile."""
    return _closed.wait(seconds)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No other flow works in this checkout; within a flow that is alone its sub-flows are too.

    Raises:
        BusyError: one does.
    """
    Path(_ALONE.lock_file).parent.mkdir(exist_ok=True)
    try:
        with _ALONE:
            yield
    except Timeout:
        raise BusyError(f"another flow is at work in {ROOT}; this one did nothing") from None


def run_stage(
    stage: str,
    *,
    force: bool = False,
    pull: bool = False,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> Done:
    """Run one stage as it is in `folder`, each line of its output given to `say` as it comes.

    Args:
        stage: as DVC names it: `validate`, `train@NPM1-0`.
        force: also when nothing changed.
        pull: fetch what is missing, outputs of an earlier run included, from the remote.
        say: told every line.
        environment: variables in addition to this process's.
        folder: the checkout.

    Raises:
        UnreachableError: a service did not answer.
        StageError: the stage failed; the message is the line that says why.
    """
    options = [*(["--force"] if force else []), *(["--pull"] if pull else [])]
    command = [*_DVC, "repro", "--single-item", *options, stage]
    started = time.monotonic()
    state: State = "unchanged"

    def hear(line: str) -> None:
        nonlocal state
        if line.startswith("Running stage"):
            state = "ran"
        elif state == "unchanged" and _RESTORED.search(line):
            state = "restored"
        say(line)

    status, lines = call(command, hear, environment, folder)
    if _closed.is_set():
        raise StageError(f"{stage}: ended with the flow")
    if status != 0:
        reason = _reason(lines) or f"{' '.join(command)} ended with status {status}"
        kind = UnreachableError if any(f"exited with {UNREACHABLE}" in line for line in lines) else StageError
        raise kind(f"{stage}: {reason}")
    return Done(stage, state, time.monotonic() - started)


def forget_training(subtype: str, fold: int | None, folder: Path = ROOT) -> None:
    """A finished training is remembered among the checkpoints; without these it starts anew."""
    for checkpoint in (folder / ".checkpoints").glob(f"{subtype}-fold-{fold}-*"):
        if checkpoint.is_file():
            checkpoint.unlink()


def dvc(*arguments: str, say: Callable[[str], None], folder: Path = ROOT) -> list[str]:
    """Another command of DVC; the last lines of its output.

    Raises:
        StageError: it failed; the message is DVC's.
    """
    status, lines = call([*_DVC, *arguments], say, folder=folder)
    if status != 0:
        raise StageError(f"dvc {arguments[0]}: {_reason(lines) or f'ended with status {status}'}")
    return lines


def pipeline(
    *arguments: str,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    fine: Collection[int] = (0,),
) -> tuple[int, list[str]]:
    """A command of the pipeline that is not a stage of the DAG; its exit status, one of `fine`, and its last lines.

    Raises:
        UnreachableError: a service did not answer.
        StageError: it failed; the message is the line that says why.
    """
    status, lines = call(["python", "-m", "pipeline", *arguments], say, environment)
    if status not in fine:
        kind = UnreachableError if status == UNREACHABLE else StageError
        raise kind(_reason(lines) or f"python -m pipeline {' '.join(arguments)} ended with status {status}")
    return status, lines


def changed_stages(folder: Path = ROOT) -> Mapping[str, object]:
    """The stages whose inputs, parameters or outputs are not what dvc.lock says, asked once for all.

    Raises:
        StageError: DVC cannot tell; the message says why.
    """
    lines = dvc("status", "--json", say=lambda _line: None, folder=folder)
    try:
        answer: dict[str, object] = json.loads(lines[-1])
    except (json.JSONDecodeError, IndexError):
        raise StageError(f"dvc status: {_reason(lines) or 'no answer'}") from None
    return answer


def call(
    command: list[str], say: Callable[[str], None], environment: Mapping[str, str] | None = None, folder: Path = ROOT
) -> tuple[int, list[str]]:
    """Run a command that ends with this process; its exit status and the last lines of its output."""
    lines: deque[str] = deque(maxlen=_TAIL)
    with leashed(command, environment, folder, subprocess.PIPE) as process:
        _open.add(process)
        try:
            if _closed.is_set():
                _let_go(process)
            assert process.stdout is not None
            for line in process.stdout:
                if text := line.rstrip():
                    lines.append(text)
                    say(text)
            return process.wait(), list(lines)
        finally:
            _open.discard(process)
            _let_go(process)


def leashed(
    command: list[str], environment: Mapping[str, str] | None, folder: Path, output: int | IO[str]
) -> subprocess.Popen[str]:
    """Start a command that ends when this process does or when its standard input is closed, and all that it started too."""
    variables = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "true",
        "DO_NOT_TRACK": "true",
        **(environment or {}),
    }
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
    return subprocess.Popen(
        [sys.executable, str(_LEASH), *command],
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _let_go(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError, ValueError):
        assert process.stdin is not None
        process.stdin.close()


def _reason(lines: list[str]) -> str:
    """The pipeline's own line where there is one, else DVC's, else the last."""
    for start in ("error: ", "ERROR: "):
        found = [line.removeprefix(start) for line in lines if line.startswith(start)]
        if found:
            return found[0]
    return lines[-1] if lines else ""
