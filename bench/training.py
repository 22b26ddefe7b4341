"""How fast `train` trains, beside its bound and beside the usual ways. `python -m bench.training`

For every network of params.yaml, in images a second, measured in alternation:

    train       what the stage `train` does: memory-mapped cells, batches of both classes, augmentation, the compiled step
    from disk   the same with cells that the system forgets before every round, as those of a cohort larger than the memory
    bare step   the same compiled step on one batch that lies ready: the bound, no way to feed it can be faster
    notebook    what one writes first: every image opened and resized with Pillow in every epoch, float32, Keras' defaults
    PyTorch     the same network, channels last, in the same precision, batches ready in memory; where it is installed

With KERAS_BACKEND=jax, where JAX is installed, the same without TensorFlow: for a GPU that only JAX can use.

The last two columns say how many floating-point operations a second the convolutions and products of `train` make, and which
share that is of a product of two square matrices of 2,048 in the same precision: what this processor can do at most.

The images are the demo cohort's or whatever `dvc repro` left in data/. A ratio's lower bound is the fifth percentile over the
rounds, each of which measures all ways once.
"""

from __future__ import annotations

import argparse
import importlib.util
import mmap
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from bench import pytorch
from pipeline.common import config, paths
from pipeline.folds import dealing
from pipeline.networks import epoch_images, recipe

Way = Callable[[], None]
Pools = tuple[epoch_images.Pool, epoch_images.Pool]


def ways(
    settings: config.Config, subtype: str, precision: Literal["auto", "bfloat16", "float32"], steps: int
) -> tuple[dict[str, Way], float]:
    """Each runs `steps` steps of `train.batch_size` images (the matrix product a quarter as often); operations an image."""
    from pipeline.networks import batch_norm, device, model, training_loop

    machine = device.prepare(precision)
    training_loop.forget_networks()
    spec, by_role, images = inputs(settings, subtype, machine)
    pools = by_role["train"]
    epoch = training_loop.Epoch(pools, settings.train.batch_size, settings.train.augment, 0, 0)
    network, bare = (compiled(model.build(spec, batch_norm.layer(machine)), machine.xla) for _ in range(2))
    found: dict[str, Way] = {
        "train": lambda: training_loop.train_epoch(network, _Repeated(epoch, steps)),
        "from disk": _from_disk(network, pools, settings, steps),
        "bare step": bare_step(bare, epoch[0], steps),
        "notebook": _notebook(settings, subtype, images, steps),
    }
    if importlib.util.find_spec("torch"):
        found["PyTorch"] = pytorch.way(spec, epoch, steps)
    found["matrix product"] = _product(machine.precision, steps)
    return found, _flops(spec)


def inputs(settings: config.Config, subtype: str, machine: Any) -> tuple[dict[str, Any], dict[str, Pools], list[pd.DataFrame]]:
    """What a training of the first fold on `machine` starts from: the network's spec, its images by role, all tables."""
    split, tables, cells = recipe.inputs(settings, subtype)
    fold = settings.folds[0]
    roles = dealing.roles(split, fold, settings.split.n_folds)
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(tables)]
    pools = recipe.pools(settings, cells, images)
    return recipe.spec(settings, subtype, "published", fold, recipe.normalisation(pools["train"]), vars(machine)), pools, images


_OTHERS = 100  # rows of the spread cells to each that is trained with


def _from_disk(network: Any, pools: Pools, settings: config.Config, steps: int) -> Way:
    """As many images as a round takes, each among many in files of their own, which the system forgets before every round."""
    from pipeline.networks import training_loop

    half, folder = settings.train.batch_size // 2, Path(".checkpoints")
    folder.mkdir(exist_ok=True)
    spread, files = [], []
    for pool in pools:
        chosen = np.unique(np.linspace(0, len(pool.rows) - 1, steps * half, dtype=int))
        count, shape = len(chosen), pool.cells.shape[1:]
        file = tempfile.NamedTemporaryFile(dir=folder, suffix=".npy")  # noqa: SIM115  # as long as the process
        cells = np.lib.format.open_memmap(file.name, mode="w+", dtype=np.uint8, shape=(count * _OTHERS, *shape))
        cells.reshape(count, _OTHERS, *shape)[:] = pool.take(chosen)[:, None]
        cells.flush()
        files.append(file)
        spread.append(epoch_images.Pool(np.load(file.name, mmap_mode="r"), np.arange(count) * _OTHERS, pool.patients[chosen]))

    def run() -> None:
        for pool, file in zip(spread, files, strict=True):
            mapped: Any = pool.cells.base
            mapped.madvise(mmap.MADV_DONTNEED)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        epoch = training_loop.Epoch((spread[0], spread[1]), settings.train.batch_size, settings.train.augment, 0, 0)
        training_loop.train_epoch(network, _Repeated(epoch, min(steps, len(epoch))))

    return run


def _flops(spec: dict[str, Any]) -> float:
    """Floating-point operations of one image's share of a step: forward, and twice as many backward."""
    total, channels, side = 0.0, 3, spec["px"]
    for layer in [*spec["layers"], {"kind": "dense", "units": 1}]:
        match layer:
            case {"kind": "conv", "kernel_px": kernel, "filters": filters, "pool": pool}:
                total += 2 * side**2 * kernel**2 * channels * filters
                channels, side = filters, side // 2 if pool else side
            case {"kind": "shrink", "factor": factor}:
                side //= factor
            case {"kind": "mean"}:
                side = 1
            case {"kind": "dense", "units": units}:
                total += 2 * channels * side**2 * units
                channels, side = units, 1
    return 3 * total


