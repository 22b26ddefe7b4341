"""A leash ends what it holds, whatever becomes of its parent."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from processes import is_alive, wait


def test_what_a_leash_holds_ends_with_its_parent_however_that_dies(tmp_path: Path) -> None:
    leash = ROOT / "flows" / "child_process.py"
    hold = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # a shell's background jobs start with it ignored
        f"p = subprocess.Popen([sys.executable, {str(leash)!r}, 'bash', '-c', 'sleep 600 & echo $! > child; wait'],"
        " stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(600)"
    )
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        parent = subprocess.Popen([sys.executable, "-c", hold], cwd=tmp_path, stderr=subprocess.DEVNULL)
        wait((tmp_path / "child").exists, "the child to start")
        wait(lambda: (tmp_path / "child").read_text().strip(), "its number")
        child = int((tmp_path / "child").read_text())
        parent.send_signal(number)
        parent.wait()
        wait(lambda pid=child: not is_alive(pid), f"the child to end with {number!r}", 10)
        (tmp_path / "child").unlink()


def test_what_a_leash_holds_is_asked_before_it_is_killed(tmp_path: Path) -> None:
    script = "trap 'echo asked > asked; exit' TERM; sleep 600 & echo ready > ready; wait"
    held = subprocess.Popen(
        [sys.executable, str(ROOT / "flows" / "child_process.py"), "bash", "-c", script], cwd=tmp_path, stdin=subprocess.PIPE
    )
    wait((tmp_path / "ready").exists, "the child to start")
    held.communicate()  # closes its standard input
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_leash_passes_the_exit_status_on_and_takes_stragglers_along(tmp_path: Path) -> None:
    leash = [sys.executable, str(ROOT / "flows" / "child_process.py")]
    with subprocess.Popen(
        [*leash, "bash", "-c", "sleep 600 & echo $!; exit 7"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as held:
        assert held.wait() == 7
        assert held.stdout is not None
        assert not is_alive(int(held.stdout.read()))
