"""What one writes first: every image opened and resized with Pillow in every epoch, float32, Keras' defaults."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.common import config, paths


def way(settings: config.Config, subtype: str, images: list[pd.DataFrame], steps: int) -> Callable[[], Any]:
    """Does `steps` steps of it."""
    import keras

    layers, px, half = keras.layers, settings.pack.px, settings.train.batch_size // 2
    network = settings.network_of(subtype, "published")
    own = [table[table["role"] == "train"]["path"].tolist() for table in images]
    x = inputs = keras.Input((px, px, 3))
    for number, filters in enumerate([network.first_conv, *network.conv]):
        x = layers.Conv2D(filters, settings.train.kernel_px, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(layers.BatchNormalization()(x) if number else x)
    x = layers.Flatten()(x)
    for units in network.dense:
        x = layers.Dense(units, activation="relu")(x)
    classifier = keras.Model(inputs, layers.Dense(1, activation="sigmoid", dtype="float32")(x))
    classifier.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])

    def opened(path: str) -> Any:
        with Image.open(paths.RAW / path) as image:
            return np.asarray(image.convert("RGB").resize((px, px)), dtype=np.float32) / 255

    class Files(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
        def __len__(self) -> int:
            return steps

        def __getitem__(self, step: int) -> Any:
            chosen = [paths_[(step * half + n) % len(paths_)] for paths_ in own for n in range(half)]
            return np.stack([opened(path) for path in chosen]), np.repeat([0.0, 1.0], half)[:, None]

    return partial(classifier.fit, Files(), epochs=1, shuffle=False, verbose=0)
