"""Training of one network, epoch by epoch, that a kill at any moment does not change.

After every epoch all that decides how training goes on is written to one checkpoint file: variables, optimizer, history and
early stopping. The order of the images follows from (seed, epoch). A resumed training ends with the same weights, to the bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline.common import console, files
from pipeline.common.config import Augment, Train
from pipeline.common.errors import ModelError
from pipeline.networks import epoch_images, loss
from pipeline.networks.augmentation import augment
from pipeline.networks.epoch_images import Pool
from pipeline.networks.model import build, logits

History = list[dict[str, float]]
Batch: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.float32]]  # images, and labels `(n, 1)`
_HEARTBEAT_S = 30.0


@dataclass
class State:
    """Early stopping's memory and the curves so far; `best` and `variables` are stored beside it."""

    epochs_done: int = 0
    best_epoch: int = -1
    best_loss: float = float("inf")
    waited: int = 0
    stopped: bool = False
    history: History = field(default_factory=list)


def fit(
    network: Any,
    train: tuple[Pool, Pool],
    val: tuple[Pool, Pool],
    settings: Train,
    learning_rate: float,
    seed: int,
    xla: bool,
    checkpoint: Path,
    on_epoch: Callable[[dict[str, float]], None],
) -> tuple[History, int]:
    """Train until the validation loss stops falling; leaves `network` with the best epoch's weights.

    Args:
        network: as `model.build` makes it.
        train: control's and the subtype's training images.
        val: the same of the validation patients.
        settings: the `train` section of params.yaml, as it counts for this network.
        learning_rate: Adam's.
        seed: of the order of images and the augmentation.
        xla: compile the step with XLA.
        checkpoint: read when it is there, else written after every epoch.
        on_epoch: told every epoch's row of the history, the epochs before a kill included.

    Returns:
        the curves, and the number of the epoch whose weights were kept, from 0.

    Raises:
        ModelError: the loss is no longer a number.
    """
    compile_network(network, settings, learning_rate, xla)
    network.optimizer.build(network.trainable_variables)
    state, best = _resume(network, checkpoint)
    for row in state.history:
        on_epoch(row)
    while not state.stopped and state.epochs_done < settings.max_epochs:
        started = time.monotonic()
        epoch = state.epochs_done
        learnt = train_epoch(network, Epoch(train, settings.batch_size, settings.augment, seed, epoch))
        row = {"epoch": epoch, **learnt, **_validate(network, val)}
        if not np.isfinite(row["loss"]) or not np.isfinite(row["val_loss"]):
            raise ModelError(f"the loss is no longer a number after epoch {epoch + 1}; lower the learning rate")
        state.history.append(row)
        state.epochs_done += 1
        if state.epochs_done < settings.min_epochs:
            pass  # BatchNorm's running statistics still lag: a low loss of such an epoch would be chance
        elif row["val_loss"] < state.best_loss:
            state.best_epoch, state.best_loss, state.waited = epoch, row["val_loss"], 0
            best = [np.asarray(variable) for variable in network.variables]
        else:
            state.waited += 1
        state.stopped = state.waited >= settings.patience
        _store(network, state, best, checkpoint)
        on_epoch(row)
        console.say(
            f"epoch {epoch + 1:>3}/{settings.max_epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.3f}  "
            f"val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.3f}  {time.monotonic() - started:.1f} s"
        )
    for variable, value in zip(network.variables, best, strict=True):
        variable.assign(value)
    console.say(f"best epoch {state.best_epoch + 1} of {state.epochs_done}: val_loss {state.best_loss:.4f}")
    return state.history, state.best_epoch


def compile_network(network: Any, settings: Train, learning_rate: float, xla: bool) -> None:
    """Give `network` its optimizer and loss."""
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate, weight_decay=settings.weight_decay or None),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
        jit_compile=xla,
    )


def forget_networks() -> None:
    """Free what earlier networks of this process hold."""
    keras.utils.clear_session()


