"""Which process works on something, written down so that another one can tell whether it is still alive.

A process number means something only where it was given: in one boot of one machine, and there in one container. Host names
don't tell these apart, since several machines of one group may well have the same name.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NUMBERS = Path("/proc/self/ns/pid")  # among which processes this one is numbered


def me() -> str:
    """This process in words that no other shares, on any machine: machine, process number."""
    return f"{_numbering()} {os.getpid()}"


def is_dead(worker: str) -> bool:
    """Whether `worker` was a process here and is none any more; of another machine's nothing is known, so False."""
    numbered_by, _, process = worker.rpartition(" ")
    return numbered_by == _numbering() and not _is_alive(int(process))


def _numbering() -> str:
    """This machine, start and namespace, among whose process numbers ours is; the host's name stands there for people."""
    try:
        here = f"{_BOOT.read_text().strip()} {_NUMBERS.readlink()}"
    except OSError:  # not Linux
        here = f"{uuid.getnode():x}"
    return f"{socket.gethostname()} {here}"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    listed = Path(f"/proc/{process}/stat")  # a dead child that nobody has asked for is not alive
    return not listed.exists() or listed.read_text().rsplit(")", 1)[1].split()[0] != "Z"