_PRODUCT = 2048  # side of the square matrices


def _product(precision: str, steps: int) -> Way:
    import keras

    matrix = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(_PRODUCT, _PRODUCT)), precision)

    def run() -> None:
        for _ in range(max(1, steps // 4)):
            result = keras.ops.matmul(matrix, matrix)
        float(keras.ops.cast(result[0, 0], "float32"))

    return run


def compiled(network: Any, xla: bool) -> Any:
    """The network, ready for `train_step`."""
    import keras

    network.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
        jit_compile=xla,
    )
    return network


def _fit(network: Any, batches: Any) -> None:
    network.fit(batches, epochs=1, shuffle=False, verbose=0)


def _Repeated(epoch: Any, steps: int) -> Any:  # noqa: N802  # a class that needs Keras, which is imported late
    import keras

    class Repeated(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
        """The epoch's batches again and again, made anew every time."""

        number = 0

        def __len__(self) -> int:
            return steps

        def __getitem__(self, step: int) -> Any:
            return epoch[step % len(epoch)]

    return Repeated()


def bare_step(network: Any, batch: Any, steps: int) -> Way:
    """The compiled step on one batch that lies ready."""
    import keras

    if keras.config.backend() != "tensorflow":  # whose state leaves the device with every call but those of one `fit`
        return lambda: _fit(network, _Repeated([batch], steps))

    import tensorflow as tf

    data = tuple(tf.constant(part) for part in batch)
    step = tf.function(lambda: network.train_step(data), jit_compile=network.jit_compile)

    def run() -> None:
        for _ in range(steps):
            logs = step()
        float(logs["loss"])

    return run


def _notebook(settings: config.Config, subtype: str, images: list[pd.DataFrame], steps: int) -> Way:
    import keras

    layers, px, half = keras.layers, settings.pack.px, settings.train.batch_size // 2
    network, own = (
        settings.candidates["published"].networks[subtype],
        [table[table["role"] == "train"]["path"].tolist() for table in images],
    )
    x = inputs = keras.Input((px, px, 3))
    for number, filters in enumerate([network.first_conv, *network.conv]):
        x = layers.Conv2D(filters, settings.train.kernel_px, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(layers.BatchNormalization()(x) if number else x)
    x = layers.Flatten()(x)
    for units in network.dense:
        x = layers.Dense(units, activation="relu")(x)
    classifier = keras.Model(inputs, layers.Dense(1, activation="sigmoid", dtype="float32")(x))
    classifier.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])

    def opened(path: str) -> Any:
        with Image.open(paths.RAW / path) as image:
            return np.asarray(image.convert("RGB").resize((px, px)), dtype=np.float32) / 255

    class Files(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
        def __len__(self) -> int:
            return steps

        def __getitem__(self, step: int) -> Any:
            chosen = [paths_[(step * half + n) % len(paths_)] for paths_ in own for n in range(half)]
            return np.stack([opened(path) for path in chosen]), np.repeat([0.0, 1.0], half)[:, None]

    return lambda: _fit(classifier, Files())


def measure(found: dict[str, Way], images: int, rounds: int) -> pd.DataFrame:
    """Images a second, a row a round and a column a way."""
    for run in found.values():
        run()  # the first time compiles
    rows = []
    for number in range(rounds):
        row = {}
        for name in list(found)[number % len(found) :] + list(found)[: number % len(found)]:
            started = time.perf_counter()
            found[name]()
            row[name] = images / (time.perf_counter() - started)
        rows.append(row)
    return pd.DataFrame(rows)[list(found)]


def main() -> None:
    """Print a table of each precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=32, help="a round and way")
    parser.add_argument("--precision", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("subtypes", nargs="*", help="all of params.yaml when left out")
    options = parser.parse_args()
    settings = config.load(Path("params.yaml"))
    from pipeline.networks import device

    machine = device.prepare(options.precision)
    threads = f"{machine.threads} of {os.cpu_count()} threads"
    tools = f"{machine.backend} {version(machine.backend)}, Keras {version('keras')}, Python {platform.python_version()}"
    print(f"{machine.name}, {threads}, {machine.precision}, {tools}")
    print(f"{settings.pack.px} px, batches of {settings.train.batch_size}, {options.rounds} rounds of {options.steps} steps\n")
    others = ["from disk", "bare step", "notebook", "PyTorch"]
    head = ["network", "train", *others, "from disk / bare step", *(f"train / {other}" for other in others[1:])]
    head += ["GFLOP/s", "of a matrix product's"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for subtype in options.subtypes or settings.subtypes:
        found, operations = ways(settings, subtype, options.precision, options.steps)
        table = measure(found, options.steps * settings.train.batch_size, options.rounds)
        medians = table.median()
        speeds = [f"{medians[name]:.0f}" if name in table else "-" for name in ("train", *others)]
        pairs = [("from disk", "bare step"), *(("train", other) for other in others[1:])]
        ratios = []
        for one, other in pairs:
            ratio = table[one] / table[other] if other in table else None
            ratios.append(f"{ratio.median():.2f} ({ratio.quantile(0.05):.2f})" if ratio is not None else "-")
        products = table["matrix product"] / (options.steps * settings.train.batch_size) * max(1, options.steps // 4)
        reached, most = table["train"] * operations / 1e9, products * 2 * _PRODUCT**3 / 1e9
        shares = [f"{reached.median():.0f}", f"{(reached / most).median():.2f}"]
        print("| " + " | ".join([subtype, *speeds, *ratios, *shares]) + " |", flush=True)


if __name__ == "__main__":
    main()
