"""Batches made on the device, as a processor and as a GPU does: the host's pixels, the bits of Keras' step, twice the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from networks.test_training_loop import SPEC as WITHOUT_DROPOUT
from networks.test_training_loop import bits, pool, settings

from pipeline.common.params_learning import Augment
from pipeline.machine import device
from pipeline.networks import epoch_on_device, epoch_on_host, max_pool, model, training, training_loop

pytestmark = pytest.mark.skipif(training_loop.keras.config.backend() != "tensorflow", reason="the steps are TensorFlow's")
SPEC = {**WITHOUT_DROPOUT, "layers": [*WITHOUT_DROPOUT["layers"], {"kind": "dropout", "rate": 0.2}]}
POOLS = (pool(1, 0), pool(2, 40))


@pytest.fixture(scope="module", autouse=True)
def _deterministic() -> None:
    device.prepare("float32")


def machine(**changes: Any) -> device.Device:
    return replace(device.prepare("float32"), batches="device", **changes)


def train(checkpoint: Path, on: device.Device, stop_after: int | None = None) -> tuple[Any, Any]:
    training_loop.forget_networks()
    model.seed_everything(7)
    network = training_loop.trainable(SPEC, on)

    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == stop_after:
            raise KeyboardInterrupt

    val = (pool(3, 0), pool(4, 40))
    history, _ = training_loop.fit(network, POOLS, val, settings(max_epochs=3), 0.01, 7, on, checkpoint, on_epoch)
    return network, history


def _device_images(epoch: epoch_on_host.Epoch, step: int, xla: bool) -> Any:
    import tensorflow as tf

    rows, changes = epoch.draw(step)
    images, at = epoch_on_device.Cells(POOLS, 2**30).at(rows)
    drawn = [part.astype(np.int32) for part in (changes.quarters, changes.up_down, changes.left_right)]
    made = tf.function(epoch_on_device.changed, jit_compile=xla, autograph=False) if xla else epoch_on_device.changed
    return np.asarray(made(tf.gather(images, at), *drawn, changes.strength.astype(np.float32)))


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 99),
    st.integers(0, 5),
    st.builds(Augment, flips=st.booleans(), quarter_turns=st.booleans(), stain_jitter=st.floats(0, 1, exclude_max=True)),
)
def test_the_images_of_seed_epoch_and_step_are_the_hosts(seed: int, number: int, step: int, augmentation: Augment) -> None:
    epoch = epoch_on_host.Epoch(POOLS, 8, augmentation, seed, number)
    assert np.array_equal(_device_images(epoch, step, xla=False), epoch[step][0])


def test_xla_makes_the_same_images() -> None:
    epoch = epoch_on_host.Epoch(POOLS, 8, settings().augment, seed=5, epoch=1)
    for step in range(len(epoch)):
        assert np.array_equal(_device_images(epoch, step, xla=True), epoch[step][0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_without_xla_a_training_ends_with_the_bits_of_one_step_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    on = machine(precision=precision)
    made, history = train(tmp_path / "device.npz", on)
    monkeypatch.setattr(training_loop, "teacher", _one_step_a_call)
    host, again = train(tmp_path / "host.npz", on)
    assert again == history
    assert bits(made) == bits(host)


def _one_step_a_call(network: Any, machine: device.Device, pools: Any, settings: Any, seed: int) -> Any:
    """Keras' own step, of batches that the host makes."""
    network.make_train_function()

    def teach(number: int) -> dict[str, float]:
        batches = training_loop.batches(pools, settings, seed)(number)
        network.reset_metrics()
        for step in range(len(batches)):
            network.train_function(iter([batches[step]]))
        return training_loop.figures(network.get_metrics_result())

    return teach


def test_with_xla_it_ends_with_the_same_bits_once_more_cut_off_and_with_cells_sent_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = machine(xla=True)
    whole, history = train(tmp_path / "whole.npz", on)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut.npz", on, stop_after=1)
    monkeypatch.setattr(device, "room_bytes", lambda: 0)
    monkeypatch.setattr(
        epoch_on_device, "_SENT_BYTES", 2 * 8 * 12 * 12 * 3
    )  # two batches a call, and one where six do not divide
    resumed, again = train(tmp_path / "cut.npz", on)
    assert again == history
    assert bits(resumed) == bits(whole)


