"""A network of keras.applications, up to the mean of its last maps, with weights from a file that the user brings.

Nothing is downloaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import ConfigError
from pipeline.machine import device

# isort: split
import keras  # after device, which keeps TensorFlow's greetings off the terminal

assert device  # imported for what it does


def build(name: str, application: str, px: int, weights: Path) -> tuple[Any, Callable[[NDArray[np.uint8]], Any]]:
    """The network with its weights, and what its images go through before, as its own module has it.

    Raises:
        ConfigError: there is no such application, it doesn't take `px`, or the weights are not its own.
    """
    make: Any = getattr(keras.applications, application, None)
    if not callable(make):
        raise ConfigError(f"encoders.{name}.application: no {application!r} in keras.applications; take a name of that")
    if weights.suffix != ".h5":
        raise ConfigError(f"encoders.{name}.file: {weights} must end in .h5, as the weights do that Keras publishes")
    try:
        network = make(include_top=False, weights=None, pooling="avg", input_shape=(px, px, 3))
    except ValueError as error:
        raise ConfigError(f"encoders.{name}.px: {application} doesn't take {px}: {str(error).splitlines()[0]}") from None
    try:
        network.load_weights(weights)
    except Exception as error:  # Keras and HDF5 raise whatever they stumble over
        what = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"encoders.{name}.file: {weights} doesn't hold the weights of {application} without its top: {what}; bring those"
        ) from None
    preprocess = importlib.import_module(make.__module__).preprocess_input
    return network, lambda images: preprocess(images.astype(np.float32))
