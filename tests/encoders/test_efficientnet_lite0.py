"""The network in Keras is the published one; of a torch file nothing but tensors is taken."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from pipeline.common.errors import DataError
from pipeline.encoders import torch_file

REFERENCE = ROOT / "tests/artefacts/efficientnet_lite0.npz"  # by torch: tests/artefacts/README.md


def drawn(px: int) -> np.ndarray:
    """The four pictures that the reference was made of, in whole numbers."""
    y, x = np.mgrid[:px, :px]
    pictures = []
    for k in range(4):
        picture = np.stack([(x * (k + 3) + y * (2 * channel + 1)) % 256 for channel in range(3)], -1)
        picture[(x - px // 2) ** 2 + (y - px // 3) ** 2 < (px // (k + 3)) ** 2] = [90, 40 + 30 * k, 150]
        pictures.append(picture.astype(np.uint8))
    return np.stack(pictures)


@pytest.mark.parametrize("px", [64, 160])
def test_vectors_are_those_of_the_reference(px: int) -> None:
    from pipeline.encoders import efficientnet_lite0
    from pipeline.machine import device

    device.prepare("float32")
    network = efficientnet_lite0.build(px)
    efficientnet_lite0.take_weights(network, efficientnet_lite0.weights_file())
    made = np.asarray(network.predict_on_batch(drawn(px)))
    assert made.dtype == np.float32
    assert np.abs(made - np.load(REFERENCE)[f"px_{px}"]).max() < 1e-4


class Evil:
    """Unpickled as it asks, it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def saved(file: Path, what: object, storages: bytes = b"") -> Path:
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, what, []]
    file.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + storages)
    return file


def test_a_file_that_would_run_code_runs_none(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(DataError, match=r"evil\.pth: not a file of torch's that holds tensors alone: it asks for "):
        torch_file.tensors(saved(tmp_path / "evil.pth", {"weight": Evil(target)}))
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [({"weight": 1}, "something beside tensors"), ([1, 2], "something beside tensors")],
)
def test_what_holds_no_tensors_is_refused(tmp_path: Path, content: object, why: str) -> None:
    with pytest.raises(DataError, match=why):
        torch_file.tensors(saved(tmp_path / "other.pth", content))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    from pipeline.encoders import efficientnet_lite0

    whole = efficientnet_lite0.weights_file().read_bytes()
    for share in (0.0001, 0.5, 0.999):
        cut = tmp_path / "cut.pth"
        cut.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"cut\.pth: not a file of torch's"):
            torch_file.tensors(cut)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"), [(0, (3, 4), (4, 1)), (-1, (2,), (1,)), (9, (2,), (1,)), (0, (2,), (-1,))]
)
def test_a_tensor_never_looks_beyond_its_storage(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    with pytest.raises(pickle.UnpicklingError, match="beyond its storage"):
        torch_file._view(np.zeros(10, np.float32), offset, shape, strides)
