"""Training of one network, epoch by epoch, that a kill at any moment does not change.

After every epoch all that decides how training goes on is written to one checkpoint file: variables, optimizer, history and
early stopping. The order of the images follows from (seed, epoch). A resumed training ends with the same weights, to the bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common import console, files
from pipeline.common.errors import ModelError, is_for_want_of_memory, refusal
from pipeline.common.params_learning import Train
from pipeline.machine import device
from pipeline.machine.device import Device
from pipeline.networks import batch_norm, epoch_on_device, loss, max_pool
from pipeline.networks.epoch_images import Pool
from pipeline.networks.epoch_on_host import Epoch
from pipeline.networks.model import build, logits

# isort: split
import keras  # after device, which keeps TensorFlow's greetings off the terminal

History = list[dict[str, float]]


@dataclass
class State:
    """Early stopping's memory and the curves so far; `best` and `variables` are stored beside it."""

    epochs_done: int = 0
    best_epoch: int = -1
    best_loss: float = float("inf")
    waited: int = 0
    stopped: bool = False
    history: History = field(default_factory=list)


def trainable(spec: dict[str, Any], machine: Device) -> Any:
    """The untrained network of `spec`, of the layers that `machine` trains best; their weights are those of `model.build`'s."""
    return build(spec, batch_norm.layer(machine), max_pool.layer(machine))


def fit(
    network: Any,
    train: tuple[Pool, Pool],
    val: tuple[Pool, Pool],
    settings: Train,
    learning_rate: float,
    seed: int,
    machine: Device,
    checkpoint: Path,
    on_epoch: Callable[[dict[str, float]], None],
) -> tuple[History, int]:
    """Train until the validation loss stops falling; leaves `network` with the best epoch's weights.

    Args:
        network: as `trainable` makes it for `machine`.
        train: control's and the subtype's training images.
        val: the same of the validation patients.
        settings: the `train` section of params.yaml, as it counts for this network.
        learning_rate: Adam's.
        seed: of the order of images and the augmentation.
        machine: says where batches are made and what compiles the step.
        checkpoint: read when it is there, else written after every epoch.
        on_epoch: told every epoch's row of the history, the epochs before a kill included.

    Returns:
        the curves, and the number of the epoch whose weights were kept, from 0.

    Raises:
        ModelError: the loss is no longer a number.
    """
    compile_network(network, settings, learning_rate, machine)
    teach = teacher(network, machine, train, settings, seed)
    scored = [_scoring(network, pool, machine) for pool in val]
    state, best = _resume(network, checkpoint)  # after what both a whole and a resumed training do
    for row in state.history:
        on_epoch(row)
    while not state.stopped and state.epochs_done < settings.max_epochs:
        started = time.monotonic()
        epoch = state.epochs_done
        row = {"epoch": epoch, **teach(epoch), **_validate(scored)}
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


def compile_network(network: Any, settings: Train, learning_rate: float, machine: Device) -> None:
    """Give `network` its optimizer and loss. Keras itself would not use XLA where operations are deterministic."""
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate, weight_decay=settings.weight_decay or None),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
        jit_compile=machine.xla and machine.batches == "host",
    )
    network.optimizer.build(network.trainable_variables)


def forget_networks() -> None:
    """Free what earlier networks of this process hold."""
    epoch_on_device.forget()
    keras.utils.clear_session()


def teacher(
    network: Any, machine: Device, train: tuple[Pool, Pool], settings: Train, seed: int
) -> Callable[[int], dict[str, float]]:
    """Has a compiled network learn from every batch of the epoch of a number; its mean loss and accuracy."""

    if machine.batches == "host":
        of = batches(train, settings, seed)
        return lambda epoch: figures(network.fit(of(epoch), epochs=1, shuffle=False, verbose=0).history)
    run = epochs(network, machine, train, settings, seed).run

    def teach(epoch: int) -> dict[str, float]:
        network.reset_metrics()
        run(epoch)
        return figures(network.get_metrics_result())

    return teach


