"""The device a training runs on, set up once per process, before any network is built.

Precision, threads, device and Keras' backend change the last digits of a result, so they are chosen here openly and recorded
in every model's spec. The one module that knows the backends: TensorFlow, or JAX where it is installed and KERAS_BACKEND=jax.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import reprlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pipeline.common import environment, files, parallel
from pipeline.common.errors import ConfigError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
environment.require_backend()


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
    import keras  # which imports its backend

_BFLOAT16_GPU_CAPABILITY = (8, 0)  # NVIDIA Ampere, the first with bfloat16 matrix units
_BFLOAT16_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
_MALLOPT = {"M_TRIM_THRESHOLD": -1, "M_TOP_PAD": -2, "M_MMAP_MAX": -4}  # malloc.h

Precision: TypeAlias = Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class Device:
    """What a training's numbers depend on besides its inputs and parameters."""

    kind: Literal["cpu", "gpu"]
    name: str
    precision: Precision
    xla: bool
    batches: Literal["host", "device"]  # where they are made: one at a time by the host, or on the device, many steps a call
    threads: int
    onednn: bool
    xla_flags: str
    backend: str


def prepare(precision: Literal["auto", "bfloat16", "float32"]) -> Device:
    """Use the GPU when one is visible, else all cores or as many as TRAIN_THREADS says; make every operation deterministic.

    bfloat16 is chosen where the processor has it: without, it is emulated and slower than float32.

    What XLA compiles is kept in the folder that TRAIN_PROGRAMS names, if any, and taken from there by other processes.

    Raises:
        ConfigError: TRAIN_THREADS or TRAIN_PROGRAMS cannot be had.
    """
    _keep_memory()
    return _jax(precision) if backend() == "jax" else _tensorflow(precision)


def backend() -> str:
    """Keras'."""
    return str(keras.config.backend())


def whole_float32() -> None:
    """Have products in float32 worked out in float32 on GPUs too, which else round what they multiply to 10 bits (TF32)."""
    if backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
    else:
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")


def forward(network: Any, machine: Device) -> Callable[[Any], Any]:
    """Outputs of batches of one shape; on a GPU they may still be in the making when the call returns.

    With XLA where the machine has it: Keras' own `predict` leaves it out where operations are deterministic, without a word.
    """
    if machine.backend != "tensorflow" or not machine.xla:
        return network.predict_on_batch  # type: ignore[no-any-return]  # keras has no types
    import tensorflow as tf

    return tf.function(lambda images: network(images, training=False), jit_compile=True, autograph=False)  # type: ignore[no-any-return]  # no types


def _tensorflow(precision: Literal["auto", "bfloat16", "float32"]) -> Device:
    """XLA is for GPUs: on processors it made bfloat16 about 6 times slower."""
    import tensorflow as tf

    # What must be the same twice is not tuned by trying. XLA's own products are slow untuned, cuBLAS's are not: 412 instead
    # of some 15 us for the first dense layer of PML_RARA, two fifths of a step.
    _have_xla("xla_gpu_enable_triton_gemm=false")
    threads = _threads()
    _keep_programs()
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
    return Device(
        kind="gpu" if gpus else "cpu",
        name=name,
        precision=_chosen(precision, has_bfloat16),
        xla=bool(gpus),
        batches="device",
        threads=threads,
        onednn=os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",
        xla_flags=os.environ["XLA_FLAGS"],
        backend="tensorflow",
    )


def _jax(precision: Literal["auto", "bfloat16", "float32"]) -> Device:
    """For a GPU on which TensorFlow does not run. JAX always compiles with XLA; on processors it takes all cores."""
    _have_xla("xla_gpu_deterministic_ops=true")
    import jax

    if (threads := _threads()) != (all_cores := parallel.available()):
        raise ConfigError(f"TRAIN_THREADS: JAX takes all {all_cores} cores, not {threads}; unset it, or KERAS_BACKEND")
    if os.environ.get("TRAIN_PROGRAMS"):
        raise ConfigError("TRAIN_PROGRAMS: JAX's programs are not kept; unset it, or KERAS_BACKEND")
    device = jax.devices()[0]
    is_gpu = device.platform == "gpu"
    capability = tuple(int(part) for part in str(getattr(device, "compute_capability", "0.0")).split("."))
    return Device(
        kind="gpu" if is_gpu else "cpu",
        name=str(device.device_kind) if is_gpu else _processor()[0],
        precision=_chosen(precision, is_gpu and capability >= _BFLOAT16_GPU_CAPABILITY),
        xla=True,
        batches="host",
        threads=threads,
        onednn=False,
        xla_flags=os.environ["XLA_FLAGS"],
        backend="jax",
    )


