"""The one door to DVC: run one stage as `dvc repro` would, and leave no process behind.

Whoever runs a stage this way and whoever types `dvc repro` work on the same files under the same locks, so both can be mixed at
any moment.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from flows import ROOT

State = Literal["ran", "restored", "unchanged"]
UNREACHABLE = 75  # exit status of `python -m pipeline` when a service does not answer: worth another try
_LEASH = Path(__file__).with_name("leash.py")
_TAIL = 40


class StageError(Exception):
    """A stage failed for a reason that another try would not change."""


class UnreachableError(StageError):
    """A stage failed because a service did not answer."""


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
    command = ["dvc", "--wait-for-lock", "repro", "--single-item", *options, stage]
    started = time.monotonic()
    status, lines = call(command, say, environment, folder)
    if _closed.is_set():
        raise StageError(f"{stage}: ended with the flow")
    if status != 0:
        why = reason(lines) or f"{' '.join(command)} ended with status {status}"
        kind = UnreachableError if any(f"exited with {UNREACHABLE}" in line for line in lines) else StageError
        raise kind(f"{stage}: {why}")
    return Done(stage, _state(lines), time.monotonic() - started)


def changed_stages(folder: Path = ROOT) -> Mapping[str, object]:
    """The stages whose inputs, parameters or outputs are not what dvc.lock says, asked once for all.

    Raises:
        StageError: DVC cannot tell; the message says why.
    """
    status, lines = call(["dvc", "status", "--json"], lambda _line: None, folder=folder)
    try:
        if status == 0:
            answer: dict[str, object] = json.loads(lines[-1])
            return answer
    except (json.JSONDecodeError, IndexError):
        pass
    raise StageError(f"dvc status: {reason(lines) or f'ended with status {status}'}")


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


def _state(lines: list[str]) -> State:
    text = "\n".join(lines)
    if "Running stage" in text:
        return "ran"
    return "restored" if re.search(r"cached - skipping run|checking out outputs|Fetching", text) else "unchanged"


def reason(lines: list[str]) -> str:
    """The pipeline's own line where there is one, else DVC's, else the last."""
    for start in ("error: ", "ERROR: "):
        found = [line.removeprefix(start) for line in lines if line.startswith(start)]
        if found:
            return found[0]
    return lines[-1] if lines else ""
