"""A network, rebuilt in code from its spec: nothing is ever unpickled.

This file travels with every registered model and therefore imports nothing of this package. Images are uint8
`(batch, px, px, 3)`; outputs are logits `(batch,)`, float32: positive speaks for the subtype.

A spec holds `px`, `um`, `normalisation` (`mean` and `std` of R, G, B in the training images), `precision`
("float32" or "bfloat16") and `layers`, first to last:
    {"kind": "conv", "filters": f, "kernel_px": k, "batch_norm_momentum": m or null, "pool": true or false}
    {"kind": "shrink", "factor": f}       each block of f x f pixels becomes its mean
    {"kind": "mean"}                      each map of the last convolution becomes its mean; without it all places are kept
    {"kind": "dense", "units": u}
    {"kind": "dropout", "rate": r}
The last single unit is not listed: every network has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

# isort: split
# Where a served model is the first to ask for Keras, no keras.json is read. Where somebody else was, types and the order of
# dimensions still are those below: no layer leaves them to Keras' defaults.
os.environ["KERAS_HOME"] = os.devnull
os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
import keras

_IMAGES_AT_ONCE = 256
_DIMENSIONS = "channels_last"


def build(
    spec: dict[str, Any], batch_norm: Any = keras.layers.BatchNormalization, max_pool: Any = keras.layers.MaxPooling2D
) -> Any:
    """The untrained network of `spec`; `batch_norm` and `max_pool` are the classes of these layers.

    Raises:
        ValueError: the spec holds a layer this code does not know.
    """
    dtype = "mixed_bfloat16" if spec["precision"] == "bfloat16" else "float32"
    images = keras.Input((spec["px"], spec["px"], 3), dtype="uint8")
    x = keras.layers.Rescaling(  # (x - mean) / std
        scale=[[[1 / value for value in spec["normalisation"]["std"]]]],  # as (1, 1, 3) Keras' default order turns nothing
        offset=[-m / s for m, s in zip(spec["normalisation"]["mean"], spec["normalisation"]["std"], strict=True)],
        dtype=dtype,
    )(images)
    flat = False
    for layer in spec["layers"]:
        match layer:
            case {
                "kind": "conv",
                "filters": filters,
                "kernel_px": kernel,
                "batch_norm_momentum": momentum,
                "pool": pool,
            }:
                x = keras.layers.Conv2D(
                    filters, kernel, padding="same", activation="relu", data_format=_DIMENSIONS, dtype=dtype
                )(x)
                if momentum is not None:
                    x = batch_norm(momentum=momentum, dtype=dtype)(x)
                if pool:
                    x = max_pool(data_format=_DIMENSIONS, dtype=dtype)(x)
            case {"kind": "shrink", "factor": factor}:
                x = keras.layers.AveragePooling2D(factor, data_format=_DIMENSIONS, dtype=dtype)(x)
            case {"kind": "mean"}:
                x = keras.layers.GlobalAveragePooling2D(data_format=_DIMENSIONS, dtype=dtype)(x)
                flat = True
            case {"kind": "dropout", "rate": rate}:
                x = keras.layers.Dropout(rate, dtype=dtype)(x)
            case {"kind": "dense", "units": units}:
                x = x if flat else keras.layers.Flatten(data_format=_DIMENSIONS, dtype=dtype)(x)
                flat = True
                x = keras.layers.Dense(units, activation="relu", dtype=dtype)(x)
            case _:
                raise ValueError(f"the spec has a layer this code does not know: {layer}")
    x = x if flat else keras.layers.Flatten(data_format=_DIMENSIONS, dtype=dtype)(x)
    return keras.Model(images, keras.layers.Dense(1, dtype="float32")(x))


def seed_everything(seed: int) -> None:
    """Fix the initial weights of the next network built."""
    keras.utils.set_random_seed(seed)


def logits(network: Any, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """`(n,)` for n images `(px, px, 3)`, of which a few hundred are in memory at a time."""
    images = iter(images)
    parts = [np.empty(0, dtype=np.float32)]
    while batch := list(islice(images, _IMAGES_AT_ONCE)):
        parts.append(np.asarray(network.predict_on_batch(np.stack(batch)), dtype=np.float32)[:, 0])
    return np.concatenate(parts)