def test_its_weights_are_those_of_the_network_that_is_served(tmp_path: Path) -> None:
    trained, _ = train(tmp_path / "x.npz", machine())
    training_loop.save_weights(trained, SPEC, tmp_path / "model.weights.h5")
    served = model.build(SPEC)
    served.load_weights(tmp_path / "model.weights.h5")
    assert [weight.tobytes() for weight in served.get_weights()] == [weight.tobytes() for weight in trained.get_weights()]
    scored = training_loop.pool_logits(trained, POOLS[0], machine(xla=True))
    np.testing.assert_allclose(scored, model.logits(served, list(POOLS[0].cells)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("room_bytes", [0, 2**30])
@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_every_image_is_scored_once_and_in_its_place(monkeypatch: pytest.MonkeyPatch, room_bytes: int, count: int) -> None:
    monkeypatch.setattr(epoch_on_device, "_SCORED_AT_ONCE", 5)
    model.seed_everything(1)
    network, own = model.build(SPEC), pool(5, 20)
    few = replace(own, rows=own.rows[::-1][:count], patients=own.patients[:count])
    found = epoch_on_device.logits(network, epoch_on_device.Cells([few], room_bytes), xla=False)
    np.testing.assert_allclose(found, model.logits(network, list(few.take(np.arange(count)))), rtol=1e-4, atol=1e-5)


def test_cells_that_do_not_fit_are_never_sent_as_a_whole() -> None:
    bytes_of_both = 2 * 24 * 12 * 12 * 3
    assert epoch_on_device.Cells(POOLS, bytes_of_both).are_there
    cells = epoch_on_device.Cells(POOLS, bytes_of_both - 1)
    images, at = cells.at(np.array([3, 24 + 5, 3]))
    assert not cells.are_there
    assert images.shape[0] == 3
    assert np.array_equal(images.numpy()[at], np.stack([POOLS[0].cells[3], POOLS[1].cells[5], POOLS[0].cells[3]]))


@pytest.mark.parametrize("side", [4, 5])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_maximum_and_its_gradient_are_keras_own_also_where_pixels_are_equal(side: int, dtype: str) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(side)
    images = tf.cast(rng.integers(-1, 3, (3, side, side, 4)), dtype)  # many equal ones
    weights = tf.cast(rng.normal(size=(3, side // 2, side // 2, 4)), dtype)
    found = []
    for layer in (max_pool.MaxPooling2D(dtype=dtype), training_loop.keras.layers.MaxPooling2D(dtype=dtype)):
        with tf.GradientTape() as tape:
            tape.watch(images)
            largest = layer(images)
            loss = tf.reduce_sum(largest * weights)
        found.append((largest.numpy(), tape.gradient(loss, images).numpy()))
    for ours, theirs in zip(*found, strict=True):
        assert np.array_equal(ours, theirs)


def test_two_are_made_ahead_and_come_in_order() -> None:
    made: list[int] = []
    before = set(threading.enumerate())
    ahead = epoch_on_device._ahead(lambda item: made.append(item) or item, iter(range(10**9)))
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    ahead.close()
    assert set(made) <= set(range(5))
    assert set(threading.enumerate()) <= before


def test_what_cannot_be_made_is_said_where_it_is_awaited() -> None:
    def make(item: int) -> float:
        return 1 / (item - 1)

    ahead = epoch_on_device._ahead(make, iter(range(3)))
    assert next(ahead) == -1
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_a_training_says_where_and_how_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    on = replace(machine(xla=True), name="GPU", precision="bfloat16", threads=4)

    def said(on: device.Device) -> str:
        return training.Prepared(None, "", "", [], {"train": POOLS}, on, {}).way()  # type: ignore[arg-type]  # no more is read

    assert said(on) == "GPU (bfloat16, XLA, batches made on it of cells in its memory, 4 threads)"
    monkeypatch.setattr(device, "room_bytes", lambda: 100)
    assert said(on) == "GPU (bfloat16, XLA, batches made on it of cells sent ahead, 4 threads)"
    assert said(replace(on, batches="host", xla=False)) == "GPU (bfloat16, no XLA, batches made by the host, 4 threads)"


def test_on_a_processor_a_call_is_short_enough_to_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = device.prepare("auto")
    assert (found.xla, found.batches) == (found.kind == "gpu", "device")
    monkeypatch.setattr(epoch_on_device, "_WITHOUT_XLA", 2)
    of = training_loop.batches(POOLS, settings(batch_size=16), 0)
    cells = epoch_on_device.Cells(POOLS, 2**30)
    for xla, expected in ((True, [range(3), range(3)]), (False, [range(2), range(2, 3)])):
        places = epoch_on_device.Epochs(None, cells, of, xla).places(0)
        assert [next(places)[1] for _ in range(2)] == expected


def test_xla_knows_the_setting_of_its_products() -> None:
    """It ends the process where it doesn't."""
    code = (
        "from pipeline.machine import device; device.prepare('auto')\n"
        "import os; print(os.environ['XLA_FLAGS'])\n"
        "import tensorflow as tf; print(tf.function(lambda x: x + 1, jit_compile=True)(1.0).numpy())"
    )
    variables = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--xla_gpu_enable_triton_gemm=false", "2.0"]


def test_a_persons_own_settings_of_xla_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=true --xla_dump_to=x")
    device.prepare("float32")
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_enable_triton_gemm=true --xla_dump_to=x"
