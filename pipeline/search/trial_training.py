"""Training of networks that are tried out: on some folds' patients, judged on those of one other fold.

The folds are those of the split, so patients who share a picture stay together here too. Nothing that comes of it is kept but
figures and, of the last comparison, the scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common.config import Config
from pipeline.common.params_learning import Network
from pipeline.networks import training, training_loop
from pipeline.networks.training import Prepared, Trained
from pipeline.search import space

_TIMED_STEPS = 4


@dataclass(frozen=True)
class Data:
    """What is tried on: split, and of control and subtype the table of images and the pixels; whose network is searched."""

    subtype: str
    candidate: str
    split: pd.DataFrame
    tables: list[pd.DataFrame]
    cells: list[NDArray[np.uint8]]


def train(
    config: Config,
    data: Data,
    network: Network,
    roles: pd.Series,
    seed: int,
    checkpoint: Callable[[str], Path],
    on_epoch: Callable[[dict[str, float]], None] = lambda _row: None,
) -> Trained:
    """One network on the patients who have a role (patient -> train, val or test), or go on with it after a kill.

    `checkpoint` names the file for a digest of all that the training follows from.
    """
    prepared = _prepared(config, data, network, roles)
    return training.train(prepared, seed, checkpoint(prepared.spec["training"]), on_epoch)


def _prepared(config: Config, data: Data, network: Network, roles: pd.Series) -> Prepared:
    """Prepare a training of `network` on these patients."""
    config = space.with_network(config, data.subtype, data.candidate, network)
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(data.tables)]
    return training.prepare(config, data.subtype, data.candidate, config.tune.fold, data.cells, images)


def seconds(config: Config, data: Data, network: Network, roles: pd.Series) -> tuple[float, float]:
    """How long such a training takes here to begin, and an epoch of it, from a few steps."""
    began = time.monotonic()
    prepared = _prepared(config, data, network, roles)
    built, settings = prepared.build(), prepared.config.train_of(data.subtype, data.candidate)
    training_loop.compile_network(built, settings, network.learning_rate, prepared.machine)
    batches = training_loop.batches(prepared.pools["train"], settings, 0)(0)
    if prepared.machine.batches == "host":
        few = range(min(_TIMED_STEPS, len(batches)))

        def learn() -> None:
            for step in few:
                built.train_on_batch(*batches[step])
    else:
        epochs = training_loop.epochs(built, prepared.machine, prepared.pools["train"], settings, 0)
        _, call, _ = next(epochs.places(0))
        few = call if prepared.machine.kind == "gpu" else call[:_TIMED_STEPS]
        arguments, _ = epochs.arguments((0, few, True))

        def learn() -> None:
            epochs.steps(*arguments)
            training_loop.figures(built.get_metrics_result())  # which a GPU has only when it is done

    learn()  # builds the steps
    started = time.monotonic()
    learn()
    without_gradients = sum(len(pool.rows) for pool in prepared.pools["val"]) / config.train.batch_size / 3
    return started - began, (time.monotonic() - started) / len(few) * (len(batches) + without_gradients)
