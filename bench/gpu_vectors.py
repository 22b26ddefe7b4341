"""The part of `bench.gpu` on vectors: how fast an encoder is on the device, and whether anything keeps it waiting."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections import deque
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from bench import gpu_work
from bench.report import Report
from bench.training import measure
from pipeline.common import config, parallel, paths
from pipeline.common.params_learning import PackageEncoder

_CELL_PX = 144  # of the published cohort's files


def embedding(report: Report, tiny: bool) -> None:
    """Images a second, from the bare network to the stage."""
    name, network = _encoder(tiny)
    report.part(f"Encoder {name} at {network.px} px, float32, weights by chance: images a second")
    row = report.table(
        "bare: batches on the device", "images in memory", "`embed`, from files", "reading files alone, all cores"
    )
    images = np.random.default_rng(0).integers(0, 256, (network.batch, network.px, network.px, 3), dtype=np.uint8)
    count = (2 if tiny else 40) * len(images)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        files = _drawn(200 if tiny else 32_000)
        ways = {
            "bare": (partial(_bare, network, images, count), count),
            "memory": (partial(_all, network, images, count), count),
            "embed": (partial(_embed, name, network, files), len(files)),
            "read": (partial(_read, network, files), len(files)),
        }
        found = {what: float(measure({"way": way}, size, 3)["way"].median()) for what, (way, size) in ways.items()}
    row(*(f"{found[what]:,.0f}" for what in ways))


def _encoder(tiny: bool) -> tuple[str, Any]:
    """That of params.yaml which needs no file; of weights by chance, since its package may not be here."""
    from pipeline.encoders import efficientnet_lite0, encoder
    from pipeline.machine import device

    settings = config.load().encoders
    name, own = next((name, own) for name, own in settings.items() if isinstance(own, PackageEncoder))
    own = own.model_copy(update={"px": 64}) if tiny else own
    on = gpu_work.machine(tiny, xla=not tiny, precision="float32")  # XLA takes a processor minutes for so many layers
    device.whole_float32()
    with mock.patch.multiple(encoder, _weights_file=mock.Mock()), mock.patch.object(efficientnet_lite0, "take_weights"):
        return name, encoder.Encoder(name, own, on)


def _drawn(count: int) -> list[tuple[str, str]]:
    """Files of noise below data/raw: path and SHA-256."""
    rng, found = np.random.default_rng(0), []
    (paths.RAW / "control").mkdir(parents=True)
    for number in range(count):
        written = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (_CELL_PX, _CELL_PX, 3), dtype=np.uint8)).save(written, "TIFF")
        path = f"control/image_{number}.tif"
        (paths.RAW / path).write_bytes(written.getvalue())
        found.append((path, hashlib.sha256(written.getvalue()).hexdigest()))
    return found


def _bare(network: Any, images: Any, count: int) -> None:
    import tensorflow as tf

    there = tf.constant(images)
    for _ in range(count // len(images)):
        made = network._forward(there)
    np.asarray(made)


def _all(network: Any, images: Any, count: int) -> None:
    deque(network.vectors(images[number % len(images)] for number in range(count)), maxlen=0)


def _embed(name: str, network: Any, files: list[tuple[str, str]]) -> None:
    from pipeline.encoders.kept_vectors import KeptVectors
    from pipeline.stages import embed

    with tempfile.TemporaryDirectory(dir=".") as folder, closing(KeptVectors(Path(folder) / "kept", network.dimension)) as kept:
        embed._embed(name, network, "gpu", kept, files, 0)


def _read(network: Any, files: list[tuple[str, str]]) -> None:
    from pipeline.stages import embed

    with closing(parallel.each(partial(embed._seen, px=network.px), files)) as seen:
        deque(seen, maxlen=0)
