"""How many trainings run at once, and on which GPU: one on each; on processors alone as many as the cores allow.

A training uses all cores unless TRAIN_THREADS says otherwise, and the number of threads is part of its result, so running
several never changes it: it only makes room. TRAININGS_AT_ONCE overrules.

A place is a file lock among the checkpoints: a flow and the workers of one checkout share them, and none stays occupied by the
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

from flows import ROOT, dvc_stages

_LOOK_EVERY_S = 0.2


class Slots:
    """Hands out the places where a training may run."""

    def __init__(self, gpus: list[str], at_once: int, folder: Path) -> None:
        self._folder = folder
        self._places: list[tuple[str, dict[str, str]]] = []
        for number in range(at_once):
            if gpus:
                turn, gpu = divmod(number, len(gpus))
                self._places.append((f"gpu-{gpus[gpu]}-{turn}", {"CUDA_VISIBLE_DEVICES": gpus[gpu]}))
            else:
                self._places.append((f"cpu-{number}", {}))
        self.at_once = at_once

    @contextlib.contextmanager
    def one(self) -> Iterator[dict[str, str]]:
        """Wait for a place; the variables that a training in it needs.

        Raises:
            StageError: the flow has ended meanwhile.
        """
        with contextlib.ExitStack() as stack:
            while (variables := self._taken(stack)) is None:
                if dvc_stages.shut_within(_LOOK_EVERY_S):
                    raise dvc_stages.StageError("ended with the flow, before there was a place to train")
            yield variables

    def _taken(self, stack: contextlib.ExitStack) -> dict[str, str] | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, variables in self._places:
            with contextlib.suppress(Timeout):
                stack.enter_context(FileLock(self._folder / f"{name}.lock", timeout=0, thread_local=False))
                return variables
        return None


def here(at_once: int | None = None, folder: Path = ROOT / ".checkpoints" / "places") -> Slots:
    """The places of this machine, or as many as asked for; `folder` keeps who is where.

    Raises:
        ValueError: TRAININGS_AT_ONCE or TRAIN_THREADS is not a whole number above 0.
    """
    gpus = _gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = len(gpus) or max(1, cores // _whole("TRAIN_THREADS", cores))
    return Slots(gpus, at_once or _whole("TRAININGS_AT_ONCE", usual), folder)


def _gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES lists them, else all that the driver has."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for text in visible.split(",") if (name := text.strip()) not in ("", "-1")]
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