def batches(train: tuple[Pool, Pool], settings: Train, seed: int) -> Callable[[int], Epoch]:
    """Those of an epoch, by its number."""
    return partial(Epoch, train, settings.batch_size, settings.augment, seed)


def epochs(network: Any, machine: Device, train: tuple[Pool, Pool], settings: Train, seed: int) -> epoch_on_device.Epochs:
    """Of a compiled network, where batches are made on the device."""
    cells = epoch_on_device.Cells(train, device.room_bytes())
    found = epoch_on_device.Epochs(network, cells, batches(train, settings, seed), machine.xla)
    found.name_programs()
    return found


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Loss and accuracy of an epoch, as Keras has them."""
    return {name: float(np.squeeze(found[name])) for name in ("loss", "accuracy")}


def _validate(scored: Sequence[Callable[[], NDArray[np.float32]]]) -> dict[str, float]:
    by_class = [logits_of() for logits_of in scored]
    labels = np.repeat([0, 1], [len(own) for own in by_class])
    outputs = np.concatenate(by_class)
    return {
        "val_loss": loss.balanced_log_loss(labels, outputs),
        "val_accuracy": loss.balanced_accuracy(labels, outputs > 0),
    }


def pool_logits(network: Any, pool: Pool, machine: Device) -> NDArray[np.float32]:
    """Logits `(rows,)` of all images of a pool."""
    return _scoring(network, pool, machine)()


def _scoring(network: Any, pool: Pool, machine: Device) -> Callable[[], NDArray[np.float32]]:
    """Scores all images of a pool whenever asked; what is sent to a GPU once stays there."""
    if machine.batches == "host" or not machine.xla:
        return lambda: logits(network, (pool.cells[row] for row in pool.rows))
    cells = epoch_on_device.Cells([pool], device.room_bytes())
    epoch_on_device.scoring(network, cells, machine.xla)
    return lambda: epoch_on_device.logits(network, cells, machine.xla)


def save_weights(network: Any, spec: dict[str, Any], path: Path) -> None:
    """Write the weights alone, without the optimizer's state and under the names of a first network of a process.

    So the bytes follow from the weights, whatever was built or trained before.
    """
    keras.utils.clear_session()
    bare = build(spec)
    for variable, value in zip(bare.variables, network.variables, strict=True):
        variable.assign(value)
    path.write_bytes(bytes(4 * bare.count_params() + 2**16))  # is there room? On a full disk HDF5 may crash before it says so
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
    """Go on from a checkpoint. One that is damaged costs the epochs before it, which are trained again, and nothing else."""
    if not checkpoint.exists():
        return State(), []
    variables, optimizer = network.variables, network.optimizer.variables
    try:
        with np.load(checkpoint, allow_pickle=False) as stored:
            state = State(**json.loads(str(stored["state"])))
            values = _as_of(variables, stored, "variable"), _as_of(optimizer, stored, "optimizer")
            best = _as_of(variables, stored, "best") if state.best_epoch >= 0 else []
    except Exception as error:  # zipfile, zlib, NumPy and JSON raise whatever they stumble over
        if is_for_want_of_memory(error) or refusal(error):
            raise
        console.warn(f"{checkpoint}: damaged ({' '.join(str(error).split())}); this training begins anew")
        return State(), []
    for known, of in zip(values, (variables, optimizer), strict=True):
        for variable, value in zip(of, known, strict=True):
            variable.assign(value)
    console.say(f"resumed after epoch {state.epochs_done} from {checkpoint}; those epochs are not trained again")
    return state, best


def _as_of(variables: Sequence[Any], stored: Mapping[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    """What is stored of each variable, before any is touched."""
    found = [stored[f"{name}_{i}"] for i in range(len(variables))]
    for i, (variable, value) in enumerate(zip(variables, found, strict=True)):
        if value.shape != tuple(variable.shape):
            raise ValueError(f"{name}_{i} is of another shape")
    return found