def _have_xla(setting: str) -> None:
    """Add a setting to XLA's, unless XLA_FLAGS has one of that name; read when the first device is asked for."""
    flags = os.environ.get("XLA_FLAGS", "")
    if setting.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{setting}".strip()


def _keep_programs() -> None:
    """Have TensorFlow keep what XLA compiles, and look there first. It reads this setting once, before it looks for devices.

    XLA need not make the same program of the same steps in two processes: weighing what to fuse, it adds up in the order of
    addresses (https://github.com/openxla/xla/issues/49047). TensorFlow knows a program by its steps, threads and the numbers
    of the GPUs that it sees; for what else decides on one (device, driver, libraries, XLA's settings) there is a folder each.
    """
    if not (text := os.environ.get("TRAIN_PROGRAMS")):
        return
    place = environment.place("TRAIN_PROGRAMS")
    if not place.is_absolute():
        raise ConfigError(f"TRAIN_PROGRAMS: must be the whole path of a folder, not {reprlib.repr(text)}")
    installed = (f"{found.metadata['Name']} {found.version}".lower() for found in distributions())
    libraries = sorted(library for library in installed if library.startswith(("nvidia-", "tensorflow")))
    name, flags = _processor()
    known = json.dumps([_gpu() or [name, *sorted(flags)], os.environ["XLA_FLAGS"], libraries])
    folder = place / hashlib.sha256(known.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.require_writable(folder)
    except OSError as error:
        raise ConfigError(f"TRAIN_PROGRAMS: {folder} cannot be written ({error.strerror}); name another folder") from None
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    os.environ["TF_XLA_FLAGS"] = f'--tf_xla_persistent_cache_directory="{quoted}"'


def _gpu() -> list[str]:
    """Name of the GPU that TensorFlow will find first, and the driver's version, as the driver says; empty where none is."""
    name, number, release = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(number), 0) or driver.cuDeviceGetName(name, len(name), number):
        return []
    driver.cuDriverGetVersion(ctypes.byref(release))
    return [name.value.decode(errors="replace"), str(release.value)]


def room_bytes() -> int:
    """How much of the device's memory cells may take: a quarter of what is free on the GPU now, or of the host's memory.

    Activations take gigabytes, and several trainings may share a GPU. Where the driver does not say, none.
    """
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    free, total, context = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    # TensorFlow's own context, which has only to be made this thread's: there is no other way to ask TensorFlow.
    if driver.cuInit(0) or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) or driver.cuCtxPushCurrent_v2(context):
        return 0
    failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    driver.cuDevicePrimaryCtxRelease_v2(0)
    return 0 if failed else free.value // 4


def _chosen(asked: Literal["auto", "bfloat16", "float32"], has_bfloat16: bool) -> Precision:
    if asked != "auto":
        return asked
    return "bfloat16" if has_bfloat16 else "float32"


def _keep_memory() -> None:
    """Let the C library reuse memory instead of handing it back after every step, to be cleared and mapped anew.

    Without it half of a training's time in bfloat16 on a CPU was the kernel's (in float32 it makes no difference); no number
    changes. Only glibc has these settings.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in (("M_TRIM_THRESHOLD", 2**31 - 1), ("M_TOP_PAD", 2**28), ("M_MMAP_MAX", 0)):
            mallopt(_MALLOPT[option], value)


def _threads() -> int:
    text = os.environ.get("TRAIN_THREADS", "")
    if not text:
        return parallel.available()
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise ConfigError(f"TRAIN_THREADS: must be a whole number from 1 to 9999, not {reprlib.repr(text)}")
    return int(text)


def _processor() -> tuple[str, set[str]]:
    """Name and feature flags of the processor, as far as the operating system tells."""
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return "unknown processor", set()
    pairs = (line.partition(":") for line in listing.read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    return fields.get("model name", "unknown processor"), set(fields.get("flags", "").split())
