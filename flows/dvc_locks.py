"""What DVC writes down about who reads and writes which output (`.dvc/tmp/rwlock`), freed of those who are gone.

DVC itself strikes out an entry only when no process has its number. In a container numbers start anew, so the next flow finds
the number of a killed one given to another program; and a full disk leaves the file cut off. Either way every later command of
DVC would fail. An entry is taken out only when it cannot belong to a command that runs, and under DVC's own lock of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from flows import ROOT
from flows.errors import FlowError

_FILE, _GUARD = "rwlock", "rwlock.lock"
_CLOCKS_DIFFER_S = 5.0  # that of a file server, and ours


def release_the_gone(folder: Path = ROOT) -> None:
    """Take out what processes that are gone have left there; those who are at work keep theirs.

    Raises:
        FlowError: the file cannot be read and another DVC is at work in `folder`; the message names its PID.
    """
    file = folder / ".dvc" / "tmp" / _FILE
    if not _concerns_us(file):
        return
    from dvc.lock import LockError, make_lock

    try:
        with make_lock(str(file.with_name(_GUARD)), tmp_dir=str(file.parent)):
            _edit(file, folder)
    except LockError:
        pass  # somebody edits it at this moment, so it is in use; DVC waits for them, and says who it is


def _concerns_us(file: Path) -> bool:
    """Whether there is anything to judge: outside a command of DVC the file says that nobody does anything."""
    try:
        return bool(list(_entries(json.loads(file.read_bytes()))))
    except FileNotFoundError:
        return False
    except ValueError:
        return True


def _edit(file: Path, folder: Path) -> None:
    try:
        content = json.loads(file.read_bytes())
        entries = list(_entries(content))
    except FileNotFoundError:
        return
    except ValueError:
        if others := list(_at_work(folder)):
            raise FlowError(
                f"{file}: cut off, perhaps by a full disk, while DVC is at work here (PID {', '.join(map(str, others))}); run "
                "this again when that has ended"
            ) from None
        file.unlink()
        return
    since = file.stat().st_mtime
    gone = [entry for entry in entries if not _may_be_at_work(entry, since)]
    if gone:
        read = {path: [one for one in many if one not in gone] for path, many in content.get("read", {}).items()}
        write = {path: one for path, one in content.get("write", {}).items() if one not in gone}
        file.write_text(json.dumps({"write": write, "read": {path: left for path, left in read.items() if left}}))


def _entries(content: Any) -> Iterator[dict[str, Any]]:
    """All that stand in the file, each a `pid` and a `cmd`.

    Raises:
        ValueError: they are of another form than DVC's.
    """
    try:
        for entry in [*content.get("write", {}).values(), *(one for many in content.get("read", {}).values() for one in many)]:
            if not isinstance(entry["pid"], int) or not isinstance(entry["cmd"], str):
                raise ValueError(f"not DVC's: {entry}")
            yield entry
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not DVC's: {error}") from None


def _may_be_at_work(entry: dict[str, Any], since: float) -> bool:
    """Whether an entry in a file last written at `since` may be that of a process that runs.

    It is not where no process has the number, or one that began after that, or one that was not called with the word in which
    the command ends. In doubt it is: another user's process may not be looked at.
    """
    try:
        process = psutil.Process(entry["pid"])
        last = entry["cmd"].split()[1:][-1:]
        return process.create_time() <= since + _CLOCKS_DIFFER_S and all(
            word in " ".join(process.cmdline()).split() for word in last
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _at_work(folder: Path) -> Iterator[int]:
    """PIDs of the processes that run DVC in `folder`."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()[:3]  # python, -m, dvc
            if any(Path(word).name == "dvc" for word in words) and Path(process.cwd()).is_relative_to(folder.resolve()):
                yield process.pid
        except psutil.Error:
            continue
