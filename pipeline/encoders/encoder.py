"""An encoder as params.yaml says it: what its vectors follow from, its network, and vectors of batches of images.

A batch always has the same shape: what is missing is filled up, so that an image's vector doesn't depend on which images are
made with it; on some processors but for its last digits, by its place in the batch. Everything is float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common import files
from pipeline.common.errors import ConfigError, DataError
from pipeline.common.params_learning import ApplicationEncoder, PackageEncoder
from pipeline.encoders import applications, description, efficientnet_lite0, kept_network
from pipeline.machine import device
from pipeline.machine.device import Device

Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]

_BATCH = {"cpu": 32, "gpu": 256}
_NO_DIFFERENCE = {"precision", "batches"}  # of what a device is: precision is float32 here


class Encoder:
    """A network with its weights, ready on `machine`."""

    def __init__(self, name: str, settings: PackageEncoder | ApplicationEncoder, machine: Device) -> None:
        """Read the weights.

        Raises:
            ConfigError: the settings name no weights that are here, or the weights are others than the settings name.
            DataError: their file cannot be read.
        """
        import keras  # TensorFlow takes seconds: not where only names are asked for

        keras.utils.clear_session(free_memory=False)  # layers are named from 1 on, and `save` writes the names
        weights = _weights_file(name, settings)
        self.px = settings.px
        self.prepare: Callable[[Images], Any]
        if isinstance(settings, ApplicationEncoder):
            self._network, self.prepare = applications.build(name, settings.application, settings.px, weights)
        else:
            self._network, self.prepare = efficientnet_lite0.build(settings.px), np.asarray
            efficientnet_lite0.take_weights(self._network, weights)
        self._forward = device.forward(self._network, machine)
        self.batch, self._ahead = _BATCH[machine.kind], int(machine.kind == "gpu")
        self.dimension = int(self._network.output_shape[-1])
        self.description = description.described(settings.model_dump(exclude={"file"}), self.dimension)
        of_device = {key: value for key, value in asdict(machine).items() if key not in _NO_DIFFERENCE}
        self.digest_here = description.digest({**self.description, "machine": of_device, "batch": self.batch})

    def vectors(self, images: Iterable[Images]) -> Iterator[Vectors]:
        """`(n, dimension)` for the next n images `(px, px, 3)`, at most a batch at a time.

        A GPU works on one batch while the next is put together.
        """
        images, begun = iter(images), deque[tuple[Any, int]]()
        while some := list(islice(images, self.batch)):
            batch = np.zeros((self.batch, self.px, self.px, 3), dtype=np.uint8)
            batch[: len(some)] = some
            begun.append((self._forward(self.prepare(batch)), len(some)))
            if len(begun) > self._ahead:
                yield _made(*begun.popleft())
        while begun:
            yield _made(*begun.popleft())

    def save(self, folder: Path) -> Path:
        """Keep the network as JSON, and its weights as HDF5, each by its place in it; returns the weights' file."""
        return kept_network.save(self._network, folder)


def _made(outputs: Any, count: int) -> Vectors:
    vectors = np.asarray(outputs, dtype=np.float32)[:count]
    if not np.isfinite(vectors).all():
        raise DataError("the encoder makes vectors that hold no numbers; its weights are damaged or of another network")
    return vectors


def _weights_file(name: str, settings: PackageEncoder | ApplicationEncoder) -> Path:
    file = efficientnet_lite0.weights_file() if isinstance(settings, PackageEncoder) else Path(settings.file)
    if not file.is_file():
        raise ConfigError(f"encoders.{name}: {file} is not there; put the weights' file there, or name it where it is")
    if (found := files.sha256(file)) != settings.weights_sha256:
        raise ConfigError(
            f"encoders.{name}.weights_sha256: {file} has {found}, not {settings.weights_sha256}; bring the file that is meant, "
            "or name the digest of this one if it is"
        )
    return file
