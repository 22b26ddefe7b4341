"""How many trainings run at once, and on which GPU: one on each; on processors alone as many as the cores allow.

A training uses all cores unless TRAIN_THREADS says otherwise, and the number of threads is part of its result, so running
several never changes it: it only makes room. TRAININGS_AT_ONCE overrules.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
from collections.abc import Iterator


class Slots:
    """Hands out the places where a training may run."""

    def __init__(self, gpus: list[str], at_once: int) -> None:
        self._places: queue.Queue[dict[str, str]] = queue.Queue()
        for number in range(at_once):
            self._places.put({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})
        self.at_once = at_once

    @contextlib.contextmanager
    def one(self) -> Iterator[dict[str, str]]:
        """Wait for a place; the variables that a training in it needs."""
        place = self._places.get()
        try:
            yield place
        finally:
            self._places.put(place)


def here(at_once: int | None = None) -> Slots:
    """The places of this machine, or as many as asked for.

    Raises:
        ValueError: TRAININGS_AT_ONCE or TRAIN_THREADS is not a whole number above 0.
    """
    gpus = _gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = len(gpus) or max(1, cores // _whole("TRAIN_THREADS", cores))
    return Slots(gpus, at_once or _whole("TRAININGS_AT_ONCE", usual))


def _gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES lists them, else all that the driver has."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return listed.stdout.split() if listed.returncode == 0 else []


def _whole(name: str, usual: int) -> int:
    text = os.environ.get(name, "") or str(usual)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}: a whole number above 0, not {text!r}")
    return int(text)