class Epoch(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
    """The batches of one epoch: half control, half subtype; batch i is the same whoever asks for it, and when."""

    def __init__(
        self, pools: tuple[Pool, Pool], batch_size: int, augmentation: Augment, seed: int, epoch: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._pools, self._batch_size, self._augmentation = pools, batch_size, augmentation
        self._seed, self.number = seed, epoch
        self._orders = epoch_images.epoch_order(pools[0].patients, pools[1].patients, seed, epoch)
        self._labels = np.repeat(np.array([0, 1], dtype=np.float32), batch_size // 2)[:, None]
        self._expect(0)

    def __len__(self) -> int:
        return epoch_images.steps(len(self._orders[0]), self._batch_size)

    def __getitem__(self, step: int) -> Batch:
        images = np.concatenate([pool.take(rows) for pool, rows in self._chosen(step)])
        self._expect(step + 1)
        rng = np.random.default_rng([self._seed, self.number, step])
        return augment(images, self._augmentation, rng), self._labels

    def _chosen(self, step: int) -> list[tuple[Pool, epoch_images.Rows]]:
        """Of either class the pool and the rows of batch `step`."""
        rows = [epoch_images.batch_rows(order, step, self._batch_size) for order in self._orders]
        return list(zip(self._pools, rows, strict=True))

    def _expect(self, step: int) -> None:
        """Have cells that do not fit into memory read from the disk while the batch before `step` is computed."""
        if step < len(self):
            for pool, rows in self._chosen(step):
                pool.expect(rows)


def train_epoch(network: Any, batches: Epoch) -> dict[str, float]:
    """Learn from every batch once; the epoch's mean loss and accuracy.

    With TensorFlow the step that Keras has compiled is called here: what `fit` does around it costs 6 % of a small one
    (docs/speed.md). A GPU is at work when the call returns, and the next batch is made meanwhile; on a processor a thread that
    made it gained nothing. Other backends keep their state elsewhere while `fit` runs.
    """
    if keras.config.backend() != "tensorflow":
        fitted = network.fit(batches, epochs=1, shuffle=False, verbose=0)
        return {name: float(fitted.history[name][0]) for name in ("loss", "accuracy")}
    network.reset_metrics()
    network.make_train_function()
    said = time.monotonic()
    for number in range(1, len(batches) + 1):
        network.train_function(iter([batches[number - 1]]))
        if time.monotonic() - said >= _HEARTBEAT_S:
            said = time.monotonic()
            console.say(f"epoch {batches.number + 1:>3}: step {number:,} of {len(batches):,}")
    found = network.get_metrics_result()
    return {name: float(found[name]) for name in ("loss", "accuracy")}


def _validate(network: Any, val: tuple[Pool, Pool]) -> dict[str, float]:
    labels = np.repeat([0, 1], [len(pool.rows) for pool in val])
    outputs = np.concatenate([pool_logits(network, pool) for pool in val])
    return {
        "val_loss": loss.balanced_log_loss(labels, outputs),
        "val_accuracy": loss.balanced_accuracy(labels, outputs > 0),
    }


def pool_logits(network: Any, pool: Pool) -> NDArray[np.float32]:
    """Logits `(rows,)` of all images of a pool."""
    return logits(network, (pool.cells[row] for row in pool.rows))


def save_weights(network: Any, spec: dict[str, Any], path: Path) -> None:
    """Write the weights alone, without the optimizer's state and under the names of a first network of a process.

    So the bytes follow from the weights, whatever was built or trained before.
    """
    keras.utils.clear_session()
    bare = build(spec)
    for variable, value in zip(bare.variables, network.variables, strict=True):
        variable.assign(value)
    bare.save_weights(path)


def _store(network: Any, state: State, best: list[NDArray[Any]], checkpoint: Path) -> None:
    """Write all that decides how training goes on."""
    arrays = {"state": np.array(json.dumps(asdict(state)))}
    arrays |= {f"variable_{i}": np.asarray(value) for i, value in enumerate(network.variables)}
    arrays |= {f"optimizer_{i}": np.asarray(value) for i, value in enumerate(network.optimizer.variables)}
    arrays |= {f"best_{i}": value for i, value in enumerate(best)}
    with files.in_one_step(checkpoint) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _resume(network: Any, checkpoint: Path) -> tuple[State, list[NDArray[Any]]]:
    if not checkpoint.exists():
        return State(), []
    with np.load(checkpoint, allow_pickle=False) as stored:
        state = State(**json.loads(str(stored["state"])))
        for i, variable in enumerate(network.variables):
            variable.assign(stored[f"variable_{i}"])
        for i, variable in enumerate(network.optimizer.variables):
            variable.assign(stored[f"optimizer_{i}"])
        best = [stored[f"best_{i}"] for i in range(len(network.variables))] if state.best_epoch >= 0 else []
    console.say(f"resumed after epoch {state.epochs_done} from {checkpoint}; those epochs are not trained again")
    return state, best
