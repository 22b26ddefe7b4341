"""The device a training runs on, set up once per process, before any network is built.

Precision, threads and device change the last digits of a result, so they are chosen here openly and recorded in every
model's spec. The one module that imports TensorFlow.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import ConfigError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def _stderr_muted() -> Iterator[None]:
    """TensorFlow's libraries greet on file descriptor 2 before any log level counts; errors still raise."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _stderr_muted():
    import tensorflow as tf

_BFLOAT16_GPU_CAPABILITY = (8, 0)  # NVIDIA Ampere, the first with bfloat16 matrix units
_BFLOAT16_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
_MALLOPT = {"M_TRIM_THRESHOLD": -1, "M_TOP_PAD": -2, "M_MMAP_MAX": -4}  # malloc.h


@dataclass(frozen=True)
class Device:
    """What a training's numbers depend on besides its inputs and parameters."""

    kind: Literal["cpu", "gpu"]
    name: str
    precision: Literal["bfloat16", "float32"]
    xla: bool
    threads: int
    onednn: bool


def prepare(precision: Literal["auto", "bfloat16", "float32"]) -> Device:
    """Use the GPU when one is visible, else all cores or as many as TRAIN_THREADS says; make every operation deterministic.

    bfloat16 is chosen where the processor has it: without, it is emulated and slower than float32. XLA is used on a GPU
    only: on processors it made bfloat16 about 6 times slower.
    """
    threads = _threads()
    _keep_memory()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        has_bfloat16 = details.get("compute_capability", (0, 0)) >= _BFLOAT16_GPU_CAPABILITY
        name = str(details.get("device_name", "GPU"))
    else:
        name, flags = _processor()
        has_bfloat16 = bool(flags & _BFLOAT16_CPU_FLAGS)
    chosen: Literal["bfloat16", "float32"] = "bfloat16" if has_bfloat16 else "float32"
    return Device(
        kind="gpu" if gpus else "cpu",
        name=name,
        precision=chosen if precision == "auto" else precision,
        xla=bool(gpus),
        threads=threads,
        onednn=os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",
    )


def _keep_memory() -> None:
    """Let the C library reuse memory instead of handing it back after every step, to be cleared and mapped anew.

    Without it half of a training's time on a CPU is the kernel's; no number changes. Only glibc has these settings.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in (("M_TRIM_THRESHOLD", 2**31 - 1), ("M_TOP_PAD", 2**28), ("M_MMAP_MAX", 0)):
            mallopt(_MALLOPT[option], value)


def _threads() -> int:
    text = os.environ.get("TRAIN_THREADS", "")
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"TRAIN_THREADS: must be a whole number of at least 1, not {text!r}")
    return int(text)


def _processor() -> tuple[str, set[str]]:
    """Name and feature flags of the processor, as far as the operating system tells."""
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return "unknown processor", set()
    pairs = (line.partition(":") for line in listing.read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    return fields.get("model name", "unknown processor"), set(fields.get("flags", "").split())
