"""Training of networks that are tried out: on some folds' patients, judged on those of one other fold.

The folds are those of the split, so patients who share a picture stay together here too. Nothing that comes of it is kept but
figures and, of the last comparison, the scores.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common.config import Config, Network
from pipeline.networks import batch_norm, device, model, recipe, training_loop
from pipeline.networks.device import Device
from pipeline.networks.training_loop import History
from pipeline.search import space

_TIMED_STEPS = 4
# It warns of many networks in one process, which is what a search is.
logging.getLogger("tensorflow").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Data:
    """What is tried on: split, and of control and subtype the table of images and the pixels."""

    subtype: str
    split: pd.DataFrame
    tables: list[pd.DataFrame]
    cells: list[NDArray[np.uint8]]


@dataclass(frozen=True)
class Tried:
    """What came of one training."""

    loss: float  # of validation, at the epoch whose weights were kept
    accuracy: float
    history: History
    network: Any
    pools: dict[str, Any]


def train(
    config: Config,
    data: Data,
    network: Network,
    roles: pd.Series,
    seed: int,
    checkpoint: Callable[[str], Path],
    on_epoch: Callable[[dict[str, float]], None] = lambda _row: None,
) -> Tried:
    """One network on the patients who have a role (patient -> train, val or test), or go on with it after a kill.

    `checkpoint` names the file for a digest of all that the training follows from.
    """
    config = space.with_network(config, data.subtype, network)
    pools, machine, spec = _prepared(config, data, roles)
    training_loop.forget_networks()
    model.seed_everything(seed)
    built = model.build(spec, batch_norm.layer(machine))
    history, kept = training_loop.fit(
        built,
        pools["train"],
        pools["val"],
        config.train_of(data.subtype),
        network.learning_rate,
        seed,
        machine.xla,
        checkpoint(spec["training"]),
        on_epoch,
    )
    return Tried(history[kept]["val_loss"], history[kept]["val_accuracy"], history, built, pools)


def _prepared(config: Config, data: Data, roles: pd.Series) -> tuple[dict[str, Any], Device, dict[str, Any]]:
    """Images by role, the device, and the network's spec."""
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(data.tables)]
    pools = recipe.pools(config, data.cells, images)
    machine = device.prepare(config.train.precision)
    spec = recipe.spec(config, data.subtype, config.tune.fold, recipe.normalisation(pools["train"]), asdict(machine))
    return pools, machine, spec


def scores(tried: Tried, data: Data, role: str) -> pd.DataFrame:
    """The images of a role, scored: patient, path, label, logit."""
    parts = []
    for label, (table, pool) in enumerate(zip(data.tables, tried.pools[role], strict=True)):
        parts.append(table.iloc[pool.rows].assign(label=label, logit=training_loop.pool_logits(tried.network, pool)))
    together: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return together[["patient", "path", "label", "logit"]]


def seconds(config: Config, data: Data, network: Network, roles: pd.Series) -> tuple[float, float]:
    """How long such a training takes here to begin, and an epoch of it, from a few steps."""
    config = space.with_network(config, data.subtype, network)
    began = time.monotonic()
    pools, machine, spec = _prepared(config, data, roles)
    batches = training_loop.Epoch(pools["train"], config.train.batch_size, config.train.augment, 0, 0)
    built = model.build(spec, batch_norm.layer(machine))
    training_loop.compile_network(built, config.train_of(data.subtype), network.learning_rate, machine.xla)
    built.train_on_batch(*batches[0])  # builds the step
    started = time.monotonic()
    for step in range(_TIMED_STEPS):
        built.train_on_batch(*batches[step % len(batches)])
    steps = (
        len(batches) + sum(len(pool.rows) for pool in pools["val"]) / config.train.batch_size / 3
    )  # a step without gradients
    return started - began, (time.monotonic() - started) / _TIMED_STEPS * steps
