"""One training from its recipe to the epoch that is kept, whoever asks for it: a stage, a twin of the audit, a trial.

Importing this takes TensorFlow's seconds and memory: callers do so after everything that can fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common.config import Config
from pipeline.machine import device
from pipeline.machine.device import Device
from pipeline.networks import epoch_on_device, model, recipe, training_loop
from pipeline.networks.epoch_images import Pool
from pipeline.networks.training_loop import History

# It warns of many networks in one process, which is what a search is.
logging.getLogger("tensorflow").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Prepared:
    """A training before its first step: its images by role, the device, and the spec that everything follows from."""

    config: Config
    subtype: str
    candidate: str
    images: Sequence[pd.DataFrame]  # of control and of the subtype: patient, path, role, label
    pools: dict[str, tuple[Pool, Pool]]
    machine: Device
    spec: dict[str, Any]

    def checkpoint(self, what: str) -> Path:
        """The checkpoint's file name for a training called `what`: another spec has another one."""
        return Path(f"{what}-{self.spec['training'][:16]}.npz")

    def build(self) -> Any:
        """The untrained network as it is trained on this device."""
        return training_loop.trainable(self.spec, self.machine)

    def way(self) -> str:
        """What it will be trained on, and how, in a few words."""
        on = self.machine
        if on.batches == "host":
            made = "batches made by the host"
        elif epoch_on_device.have_room(self.pools["train"], device.room_bytes()):
            made = "batches made on it of cells in its memory"
        else:
            made = "batches made on it of cells sent ahead"
        return f"{on.name} ({on.precision}, {'XLA' if on.xla else 'no XLA'}, {made}, {on.threads} threads)"


@dataclass(frozen=True)
class Trained:
    """What came of a training; `network` has the weights of epoch `kept` (from 0) of the history."""

    prepared: Prepared
    network: Any
    history: History
    kept: int

    @property
    def loss(self) -> float:
        """Of validation, at the epoch whose weights were kept."""
        return self.history[self.kept]["val_loss"]

    @property
    def accuracy(self) -> float:
        """Balanced accuracy of validation, at the epoch whose weights were kept."""
        return self.history[self.kept]["val_accuracy"]

    def scored(self, role: str) -> pd.DataFrame:
        """The images that have a role, with a column logit."""
        pools = zip(self.prepared.images, self.prepared.pools[role], strict=True)
        parts = [table.iloc[pool.rows].assign(logit=self._logits(pool)) for table, pool in pools]
        return pd.concat(parts, ignore_index=True)

    def _logits(self, pool: Pool) -> NDArray[np.float32]:
        return training_loop.pool_logits(self.network, pool, self.prepared.machine)


def prepare(
    config: Config,
    subtype: str,
    candidate: str,
    fold: int,
    cells: Sequence[NDArray[np.uint8]],
    images: Sequence[pd.DataFrame],
    code: Sequence[str] = recipe.CODE,
) -> Prepared:
    """A training of the candidate's network for `subtype`.

    Args:
        config: params.yaml.
        subtype: against control.
        candidate: of kind `cnn`.
        fold: whose number the spec bears.
        cells: of control and of the subtype, uint8 `(images, px, px, 3)`.
        images: a table each, a row per row of its `cells`: patient, path, role, label.
        code: the rooms and modules of this package that the result depends on.
    """
    images = recipe.weighed(subtype, candidate, fold, list(images))
    pools = recipe.pools(config, list(cells), list(images))
    machine = device.prepare(config.train.precision)
    normalisation = recipe.normalisation(pools["train"])
    spec = recipe.spec(config, subtype, candidate, fold, normalisation, asdict(machine), code)
    return Prepared(config, subtype, candidate, images, pools, machine, spec)


def train(prepared: Prepared, seed: int, checkpoint: Path, on_epoch: Callable[[dict[str, float]], None]) -> Trained:
    """Train to the end, or go on after a kill from `checkpoint`; `on_epoch` is told every row of the history.

    Raises:
        ModelError: the loss is no longer a number.
    """
    training_loop.forget_networks()
    model.seed_everything(seed)
    network = prepared.build()
    history, kept = training_loop.fit(
        network,
        prepared.pools["train"],
        prepared.pools["val"],
        prepared.config.train_of(prepared.subtype, prepared.candidate),
        prepared.config.network_of(prepared.subtype, prepared.candidate).learning_rate,
        seed,
        prepared.machine,
        checkpoint,
        on_epoch,
    )
    return Trained(prepared, network, history, kept)
