"""A training that is cut off and resumed ends with the same bits; networks are what their spec says."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from pipeline.common import config
from pipeline.common.errors import ModelError
from pipeline.common.params_learning import Train
from pipeline.encoders import kept_network
from pipeline.machine import device
from pipeline.networks import batch_norm, epoch_on_host, model, training_loop
from pipeline.networks.epoch_images import Pool

SPEC: dict[str, Any] = {
    "px": 12,
    "normalisation": {"mean": [120.0, 110.0, 130.0], "std": [40.0, 50.0, 60.0]},
    "precision": "float32",
    "layers": [
        {"kind": "conv", "filters": 4, "kernel_px": 3, "batch_norm_momentum": None, "pool": True},
        {"kind": "conv", "filters": 6, "kernel_px": 3, "batch_norm_momentum": 0.9, "pool": True},
        {"kind": "dense", "units": 5},
    ],
}


@pytest.fixture(scope="module", autouse=True)
def _deterministic() -> None:
    device.prepare("float32")


def pool(seed: int, bright: int) -> Pool:
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 200, (24, 12, 12, 3), dtype=np.uint8)
    cells[:, 3:9, 3:9] += np.uint8(bright)
    return Pool(cells, np.arange(24), np.repeat(["A", "B", "C"], 8).astype(object))


def settings(**changes: Any) -> Train:
    small = {"batch_size": 8, "max_epochs": 6, "min_epochs": 1, "patience": 9}
    return config.load(ROOT / "params.yaml").train.model_copy(update={**small, **changes})


def train(checkpoint: Path, stop_after: int | None = None, rate: float = 0.01, **changes: Any) -> tuple[Any, Any, int]:
    model.seed_everything(7)
    on = device.prepare("float32")
    network = training_loop.trainable(SPEC, on)

    def on_epoch(row: dict[str, float]) -> None:
        if stop_after is not None and row["epoch"] == stop_after:
            raise KeyboardInterrupt

    pools = (pool(1, 0), pool(2, 40)), (pool(3, 0), pool(4, 40))
    history, kept = training_loop.fit(network, *pools, settings(**changes), rate, 7, on, checkpoint, on_epoch)
    return network, history, kept


def bits(network: Any) -> list[bytes]:
    return [np.asarray(variable).tobytes() for variable in network.variables]


def test_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, history, kept = train(tmp_path / "whole.npz")
    for epoch in (0, 3):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut.npz", stop_after=epoch)
    resumed, again, kept_again = train(tmp_path / "cut.npz")
    assert (again, kept_again) == (history, kept)
    assert bits(resumed) == bits(whole)


def test_a_damaged_checkpoint_costs_its_epochs_and_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, history, _ = train(tmp_path / "run.npz", max_epochs=1)
    (tmp_path / "run.npz").write_bytes((tmp_path / "run.npz").read_bytes()[:-100])
    again, anew, _ = train(tmp_path / "run.npz", max_epochs=1)
    assert (anew, bits(again)) == (history, bits(whole))
    assert f"warning: {tmp_path}/run.npz: damaged (" in "".join(capsys.readouterr().err.split("\n"))


class Kept:
    """A variable, as little as it takes to store and to resume it."""

    def __init__(self, value: list[float]) -> None:
        self.value = np.array(value, np.float32)
        self.shape = self.value.shape

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.value

    def assign(self, value: Any) -> None:
        self.value = value


def kept_network_of(value: float) -> Any:
    return SimpleNamespace(variables=[Kept([value, value])], optimizer=SimpleNamespace(variables=[Kept([value])]))


def test_no_bit_of_a_checkpoint_can_end_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flipped anywhere, it begins anew, or goes on with just what was stored."""
    for name in ("say", "warn"):
        monkeypatch.setattr(training_loop.console, name, lambda *_: None)
    stored, file = training_loop.State(epochs_done=3, history=[{"epoch": 0, "loss": 0.5}]), tmp_path / "run.npz"
    training_loop._store(kept_network_of(1), stored, [], file)
    sound, anew = file.read_bytes(), 0
    for bit in range(0, 8 * len(sound), 47):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        state, _ = training_loop._resume(network := kept_network_of(0), file)
        assert (state, network.variables[0].value.tolist()) in [(training_loop.State(), [0, 0]), (stored, [1, 1])], bit
        anew += state.epochs_done == 0
    assert anew > 20


@pytest.mark.parametrize(
    "refused", [OSError(errno.EIO, "Input/output error"), MemoryError(), PermissionError(errno.EACCES, "no")]
)
def test_what_the_machine_refuses_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Exception) -> None:
    def load(*_: object, **__: object) -> None:
        raise refused

    training_loop._store(kept_network_of(1), training_loop.State(), [], tmp_path / "run.npz")
    monkeypatch.setattr(training_loop.np, "load", load)
    with pytest.raises(type(refused)):
        training_loop._resume(kept_network_of(0), tmp_path / "run.npz")


