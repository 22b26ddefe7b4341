"""Images with a square planted in their cell, and a network that learns to see it: what an explanation has to find."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.common.params_judging import Explain
from pipeline.demo.cells import Place
from pipeline.explanation.tested import Patient

PX, SIDE, IMAGES = 32, 6, 6
SETTINGS = Explain(subtypes=[], patients=8, cells=2, blocks=8, random_orders=10)
SPEC = {
    "px": PX,
    "normalisation": {"mean": [180.0, 150.0, 180.0], "std": [40.0, 40.0, 40.0]},
    "precision": "float32",
    "layers": [
        {"kind": "conv", "filters": 8, "kernel_px": 3, "batch_norm_momentum": None, "pool": True},
        {"kind": "conv", "filters": 8, "kernel_px": 3, "batch_norm_momentum": 0.9, "pool": True},
        {"kind": "mean"},
        {"kind": "dense", "units": 8},
    ],
}


def draw(count: int, label: int, seed: int) -> tuple[np.ndarray, list[Place]]:
    """Images `(count, px, px, 3)`: a round cell on a bright ground, of label 1 with a red square in it."""
    rng, images, places = np.random.default_rng([seed, label]), [], []
    v, u = np.mgrid[:PX, :PX]
    for _ in range(count):
        centre = PX / 2 + rng.uniform(-3, 3, 2)
        body = (v - centre[0]) ** 2 + (u - centre[1]) ** 2 < 11**2
        image = np.where(body[..., None], (120, 90, 160), (215, 200, 215)) + rng.normal(0, 12, (PX, PX, 3))
        marks = np.zeros((PX, PX), bool)
        row, column = (centre + rng.uniform(-5, 5, 2) - SIDE / 2).round().astype(int)
        marks[row : row + SIDE, column : column + SIDE] = bool(label)
        image[marks] = (190, 60, 60)
        images.append(image.clip(0, 255).astype(np.uint8))
        places.append(Place(body, marks & body))
    return np.stack(images), places


def trained(steps: int, seed: int = 0) -> Any:
    """A network that saw so many batches of such images."""
    from pipeline.machine import device

    device.prepare("float32")
    import keras

    from pipeline.networks import model

    model.seed_everything(seed)
    network = model.build(SPEC)
    network.compile(keras.optimizers.Adam(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
    for step in range(steps):
        images = np.concatenate([draw(16, label, 1000 + step)[0] for label in (0, 1)])
        network.train_on_batch(images, np.repeat([0.0, 1.0], 16)[:, None].astype(np.float32))
    return network


def people(count: int) -> tuple[list[Patient], dict[str, np.ndarray], dict[str, Place]]:
    """Patients with the square in every second image, their images and where cells and squares lie, by path."""
    patients, images, places = [], {}, {}
    for number in range(count):
        own = [f"NPM1/P{number}/image_{k}.tif" for k in range(IMAGES)]
        for label in (0, 1):
            drawn, where = draw(IMAGES, label, number)
            for k in range(label, IMAGES, 2):
                images[own[k]], places[own[k]] = drawn[k], where[k]
        alone = np.arange(IMAGES) % 2.0
        patients.append(Patient(f"P{number}", 1, 0, own, 0.5, alone - 0.5, alone, lambda rows: 0.0, None))
    return patients, images, places
