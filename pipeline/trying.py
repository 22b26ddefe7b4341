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

from pipeline import device, fitting, learning, model, search_space
from pipeline.config import Config, Network
from pipeline.device import Device
from pipeline.fitting import History

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
    machine: Device
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
    config = search_space.with_network(config, data.subtype, network)
    pools, machine, spec = _prepared(config, data, roles)
    fitting.forget_networks()
    model.seed_everything(seed)
    built = fitting.trainable(spec, machine)
    history, kept = fitting.fit(
        built,
        pools["train"],
        pools["val"],
        config.train_of(data.subtype),
        network.learning_rate,
        seed,
        machine,
        checkpoint(spec["training"]),
        on_epoch,
    )
    return Tried(history[kept]["val_loss"], history[kept]["val_accuracy"], history, built, machine, pools)


def _prepared(config: Config, data: Data, roles: pd.Series) -> tuple[dict[str, Any], Device, dict[str, Any]]:
    """Images by role, the device, and the network's spec."""
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(data.tables)]
    pools = learning.pools(config, data.cells, images)
    machine = device.prepare(config.train.precision)
    spec = learning.spec(config, data.subtype, config.tune.fold, learning.normalisation(pools["train"]), asdict(machine))
    return pools, machine, spec


def scores(tried: Tried, data: Data, role: str) -> pd.DataFrame:
    """The images of a role, scored: patient, path, label, logit."""
    parts = []
    for label, (table, pool) in enumerate(zip(data.tables, tried.pools[role], strict=True)):
        parts.append(table.iloc[pool.rows].assign(label=label, logit=fitting.pool_logits(tried.network, pool, tried.machine)))
    together: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return together[["patient", "path", "label", "logit"]]


def seconds(config: Config, data: Data, network: Network, roles: pd.Series) -> tuple[float, float]:
    """How long such a training takes here to begin, and an epoch of it, from a few steps."""
    config = search_space.with_network(config, data.subtype, network)
    began = time.monotonic()
    pools, machine, spec = _prepared(config, data, roles)
    batches = fitting.Epoch(pools["train"], config.train.batch_size, config.train.augment, 0, 0)
    built = fitting.trainable(spec, machine)
    fitting.compile_network(built, config.train_of(data.subtype), network.learning_rate, machine)
    if machine.batches == "device":
        timed, teach = len(batches), fitting.teacher(built, machine, pools["train"], config.train_of(data.subtype), 0)
        teach(0)  # builds the steps
        started = time.monotonic()
        teach(1)
    else:
        timed = _TIMED_STEPS
        built.train_on_batch(*batches[0])  # builds the step
        started = time.monotonic()
        for step in range(timed):
            built.train_on_batch(*batches[step % len(batches)])
    steps = (
        len(batches) + sum(len(pool.rows) for pool in pools["val"]) / config.train.batch_size / 3
    )  # a step without gradients
    return started - began, (time.monotonic() - started) / timed * steps
