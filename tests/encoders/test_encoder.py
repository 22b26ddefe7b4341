"""An encoder's vectors come in their images' order, whatever else is under way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from pipeline.common import config
from pipeline.common.errors import DataError
from pipeline.common.params_learning import PackageEncoder
from pipeline.encoders.encoder import Encoder
from pipeline.machine import device


@pytest.fixture(scope="module")
def network() -> Encoder:
    """As a GPU works with it, a batch ahead, but with small batches."""
    settings = config.load(ROOT / "params.yaml").encoders
    name, package = next((name, encoder) for name, encoder in settings.items() if isinstance(encoder, PackageEncoder))
    made = Encoder(name, package.model_copy(update={"px": 32}), replace(device.prepare("float32"), kind="gpu"))
    made.batch = 4
    return made


@pytest.mark.parametrize("count", [0, 1, 4, 11])
def test_of_each_image_in_its_place(network: Encoder, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    made = [*network.vectors(images)]
    assert [len(part) for part in made] == [4] * (count // 4) + [count % 4] * (count % 4 > 0)
    alone = [next(network.vectors([image])) for image in images]
    assert np.array_equal(np.concatenate([np.empty((0, 1280)), *made]), np.concatenate([np.empty((0, 1280)), *alone]))


def test_the_next_batch_is_put_together_while_one_is_computed(network: Encoder) -> None:
    taken: list[int] = []
    images = (taken.append(number) or np.zeros((32, 32, 3), np.uint8) for number in range(20))
    next(network.vectors(images))
    assert len(taken) == 8


def test_vectors_that_hold_no_numbers_are_none(network: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_forward", lambda images: np.full((4, 1280), np.nan))
    with pytest.raises(DataError, match="hold no numbers"):
        next(network.vectors([np.zeros((32, 32, 3), np.uint8)]))


def test_with_xla_the_outputs_are_the_same_but_for_rounding() -> None:
    import keras

    keras.utils.set_random_seed(1)
    found = keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
    images, machine = np.random.default_rng(0).random((4, 12, 12, 3), np.float32), device.prepare("float32")
    compiled, plain = (device.forward(found, replace(machine, xla=xla))(images) for xla in (True, False))
    np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6)
