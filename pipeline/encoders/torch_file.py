"""The tensors of a file that torch saved before version 1.6, without torch: nothing but tensors is ever unpickled.

Such a file is five pickles (a magic number, the protocol, the machine, what was saved, the names of its storages) and then
the storages' bytes: https://github.com/pytorch/pytorch/blob/main/torch/serialization.py, `_legacy_load`.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import DataError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4"}

Tensor = NDArray[Any]


def tensors(file: Path) -> dict[str, Tensor]:
    """Name -> tensor of a saved `state_dict`.

    Raises:
        DataError: the file is something else, is damaged, or holds anything beside tensors.
    """
    try:
        with file.open("rb") as opened:
            return _tensors(opened, file.stat().st_size)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except Exception as error:  # an unpickler raises whatever it stumbles over
        raise DataError(f"{file}: not a file of torch's that holds tensors alone: {error}; bring the published one") from None


class _Unpickler(pickle.Unpickler):
    """Knows four names; storages are made empty, and filled when their bytes come."""

    def __init__(self, file: BufferedReader, room_bytes: int) -> None:
        super().__init__(file)
        self.storages: dict[str, Tensor] = {}
        self._room_bytes = room_bytes

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any] | str] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _view,
            **{("torch", storage): dtype for storage, dtype in _DTYPES.items()},
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or view is not None or dtype not in _DTYPES.values():
            raise pickle.UnpicklingError("a storage of an unknown kind")
        if key not in self.storages:
            self._room_bytes -= count * np.dtype(dtype).itemsize
            if count < 0 or self._room_bytes < 0:
                raise pickle.UnpicklingError("its storages are larger than the file")
            self.storages[key] = np.zeros(count, dtype)
        return self.storages[key]


def _view(storage: Tensor, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object) -> Tensor:
    """A tensor as a view of its storage, never of what lies beyond it."""
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min([offset, *shape, *strides]) < 0 or (0 not in shape and last >= len(storage)):
        raise pickle.UnpicklingError("a tensor lies beyond its storage")
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, [stride * storage.itemsize for stride in strides])


def _tensors(file: BufferedReader, size_bytes: int) -> dict[str, Tensor]:
    if (_load(file, size_bytes), _load(file, size_bytes)) != (_MAGIC, _PROTOCOL):
        raise pickle.UnpicklingError("another format")
    if not _load(file, size_bytes)["little_endian"]:
        raise pickle.UnpicklingError("numbers with their highest byte first")
    unpickler = _Unpickler(file, size_bytes)
    saved = unpickler.load()
    for key in _load(file, size_bytes):
        storage = unpickler.storages[key]
        count = int.from_bytes(file.read(8), "little")
        if count != len(storage) or file.readinto(storage.view("u1").data) != storage.nbytes:
            raise pickle.UnpicklingError("a storage ends early")
    if not isinstance(saved, dict) or not all(isinstance(value, np.ndarray) for value in saved.values()):
        raise pickle.UnpicklingError("it holds something beside tensors")
    return dict(saved)


def _load(file: BufferedReader, size_bytes: int) -> Any:
    return _Unpickler(file, size_bytes).load()
