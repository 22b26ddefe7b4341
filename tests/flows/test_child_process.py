"""A command that is run as a child process ends with its parent, whatever becomes of that."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from processes import is_alive, wait

PROGRAM = ROOT / "flows" / "child_process.py"


def test_a_command_ends_with_its_parent_however_that_dies(tmp_path: Path) -> None:
    parents_code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # a shell's background jobs start with it ignored
        f"p = subprocess.Popen([sys.executable, {str(PROGRAM)!r}, 'bash', '-c', 'sleep 3600 & echo $! > child; wait'],"
        " stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(3600)"
    )
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        parent = subprocess.Popen([sys.executable, "-c", parents_code], cwd=tmp_path, stderr=subprocess.DEVNULL)
        wait((tmp_path / "child").exists, "the child to start")
        wait(lambda: (tmp_path / "child").read_text().strip(), "its number")
        child = int((tmp_path / "child").read_text())
        parent.send_signal(number)
        parent.wait()
        wait(lambda pid=child: not is_alive(pid), f"the child to end with {number!r}")
        (tmp_path / "child").unlink()


def test_a_command_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    script = "trap 'echo asked > asked; exit' TERM; sleep 3600 & echo ready > ready; wait"
    held = subprocess.Popen([sys.executable, str(PROGRAM), "bash", "-c", script], cwd=tmp_path, stdin=subprocess.PIPE)
    wait((tmp_path / "ready").exists, "the child to start")
    held.communicate()  # closes its standard input
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_the_exit_status_is_the_commands_and_stragglers_are_ended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), "bash", "-c", "sleep 3600 & echo $!; exit 7"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as held:
        assert held.wait() == 7
        assert held.stdout is not None
        assert not is_alive(int(held.stdout.read()))
