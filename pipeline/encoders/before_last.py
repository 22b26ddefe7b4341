"""A network of this project as an encoder: without its last unit, so that what that unit would have weighed is the vector.

A batch always has the same shape, so that an image's vector does not depend on its company. Everything is float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.machine import device

import keras  # isort: skip  # after device, which keeps TensorFlow's greetings off the terminal

assert device  # imported for what it does

_BATCH = 256


def cut(network: Any) -> Any:
    """The network up to the layer before its last."""
    return keras.Model(network.inputs, network.layers[-1].input)


def dimension(encoder: Any) -> int:
    """How many numbers its vectors have."""
    return int(encoder.output_shape[-1])


def vectors(encoder: Any, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """`(n, dimension)` of n images `(px, px, 3)`, of which a few hundred are in memory at a time."""
    waiting, made = iter(images), [np.empty((0, dimension(encoder)), dtype=np.float32)]
    while some := list(islice(waiting, _BATCH)):
        batch = np.zeros((_BATCH, *encoder.input_shape[1:]), dtype=np.uint8)
        batch[: len(some)] = some
        made.append(np.asarray(encoder.predict_on_batch(batch), dtype=np.float32)[: len(some)])
    return np.concatenate(made)
