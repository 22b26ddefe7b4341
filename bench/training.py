"""How fast `train` trains, beside its bound and beside the usual ways. `python -m bench.training`

For every network of params.yaml, in images a second, measured in alternation:

    train       what the stage `train` does: memory-mapped cells, batches of both classes, augmentation, the compiled step
    from disk   the same with cells that the system forgets before every round, as those of a cohort larger than the memory
    bare step   the same compiled step on what lies ready: the bound, no way to feed it can be faster
    notebook    what one writes first: every image opened and resized with Pillow in every epoch, float32, Keras' defaults
    PyTorch     the same network, channels last, in the same precision, batches ready in memory; where it is installed
    graphs      the same, by PyTorch's compiler, with CUDA's graphs; on a GPU

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
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench import notebook, pytorch
from pipeline.common import config
from pipeline.folds import split_table
from pipeline.networks import epoch_images, recipe

Way = Callable[[], Any]
Pools = tuple[epoch_images.Pool, epoch_images.Pool]


def ways(
    settings: config.Config, subtype: str, precision: Literal["auto", "bfloat16", "float32"], steps: int
) -> tuple[dict[str, Way], float]:
    """Each runs `steps` steps of `train.batch_size` images (the matrix product a quarter as often); operations an image."""
    from pipeline.machine import device
    from pipeline.networks import epoch_on_host, training_loop

    machine = device.prepare(precision)
    training_loop.forget_networks()
    spec, by_role, images = inputs(settings, subtype, machine)
    pools = by_role["train"]
    network, bare = (compiled(spec, machine) for _ in range(2))
    found: dict[str, Way] = {
        "train": learning(network, pools, settings, machine, steps),
        "from disk": _from_disk(network, pools, settings, machine, steps),
        "bare step": bare_step(bare, pools, settings, machine, steps),
        "notebook": notebook.way(settings, subtype, images, steps),
    }
    if importlib.util.find_spec("torch"):
        epoch = epoch_on_host.Epoch(pools, settings.train.batch_size, settings.train.augment, 0, 0)
        found["PyTorch"] = pytorch.way(spec, epoch, steps)
        if machine.kind == "gpu":
            found["graphs"] = pytorch.way(spec, epoch, steps, compiled=True)
    found["matrix product"] = _product(machine.precision, steps)
    return found, _flops(spec)


def inputs(settings: config.Config, subtype: str, machine: Any) -> tuple[dict[str, Any], dict[str, Pools], list[pd.DataFrame]]:
    """What a training of the first fold on `machine` starts from: the network's spec, its images by role, all tables."""
    split, tables, cells = recipe.inputs(settings, subtype)
    fold = settings.folds[0]
    roles = split_table.roles(split, fold, settings.split.n_folds)
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(tables)]
    pools = recipe.pools(settings, cells, recipe.weighed(subtype, "published", fold, images))
    return recipe.spec(settings, subtype, "published", fold, recipe.normalisation(pools["train"]), vars(machine)), pools, images


_OTHERS = 100  # rows of the spread cells to each that is trained with


def _from_disk(network: Any, pools: Pools, settings: config.Config, machine: Any, steps: int) -> Way:
    """As many images as a round takes, each among many in files of their own, which the system forgets before every round."""
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

    begin = partial(learning, network, (spread[0], spread[1]), settings, machine, steps, room_bytes=0)
    begun = begin() if machine.batches == "device" else None  # by the host, every epoch first asks for its first batch

    def run() -> None:
        for pool, file in zip(spread, files, strict=True):
            mapped: Any = pool.cells.base
            mapped.madvise(mmap.MADV_DONTNEED)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        (begun or begin())()

    return run


def learning(
    network: Any, pools: Pools, settings: config.Config, machine: Any, steps: int, room_bytes: int | None = None
) -> Way:
    """So many steps as `train` does them; on a device that makes batches, cells that do not fit into `room_bytes` are sent."""
    from pipeline.machine import device
    from pipeline.networks import epoch_on_device, epoch_on_host

    def epoch(number: int) -> Any:
        batches = epoch_on_host.Epoch(pools, settings.train.batch_size, settings.train.augment, 0, number)
        return _Repeated(batches, steps)

    if machine.batches == "host":
        return partial(network.fit, epoch(0), epochs=1, shuffle=False, verbose=0)
    cells = epoch_on_device.Cells(pools, device.room_bytes() if room_bytes is None else room_bytes)
    epochs, numbers = epoch_on_device.Epochs(network, cells, epoch, machine.xla), iter(range(10**9))

    def run() -> None:
        epochs.run(next(numbers))
        finish(network)

    return run


def finish(network: Any) -> None:
    """Wait until the device has: a figure that it made is read."""
    float(network.get_metrics_result()["loss"])


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


def compiled(spec: dict[str, Any], machine: Any) -> Any:
    """An untrained network, ready for `train_step`."""
    from pipeline.networks import training_loop

    network = training_loop.trainable(spec, machine)
    training_loop.compile_network(network, config.load().train, 1e-4, machine)
    return network


def _Repeated(epoch: Any, steps: int) -> Any:  # noqa: N802  # a class that needs Keras, which is imported late
    import keras

    class Repeated(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
        """The epoch's batches again and again, made anew every time."""

        number = 0
        batch_size = getattr(epoch, "batch_size", 0)

        def __len__(self) -> int:
            return steps

        def __getitem__(self, step: int) -> Any:
            return epoch[step % len(epoch)]

        def draw(self, step: int) -> Any:
            return epoch.draw(step % len(epoch))

    return Repeated()


def bare_step(network: Any, pools: Pools, settings: config.Config, machine: Any, steps: int) -> Way:
    """The compiled step on one batch that lies ready, or the compiled steps on cells and draws that do."""
    import keras

    from pipeline.networks import epoch_on_device, epoch_on_host

    epoch = epoch_on_host.Epoch(pools, settings.train.batch_size, settings.train.augment, 0, 0)
    if keras.config.backend() != "tensorflow":  # whose state leaves the device with every call but those of one `fit`
        return partial(network.fit, _Repeated([epoch[0]], steps), epochs=1, shuffle=False, verbose=0)

    import tensorflow as tf

    if machine.xla:
        repeated = _Repeated(epoch, steps)
        epochs = epoch_on_device.Epochs(network, epoch_on_device.Cells(pools, 2**40), lambda _: repeated, machine.xla)
        arguments, _ = epochs.arguments(next(iter(epochs.places(0))))

        def run_all() -> None:
            epochs.steps(*arguments)
            finish(network)

        return run_all

    data = tuple(tf.constant(part) for part in epoch[0])
    step = tf.function(lambda: network.train_step(data), jit_compile=network.jit_compile)

    def run() -> None:
        for _ in range(steps):
            logs = step()
        float(logs["loss"])

    return run


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
    from pipeline.machine import device

    machine = device.prepare(options.precision)
    threads = f"{machine.threads} of {os.cpu_count()} threads"
    tools = f"{machine.backend} {version(machine.backend)}, Keras {version('keras')}, Python {platform.python_version()}"
    print(f"{machine.name}, {threads}, {machine.precision}, {tools}")
    print(f"{settings.pack.px} px, batches of {settings.train.batch_size}, {options.rounds} rounds of {options.steps} steps\n")
    others = ["from disk", "bare step", "notebook", "PyTorch", *(["graphs"] if machine.kind == "gpu" else [])]
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
