"""Commands that cannot outlive the process that runs them, however that ends.

`run` and `start` put this file between the two, as a program of its own: `child_process.py command ...`. The command runs in a
process group of its own. When the program's standard input closes, which is when the parent has gone or says so, the group is
ended; nothing that the command started is left. The exit status is the command's. This file imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

_GRACE_S = 2.0
_LAST_LINES = 40
_running: set[subprocess.Popen[str]] = set()
_flow_has_ended = threading.Event()


@contextlib.contextmanager
def ending_with_flow() -> Iterator[None]:
    """Around a flow's body: however the flow ends, a cancellation included, no command that it `run`s goes on without it."""
    _flow_has_ended.clear()
    try:
        yield
    finally:
        _flow_has_ended.set()
        for process in list(_running):
            end(process)


def flow_ends_within(seconds: float) -> bool:
    """Whether the flow has ended by now, or does so while this waits for so many seconds."""
    return _flow_has_ended.wait(seconds)


def run(
    command: list[str], folder: Path, say: Callable[[str], None], environment: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """Run a command in `folder` to its end, each line of its output given to `say`; its exit status and its last lines.

    `environment` holds variables in addition to this process's. The command ends early when the flow ends.
    """
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    with start(command, folder, subprocess.PIPE, environment) as process:
        _running.add(process)
        try:
            if flow_ends_within(0):
                end(process)
            assert process.stdout is not None
            for line in process.stdout:
                if text := line.rstrip():
                    lines.append(text)
                    say(text)
            return process.wait(), list(lines)
        finally:
            _running.discard(process)
            end(process)


def start(
    command: list[str], folder: Path, output: int | IO[str], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command in `folder` that ends, with all that it started, when this process does or calls `end`."""
    variables = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "true",
        "DO_NOT_TRACK": "true",
        **(environment or {}),
    }
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
    return subprocess.Popen(
        [sys.executable, __file__, *command],
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Have a command that `start` started ended, with all that it started; does not wait for it."""
    with contextlib.suppress(OSError, ValueError):
        assert process.stdin is not None
        process.stdin.close()


def main(command: list[str]) -> int:
    """The program between parent and command: run `command`; its exit status, 143 when its parent ended it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A Ctrl-C reaches the parent too, which then ends this. Not SIG_IGN: the command would inherit it and ignore SIGTERM.
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)

    def watch() -> None:
        while os.read(0, 1024):
            pass
        _end_group(child.pid)

    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    _end_group(child.pid)  # whatever it left behind
    return status if status >= 0 else 128 - status


def _end_group(group: int) -> None:
    """End all processes of a group: first asked (SIGTERM), then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
