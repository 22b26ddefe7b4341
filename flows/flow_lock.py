"""One flow at a time in a checkout: of two, each would take the other's half-done stages for its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from flows import ROOT
from flows.errors import BusyError

_LOCK = FileLock(ROOT / ".prefect" / "flow.lock", timeout=0, thread_local=False)  # the kernel frees it, after a kill -9 too


@contextlib.contextmanager
def only_flow() -> Iterator[None]:
    """No other flow works in this checkout during the block; the sub-flows of the flow that holds the lock may.

    Raises:
        BusyError: another flow is at work.
    """
    Path(_LOCK.lock_file).parent.mkdir(exist_ok=True)
    try:
        with _LOCK:
            yield
    except Timeout:
        raise BusyError(f"another flow is at work in {ROOT}; this one did nothing") from None
