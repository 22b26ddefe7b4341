"""An encoder rebuilt from two files, its network as JSON and its weights: what a registered bag model embeds images with.

It travels with every such model, so it imports nothing of this package. Vectors are those of the stage `embed` on a processor:
a batch always has the same shape, so that an image's vector does not depend on its company.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NETWORK, WEIGHTS = "encoder.network.json", "encoder.weights.h5"
BATCH = 32


def save(network: Any, folder: Path) -> Path:
    """Write both files, each weight by its place in the network (Keras' own files name layers); returns that of the weights."""
    import h5py

    (folder / NETWORK).write_text(network.to_json() + "\n", encoding="utf-8")
    with h5py.File(WEIGHTS, "w", driver="core", backing_store=False) as opened:  # in memory: on a full disk HDF5 may crash
        for place, weight in enumerate(network.get_weights()):
            opened[f"{place:04d}"] = weight
        opened.flush()
        image = opened.id.get_file_image()
    (folder / WEIGHTS).write_bytes(image)
    return folder / WEIGHTS


def rebuilt(folder: Path) -> Any:
    """The network of both files.

    Raises:
        ValueError, OSError: they do not make one, or one whose weights are not all numbers.
    """
    import h5py
    import keras  # TensorFlow takes seconds: not where only the names are asked for

    network = keras.models.model_from_json((folder / NETWORK).read_text(encoding="utf-8"))  # layers of Keras' own alone
    with h5py.File(folder / WEIGHTS) as stored:  # numbers, never objects
        network.set_weights([stored[place][()] for place in sorted(stored)])
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise ValueError("a weight is no number")
    return network


def load(folder: Path, about: Mapping[str, Any]) -> Callable[[Iterable[NDArray[np.uint8]]], NDArray[np.float32]]:
    """A function from images, uint8 `(px, px, 3)`, to vectors `(images, dimension)`; `about` is what encoder.json says.

    Raises:
        ValueError, OSError: the files do not make a network.
    """
    network, prepare = rebuilt(folder), preparing(about)
    px, dimension = int(about["px"]), int(about["dimension"])

    def vectors(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        waiting, made = iter(images), [np.empty((0, dimension), dtype=np.float32)]
        while some := list(islice(waiting, BATCH)):
            batch = np.zeros((BATCH, px, px, 3), dtype=np.uint8)
            batch[: len(some)] = some
            made.append(np.asarray(network.predict_on_batch(prepare(batch)), dtype=np.float32)[: len(some)])
        return np.concatenate(made)

    return vectors


def preparing(about: Mapping[str, Any]) -> Callable[[NDArray[np.uint8]], Any]:
    """What images go through before such a network: of those of keras.applications each has its own."""
    if "application" not in about:
        return np.asarray
    import keras

    module = importlib.import_module(getattr(keras.applications, str(about["application"])).__module__)
    return lambda images: module.preprocess_input(images.astype(np.float32))
