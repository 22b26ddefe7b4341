"""How many trainings run at once, and on which GPU: some on each; on processors alone as many as the cores allow.

On a GPU TRAININGS_PER_GPU, else as many as its free memory holds, four at most: what one leaves idle while it validates, writes
its checkpoint, starts and compiles is the others' (docs/speed.md). On processors a training uses all cores unless TRAIN_THREADS
says otherwise, and the number of threads is part of its result, so running several never changes it: it only makes room.
TRAININGS_AT_ONCE overrules both.

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
_MOST_PER_GPU = 4
_MIB_PER_TRAINING = 4096  # one of 72 px takes 1,300, its libraries included; of 144 px, four times the activations


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
        ValueError: TRAININGS_AT_ONCE, TRAININGS_PER_GPU or TRAIN_THREADS is not a whole number above 0.
    """
    gpus = _find_gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    per_gpu = _read_whole_number("TRAININGS_PER_GPU", _per_gpu(gpus))
    usual = len(gpus) * per_gpu or max(1, cores // _read_whole_number("TRAIN_THREADS", cores))
    return Slots(gpus, at_once or _read_whole_number("TRAININGS_AT_ONCE", usual), folder)


def _find_gpus() -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES lists, else all that the driver has; none without a driver."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for text in visible.split(",") if (name := text.strip()) not in ("", "-1")]
    return _ask_driver("index") or []


def _per_gpu(gpus: list[str]) -> int:
    """As many trainings as the GPU with the least free memory holds; one where the driver does not say."""
    free_mib = _ask_driver("memory.free", *gpus) if gpus else None
    return max(1, min(_MOST_PER_GPU, *(int(text) // _MIB_PER_TRAINING for text in free_mib))) if free_mib else 1


def _ask_driver(what: str, *gpus: str) -> list[str] | None:
    """What the driver says of each GPU, in whole numbers; None without a driver, or where it does not know them."""
    if not shutil.which("nvidia-smi"):
        return None
    query = [
        "nvidia-smi",
        f"--query-gpu={what}",
        "--format=csv,noheader,nounits",
        *([f"--id={','.join(gpus)}"] if gpus else []),
    ]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    told = listed.stdout.split()
    return told if listed.returncode == 0 and all(text.isdecimal() for text in told) else None


def _read_whole_number(name: str, usual: int) -> int:
    text = os.environ.get(name, "") or str(usual)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}: a whole number above 0, not {text!r}")
    return int(text)
