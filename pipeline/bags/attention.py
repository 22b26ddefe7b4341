"""Learner `attention`: gated attention over a patient's vectors (Ilse, Tomczak & Welling 2018, ICML), small, in Keras.

Each member of the ensemble holds out another inner fold of patients, stops when it no longer gets better on them, and keeps
its best epoch. An epoch shows every patient once, by as many vectors each, drawn anew. Importing this takes TensorFlow's
seconds and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.bags import inner_folds
from pipeline.bags.inner_folds import Ints
from pipeline.bags.scoring import Bag, Floats
from pipeline.common.params_learning import AttentionLearner
from pipeline.machine import device

# isort: split
import keras  # after device, which keeps TensorFlow's greetings off the terminal

_NAMES = ("hidden", "view", "gate", "attention", "out")  # of the layers, as of `scoring`'s coefficients


def fit(bags: Sequence[Bag], labels: Ints, settings: AttentionLearner, seed: int) -> dict[str, Floats]:
    """Coefficients for `scoring.attention`: arrays with a first axis over the members, but for mean and scale."""
    device.prepare("float32")
    mean = np.mean([bag.mean(axis=0, dtype=np.float64) for bag in bags], axis=0)
    spread = np.sqrt(np.mean([((bag - mean) ** 2).mean(axis=0) for bag in bags], axis=0))
    scale = np.where(spread > 0, spread, 1.0)
    scaled = [((bag - mean) / scale).astype(np.float32) for bag in bags]
    dealt = list(inner_folds.deal(labels, settings.inner_folds, seed))
    members = [_member(scaled, labels, *dealt[k % len(dealt)], settings, seed + k) for k in range(settings.members)]
    return {**{name: np.stack([member[name] for member in members]) for name in members[0]}, "mean": mean, "scale": scale}


def _member(
    bags: Sequence[Bag], labels: Ints, rows: Ints, held_out: Ints, settings: AttentionLearner, seed: int
) -> dict[str, Floats]:
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed % 2**32)
    rng = np.random.default_rng(seed)
    network = _network(bags[0].shape[1], settings)
    judged = _drawn([bags[row] for row in held_out], settings.images_per_patient, np.random.default_rng(seed))
    best, kept, waited = np.inf, network.get_weights(), 0
    weights = inner_folds.class_weights(labels[rows]) * len(rows)
    for _ in range(settings.max_epochs):
        order = rng.permutation(len(rows))
        shown = _drawn([bags[row] for row in rows[order]], settings.images_per_patient, rng)
        for start in range(0, len(order), settings.batch_size):
            part = slice(start, start + settings.batch_size)
            network.train_on_batch(shown[part], labels[rows[order[part]], None].astype(np.float32), weights[order[part]])
        logits = np.asarray(network(judged, training=False), dtype=np.float64)[:, 0]
        loss = inner_folds.log_loss(labels[held_out], logits)
        waited = 0 if loss < best else waited + 1
        if loss < best:
            best, kept = loss, network.get_weights()
        if waited >= settings.patience:
            break
    network.set_weights(kept)
    found: dict[str, Floats] = {}
    for name in _NAMES:
        kernel, *bias = (np.asarray(values, dtype=np.float64) for values in network.get_layer(name).get_weights())
        found[name] = kernel[:, 0] if name in ("attention", "out") else kernel
        found |= {f"{name}_bias": values[0] if name == "out" else values for values in bias}
    return found


def _network(dimension: int, settings: AttentionLearner) -> Any:
    """Vectors `(patients, images, dimension)` to logits `(patients, 1)`."""
    images = keras.Input((None, dimension))
    hidden = keras.layers.Dense(settings.hidden, activation="relu", name="hidden")(images)
    seen = keras.layers.Dropout(settings.dropout)(hidden)
    view = keras.layers.Dense(settings.attention, activation="tanh", name="view")(seen)
    gate = keras.layers.Dense(settings.attention, activation="sigmoid", name="gate")(seen)
    weights = keras.layers.Dense(1, use_bias=False, name="attention")(view * gate)
    weights = keras.layers.Softmax(axis=1)(weights)
    pooled = keras.layers.Flatten()(keras.layers.Dot(axes=1)([weights, seen]))
    network = keras.Model(images, keras.layers.Dense(1, name="out")(pooled))
    network.compile(
        keras.optimizers.AdamW(settings.learning_rate, weight_decay=settings.weight_decay),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return network


def _drawn(bags: Sequence[Bag], count: int, rng: np.random.Generator) -> Bag:
    """`(patients, count, dimension)`: so many vectors of each patient, some twice where there are fewer."""
    return np.stack([bag[rng.choice(len(bag), count, replace=len(bag) < count)] for bag in bags])
