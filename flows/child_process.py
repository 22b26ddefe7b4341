"""Run a command that cannot outlive its parent, however that ends: `child_process.py command ...`.

The command runs in a process group of its own. When standard input closes, which is when the parent has gone or says so, the
group is ended; nothing that the command started is left. The exit status is the command's.
"""

import os
import signal
import subprocess
import sys
import threading
import time

_GRACE_S = 2.0


def _end_group(group: int) -> None:
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


def main(command: list[str]) -> int:
    """Run `command`; 143 when its parent ended it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A Ctrl-C reaches the parent too, which then lets go. Not SIG_IGN: the command would inherit it and ignore SIGTERM.
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
