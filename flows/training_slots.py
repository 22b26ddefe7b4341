"""How many trainings run at once, and on which GPU: one on each; on processors alone as many as the cores allow.

A training uses all cores unless TRAIN_THREADS says otherwise, and the number of threads is part of its result, so running
several never changes it: it only makes room. TRAININGS_AT_ONCE overrules.

A slot is a file lock among the checkpoints: a flow and the workers of one checkout share them, and none stays occupied by the
dead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from flows import ROOT
from flows.child_process import flow_ends_within
from flows.errors import FlowError

_LOOK_EVERY_S = 0.2


class Slots:
    """The slots of a machine, each of which holds one training at a time."""

    def __init__(self, gpus: list[str], at_once: int, folder: Path) -> None:
        self._folder = folder
        self._slots: list[tuple[str, dict[str, str]]] = []
        for number in range(at_once):
            if gpus:
                turn, gpu = divmod(number, len(gpus))
                self._slots.append((f"gpu-{gpus[gpu]}-{turn}", {"CUDA_VISIBLE_DEVICES": gpus[gpu]}))
            else:
                self._slots.append((f"cpu-{number}", {}))
        self.at_once = at_once

    @contextlib.contextmanager
    def take(self) -> Iterator[dict[str, str]]:
        """Occupy a slot for as long as the block lasts, once one is free; the variables that a training in it needs.

        Raises:
            FlowError: the flow has ended meanwhile.
        """
        with contextlib.ExitStack() as stack:
            while (variables := self._take_free(stack)) is None:
                if flow_ends_within(_LOOK_EVERY_S):
                    raise FlowError("ended with the flow, before a training slot was free")
            yield variables

    def _take_free(self, stack: contextlib.ExitStack) -> dict[str, str] | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, variables in self._slots:
            with contextlib.suppress(Timeout):
                stack.enter_context(FileLock(self._folder / f"{name}.lock", timeout=0, thread_local=False))
                return variables
        return None


def find_slots(at_once: int | None = None, folder: Path = ROOT / ".checkpoints" / "places") -> Slots:
    """The slots of this machine, or as many as asked for; their locks lie in `folder`.

    Raises:
        ValueError: TRAININGS_AT_ONCE or TRAIN_THREADS is not a whole number above 0.
    """
    gpus = _find_gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = len(gpus) or max(1, cores // _read_whole_number("TRAIN_THREADS", cores))
    return Slots(gpus, at_once or _read_whole_number("TRAININGS_AT_ONCE", usual), folder)


def _find_gpus() -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES lists, else all that the driver has; none without a driver."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for text in visible.split(",") if (name := text.strip()) not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return listed.stdout.split() if listed.returncode == 0 else []


def _read_whole_number(name: str, usual: int) -> int:
    text = os.environ.get(name, "") or str(usual)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}: a whole number above 0, not {text!r}")
    return int(text)
