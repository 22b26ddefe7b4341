"""What bfloat16 costs in accuracy: the same trainings in both precisions, over seeds. `python -m bench.precision [subtype ...]`

Every subtype's first fold is trained with each seed, once in bfloat16 and once in float32, with the settings of params.yaml, on
the cells that `dvc repro` left in data/. Pairs share seed, order of images and first weights. Printed are the differences,
bfloat16 less float32, of the AUROC and the balanced accuracy of the test images, with the 95 % interval of their mean over the
seeds (t distribution): it tells what the precision does to a training, not how well a network would do on other patients.

A processor without bfloat16 has it emulated: convolutions and products of bfloat16 are summed in float32 and rounded to
bfloat16, as processors and GPUs that have it do. TensorFlow's own way there is some twelve times as slow; `--check` holds the
gradients of one batch against it, or against the bfloat16 of a processor that has it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score

from bench.training import inputs
from pipeline.common import config
from pipeline.networks import loss

Precision: TypeAlias = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def built(settings: config.Config, subtype: str, precision: Precision, seed: int) -> tuple[Any, dict[str, Any], Any]:
    """An untrained network of the first fold, its images by role, and the device to train it on."""
    from pipeline.machine import device
    from pipeline.networks import model, training_loop

    training_loop.forget_networks()
    machine = replace(device.prepare("auto"), precision=precision)
    spec, pools, _ = inputs(settings, subtype, machine)
    model.seed_everything(seed)
    return training_loop.trainable(spec, machine), pools, machine


def trained(settings: config.Config, subtype: str, precision: Precision, seed: int) -> tuple[float, float]:
    """AUROC and balanced accuracy of the test images."""
    from pipeline.networks import training_loop

    network, pools, on = built(settings, subtype, precision, seed)
    rate = settings.network_of(subtype, "published").learning_rate
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        checkpoint = Path(folder) / "training.npz"
        training_loop.fit(network, pools["train"], pools["val"], settings.train, rate, seed, on, checkpoint, lambda row: None)
    logits = np.concatenate([training_loop.pool_logits(network, pool, on) for pool in pools["test"]])
    labels = np.repeat([0, 1], [len(pool.rows) for pool in pools["test"]])
    return float(roc_auc_score(labels, logits)), loss.balanced_accuracy(labels, logits > 0)


def gradients(settings: config.Config, subtype: str, precision: Precision) -> list[NDArray[np.float64]]:
    """Of the loss of the first batch, by each of the network's trainable variables."""
    import tensorflow as tf

    from pipeline.networks import epoch_on_host, training_loop

    network, pools, on = built(settings, subtype, precision, 0)
    training_loop.compile_network(network, settings.train, 1e-4, on)
    images, labels = epoch_on_host.Epoch(pools["train"], settings.train.batch_size, settings.train.augment, 0, 0)[0]

    @tf.function  # type: ignore[untyped-decorator]  # tensorflow has no types
    def of_batch() -> Any:
        with tf.GradientTape() as tape:
            loss = network.compute_loss(x=images, y=labels, y_pred=network(images, training=True))
        return tape.gradient(loss, [variable.value for variable in network.trainable_variables])

    return [np.asarray(gradient, dtype=np.float64) for gradient in of_batch()]


def check(settings: config.Config, subtypes: list[str]) -> None:
    """Print how far gradients in the emulated bfloat16, and those in float32, are from TensorFlow's own in bfloat16."""
    print("| network | emulated, median over the variables (least to most) | float32 |\n|---|---|---|")
    for subtype in subtypes:
        own, single = gradients(settings, subtype, "bfloat16"), gradients(settings, subtype, "float32")
        with emulated():
            rounded = gradients(settings, subtype, "bfloat16")
        cells = []
        for others in (rounded, single):
            far = [np.linalg.norm(other - mine) / np.linalg.norm(mine) for other, mine in zip(others, own, strict=True)]
            cells.append(f"{np.median(far):.1%} ({min(far):.1%} to {max(far):.1%})")
        print(f"| {subtype} | " + " | ".join(cells) + " |", flush=True)


@contextlib.contextmanager
def emulated() -> Iterator[None]:
    """bfloat16 in convolutions and products is float32, rounded."""
    import tensorflow as tf

    def summed_in_float32(operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(left: Any, right: Any, *rest: Any, **more: Any) -> Any:
            if left.dtype != tf.bfloat16:
                return operation(left, right, *rest, **more)
            exact = operation(tf.cast(left, tf.float32), tf.cast(right, tf.float32), *rest, **more)
            return tf.cast(exact, tf.bfloat16)

        return call

    with (
        mock.patch.object(tf.nn, "convolution", summed_in_float32(tf.nn.convolution)),
        mock.patch.object(tf, "matmul", summed_in_float32(tf.matmul)),
    ):
        yield


def _shown(differences: NDArray[np.float64]) -> str:
    mean, error = float(differences.mean()), float(stats.sem(differences))
    reach = error * float(stats.t.ppf(0.975, len(differences) - 1))
    return f"{mean:+.3f} ({mean - reach:+.3f} to {mean + reach:+.3f})"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="hold the emulation against TensorFlow's own bfloat16 instead")
    parser.add_argument("subtypes", nargs="*", help="all of params.yaml when left out")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: two at least")
    settings = config.load()
    subtypes = options.subtypes or list(settings.subtypes)
    if options.check:
        check(settings, subtypes)
        return
    from pipeline.machine import device

    has_bfloat16 = device.prepare("auto").precision == "bfloat16"
    with contextlib.nullcontext() if has_bfloat16 else emulated():
        print(f"bfloat16 {'of the device' if has_bfloat16 else 'emulated'}; {options.seeds} seeds\n")
        print("| network | AUROC, float32 | difference | balanced accuracy, float32 | difference |\n|---|---|---|---|---|")
        found = []
        for subtype in subtypes:
            found.append(_compared(settings, subtype, options.seeds))
            print(_row(subtype, found[-1]), flush=True)
        if len(found) > 1:
            print(_row("all", np.concatenate(found, axis=1)))


def _compared(settings: config.Config, subtype: str, seeds: int) -> NDArray[np.float64]:
    """Figures by precision, seed and figure."""
    found = np.empty((len(PRECISIONS), seeds, 2))
    for seed in range(seeds):
        for k, precision in enumerate(PRECISIONS):
            found[k, seed] = trained(settings, subtype, precision, seed)
            auroc, accuracy = found[k, seed]
            said = f"{subtype}, seed {seed}, {precision}: AUROC {auroc:.3f}, balanced accuracy {accuracy:.3f}"
            print(said, file=sys.stderr, flush=True)
    return found


def _row(name: str, found: NDArray[np.float64]) -> str:
    cells = []
    for figure in (0, 1):
        single, half = found[:, :, figure]
        cells += [f"{single.mean():.3f} (sd {single.std(ddof=1):.3f})", _shown(half - single)]
    return f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
