"""What a run takes from the machine it finds itself on: no variable of a tool changes a result unrecorded.

Tools read their settings when they are imported, so `settle` is called before any of them is. Which variables and files are
read, and what becomes of them, docs/operations.md lists.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pipeline.common.errors import ConfigError

BACKENDS = ("tensorflow", "jax")

# Settings of tools that change numbers, kernels or pictures; some by a name that no release of the tool promises to keep.
_OF_TOOLS = (
    *("TF_", "KERAS_", "ONEDNN_", "DNNL_", "CUBLAS_", "CUDNN_", "NVIDIA_TF32_", "JAX_"),
    *("NPY_", "OPENBLAS_CORETYPE", "SCIPY_", "SKLEARN_", "PANDAS_", "ARROW_USER_SIMD", "HDF5_", "MATPLOTLIBRC"),
)
# Those of them that are recorded with every network, choose a device's memory, or say how much is logged.
_HEEDED = ("KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS", "TF_CPP_", "TF_GPU_ALLOCATOR", "JAX_PLATFORMS", "HDF5_USE_FILE_LOCKING")
# Of Python: libraries take their own help texts apart, which 2 leaves out, and a warning of theirs is no error of a run.
_OF_PYTHON = ("PYTHONOPTIMIZE", "PYTHONWARNINGS")


def settle() -> None:
    """Drop what others have set for themselves, for this process and all that it starts."""
    for name in list(os.environ):
        if name.startswith(_OF_TOOLS) and not name.startswith(_HEEDED):
            del os.environ[name]
    os.environ["KERAS_HOME"] = os.devnull  # no keras.json is there, and none can be written
    os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or BACKENDS[0]  # else keras.json's
    os.environ["MPLBACKEND"] = "agg"  # a notebook's kernel names one that is not installed here


def place(name: str) -> Path:
    """The file or folder that a variable names, `~` resolved, whether it is there or not.

    Raises:
        ConfigError: it names no place that can be looked at: somebody's home who is not known, a name too long.
    """
    try:
        found = Path(os.environ[name]).expanduser()
        found.exists()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{name}: names no place that can be looked at ({reason}); correct it") from None
    return found


def require_backend() -> None:
    """See to it that Keras can be imported.

    Raises:
        ConfigError: KERAS_BACKEND names a backend that this package does not know.
    """
    if (backend := os.environ["KERAS_BACKEND"]) not in BACKENDS:
        raise ConfigError(f"KERAS_BACKEND: must be {' or '.join(BACKENDS)}, not {backend!r}; unset it")


def run_program(main: Callable[[], int]) -> NoReturn:
    """Run `main` in an interpreter whose settings are ours: file names are UTF-8 whatever the locale says, for one.

    Python takes these when it starts, so where they differ it is started again, with the same arguments.
    """
    _have_streams()
    if sys.getfilesystemencoding() != "utf-8" or any(os.environ.get(name, "0") not in ("0", "1") for name in _OF_PYTHON):
        for name in _OF_PYTHON:
            os.environ.pop(name, None)
        os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": sys.stdout.encoding}  # the terminal's stays
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding cannot say
    sys.exit(main())


def _have_streams() -> None:
    """Where standard input, output or errors were closed, the next file opened would take their place, and what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115
