"""The batches of an epoch as the host makes them, of cells that may lie on the disk; or as it draws them, for a device."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.common.params_learning import Augment
from pipeline.machine import device
from pipeline.networks import epoch_images
from pipeline.networks.augmentation import Changes, augment, draw
from pipeline.networks.epoch_images import Pool

# isort: split
import keras  # after device, which keeps TensorFlow's greetings off the terminal

assert device  # imported for what it does

Batch: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.float32]]  # images, and labels `(n, 1)`


class Epoch(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
    """The batches of one epoch: half control, half subtype; batch i is the same whoever asks for it, and when."""

    def __init__(
        self, pools: tuple[Pool, Pool], batch_size: int, augmentation: Augment, seed: int, epoch: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._pools, self.batch_size, self._augmentation = pools, batch_size, augmentation
        self._seed, self.number = seed, epoch
        self._orders = epoch_images.epoch_order(*pools, seed, epoch)
        self._labels = np.repeat(np.array([0, 1], dtype=np.float32), batch_size // 2)[:, None]
        self._expect(0)

    def __len__(self) -> int:
        return epoch_images.steps(len(self._orders[0]), self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        images = np.concatenate([pool.take(rows) for pool, rows in self._chosen(step)])
        self._expect(step + 1)
        return augment(images, self._augmentation, self._rng(step)), self._labels

    def draw(self, step: int) -> tuple[epoch_images.Rows, Changes]:
        """Rows of batch `step`, the subtype's counted on behind control's, and what is done to each image."""
        (_, control), (_, subtype) = self._chosen(step)
        rows = np.concatenate([control, subtype + len(self._pools[0].rows)])
        return rows, draw(len(rows), self._augmentation, self._rng(step))

    def _rng(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self.number, step])

    def _chosen(self, step: int) -> list[tuple[Pool, epoch_images.Rows]]:
        """Of either class the pool and the rows of batch `step`."""
        rows = [epoch_images.batch_rows(order, step, self.batch_size) for order in self._orders]
        return list(zip(self._pools, rows, strict=True))

    def _expect(self, step: int) -> None:
        """Have cells that do not fit into memory read from the disk while the batch before `step` is computed."""
        if step < len(self):
            for pool, rows in self._chosen(step):
                pool.expect(rows)
