"""The same work on many items, by all cores, in their order.

Python lets one thread through at a time, and half of what is done to a small image is Python: threads gain little. A process
has to import what it runs first, so few files are worked on here.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from pipeline.common import console
from pipeline.common.errors import DataError

T = TypeVar("T")
R = TypeVar("R")

_FEW = 2000  # images that one process reads in about the time that others need to start
_TOGETHER = 32  # images handed out in one piece
_IN_FLIGHT = 2048  # images handed out at a time: bounds the memory and what Ctrl-C has to wait for


def available() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(work: Callable[[T], R], items: Sequence[T], images: int = 1) -> Generator[R]:
    """`work(item)` of all items, in their order; `work` and all it is given and returns can be pickled.

    An item takes as long as reading so many `images`. Who may not come to the end closes it, so that the processes end.

    Raises:
        DataError: a process was killed, by a person or for want of memory.
        whatever `work` raises.
    """
    processes = min(available(), len(items) * images // _FEW)
    if processes < 2:
        yield from map(work, items)
        return
    together = max(1, _TOGETHER // images)
    most = max(2 * processes, _IN_FLIGHT // (together * images))
    try:  # spawn: a fork of a process that has threads can hang
        started = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin)
    except OSError as error:
        console.warn(f"one core of {processes}: processes cannot talk to each other ({error.strerror}; is /dev/shm writable?)")
        yield from map(work, items)
        return
    with started as pool:
        done: deque[Future[list[R]]] = deque()
        try:
            for start in range(0, len(items), together):
                done.append(pool.submit(_all, work, items[start : start + together]))
                if len(done) == most:
                    yield from done.popleft().result()
            while done:
                yield from done.popleft().result()
        except BrokenProcessPool:
            raise DataError("a process that worked on images was killed, perhaps for want of memory; run it again") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _all(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [work(item) for item in items]


def _begin() -> None:
    """Set a process up: Ctrl-C is its parent's to hear, and it ends when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