def test_a_finished_training_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = train(tmp_path / "done.npz")
    capsys.readouterr()
    second, *_ = train(tmp_path / "done.npz")
    assert bits(second) == bits(first)
    assert "epoch   " not in capsys.readouterr().out


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    train(tmp_path / "there" / "run.npz", max_epochs=2)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["run.npz"]


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: training_loop.save_weights(model.build(SPEC), SPEC, folder / "model.weights.h5"),
        lambda folder: kept_network.save(SimpleNamespace(to_json=str, get_weights=lambda: [np.zeros(9999)]), folder),
    ],
    ids=["training", "encoder"],
)
def test_weights_for_which_there_is_no_room_are_the_systems_own_error(write: Callable[[Path], object], tmp_path: Path) -> None:
    """HDF5, left to find it out, tells it in words of its own, many times over, and may take the process with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large$") as raised:
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG


def test_it_stops_when_patience_is_over_and_keeps_the_best_epoch_after_the_first_ones(tmp_path: Path) -> None:
    _, history, kept = train(tmp_path / "x.npz", rate=0.3, max_epochs=30, min_epochs=4, patience=2)
    losses = [row["val_loss"] for row in history]
    assert kept >= 3
    assert losses[kept] == min(losses[3:])
    assert len(history) == kept + 1 + 2


def test_it_learns_what_can_be_learnt(tmp_path: Path) -> None:
    _, history, kept = train(tmp_path / "x.npz", max_epochs=20)
    assert history[kept]["val_accuracy"] > 0.9


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no longer a number after epoch 1; lower the learning rate"):
        train(tmp_path / "x.npz", rate=1e30, max_epochs=3)


def test_batches_do_not_depend_on_who_asks_first() -> None:
    epoch = epoch_on_host.Epoch((pool(1, 0), pool(2, 40)), 8, settings().augment, seed=3, epoch=2)
    forwards = [epoch[step][0].tobytes() for step in range(len(epoch))]
    backwards = [epoch[step][0].tobytes() for step in reversed(range(len(epoch)))]
    assert forwards == backwards[::-1]
    assert epoch[0][1].ravel().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_every_batch_is_asked_for_while_the_one_before_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: dict[str, list[list[int]]] = {"expect": [], "take": []}
    take = Pool.take
    monkeypatch.setattr(Pool, "expect", lambda self, chosen: rows["expect"].append(chosen.tolist()))
    monkeypatch.setattr(Pool, "take", lambda self, chosen: rows["take"].append(chosen.tolist()) or take(self, chosen))
    epoch = epoch_on_host.Epoch((pool(1, 0), pool(2, 40)), 8, settings().augment, seed=3, epoch=2)
    for step in range(len(epoch)):
        assert len(rows["expect"]) == len(rows["take"]) + 2
        _ = epoch[step]
    assert rows["expect"] == rows["take"]


def test_the_network_is_what_its_spec_says() -> None:
    network = model.build(SPEC)
    shapes = [tuple(variable.shape) for variable in network.trainable_variables]
    conv, norm, dense = [(3, 3, 3, 4), (4,), (3, 3, 4, 6), (6,)], [(6,), (6,)], [(3 * 3 * 6, 5), (5,), (5, 1), (1,)]
    assert shapes == conv + norm + dense


@pytest.mark.skipif(training_loop.keras.config.backend() != "tensorflow", reason="the operation is TensorFlow's")
def test_the_fused_batch_norm_is_the_one_of_keras_but_for_rounding(tmp_path: Path) -> None:
    """Outputs, gradients and moving statistics of training; names of variables, by which weights are found again."""
    inputs = np.random.default_rng(0).normal(3, 2, (8, 6, 6, 5)).astype(np.float32)
    found = []
    for kind in (batch_norm.BatchNormalization, batch_norm.keras.layers.BatchNormalization):
        batch_norm.keras.utils.clear_session()
        network = batch_norm.keras.Sequential(
            [batch_norm.keras.Input((6, 6, 5)), kind(momentum=0.9), training_loop.keras.layers.Flatten()]
        )
        network.layers[0].set_weights([np.linspace(0.5, 1.5, 5), np.linspace(-1, 1, 5), np.zeros(5), np.ones(5)])
        network.compile(optimizer=training_loop.keras.optimizers.SGD(0.1), loss="mse")
        outputs = np.asarray(network(inputs, training=True))
        network.train_on_batch(inputs, np.random.default_rng(1).normal(size=outputs.shape))
        network.save_weights(tmp_path / "x.weights.h5")
        names = [variable.path for variable in network.variables]
        found.append((outputs, np.asarray(network(inputs)), names, network.get_weights()))
    for fused, plain in zip(*found, strict=True):
        if isinstance(fused, np.ndarray):
            np.testing.assert_allclose(fused, plain, rtol=1e-3, atol=1e-4)
    assert found[0][2] == found[1][2]
    for fused, plain in zip(found[0][3], found[1][3], strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)


def test_images_are_normalised_inside_the_network() -> None:
    model.seed_everything(1)
    network = model.build({**SPEC, "layers": []})
    weights, bias = (np.asarray(variable, dtype=np.float64) for variable in network.variables)
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    by_hand = ((image - np.array([120, 110, 130])) / np.array([40, 50, 60])).ravel() @ weights + bias
    assert model.logits(network, [image]) == pytest.approx(by_hand, rel=1e-4)


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a layer this code does not know: .*lambda"):
        model.build({**SPEC, "layers": [{"kind": "lambda", "code": "import os"}]})


def test_no_images_give_no_logits() -> None:
    assert model.logits(model.build(SPEC), []).shape == (0,)
