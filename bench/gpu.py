"""Is training on this GPU right, and as fast as it can be? `python -m bench.gpu`, in less than eight minutes

Needs Python, a GPU and what a training needs: no network, no data (it draws its cells), neither MLflow nor DVC. It prints:

    correct     a training twice, one killed and resumed, one whose cells do not fit: the same bytes; pixels as the host's; the
                demo cohort's PML_RARA on this device and on the processor, seed by seed
    speed       images a second of the published networks by path and batch
    time        where a step's time goes, by leaving parts of it out; and an epoch's
    at-once     one, two and four trainings at once, whole epochs with validation and checkpoint
    pytorch     the same networks in PyTorch, where it is installed, eager and compiled with graphs

Speeds are medians of rounds in which every way has its turn. `--processor` does all that with tiny networks on a processor,
which trains them as a GPU would: XLA, batches made on the device.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench import gpu_work, pytorch
from bench.training import _Repeated, finish, measure
from pipeline.common import config

_SEEDS = 3  # of the demo's training
_SHOWN = (gpu_work.NETWORK, "NPM1")  # of which more is measured than of the others
_AT_ONCE = (1, 2, 4)


class Report:
    """Prints what is found as soon as it is."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def part(self, name: str) -> None:
        """Begin one."""
        print(f"\n## {name} (after {time.monotonic() - self._began:.0f} s)\n", flush=True)

    def table(self, *head: str) -> Callable[..., None]:
        """Begin a table; what is returned prints a row."""

        def row(*cells: object) -> None:
            print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)

        row(*head)
        print("|" + "---|" * len(head), flush=True)
        return row


@contextlib.contextmanager
def _work(*arguments: str, tiny: bool, processor: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process of `bench.gpu_work`, which ends with this block."""
    command = [sys.executable, "-m", "bench.gpu_work", *arguments, *(["--processor"] if tiny else [])]
    command += ["--by-host"] if processor else []
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **({"CUDA_VISIBLE_DEVICES": "-1"} if processor else {})}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def _until(process: subprocess.Popen[str], text: str) -> str:
    """The process's first line that begins with `text`."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(text):
            return line
    raise SystemExit(f"{process.args} ended with status {process.wait()} before it said {text!r}")


def correct(report: Report, tiny: bool) -> None:
    """Do trainings give the same bytes, both ways to make a batch the same pixels, and both devices the same network?"""
    report.part("The same bytes")
    seeds = 1 if tiny else _SEEDS
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:

        def begin(*arguments: str, processor: bool = False) -> subprocess.Popen[str]:
            return stack.enter_context(_work(*arguments, tiny=tiny, processor=processor))

        demo = {"this device": begin("demo", str(seeds)), "processor": begin("demo", str(seeds), processor=True)}
        trainings = ("once", "again", "cells sent ahead", "killed, resumed")
        folders = {what: Path(name) / what.replace(" ", "-") for what in trainings}
        for folder in folders.values():
            folder.mkdir()
        running = {
            what: begin("same", str(folder), *(["--sent"] if "sent" in what else [])) for what, folder in folders.items()
        }
        _until(running["killed, resumed"], "epoch   2/")
        running["killed, resumed"].send_signal(signal.SIGKILL)
        running["killed, resumed"].wait()
        running["killed, resumed"] = begin("same", str(folders["killed, resumed"]))
        resumed = _until(running["killed, resumed"], "resumed after epoch").split(" from ")[0]
        row = report.table("training", "SHA-256 of model.weights.h5", "")
        digests: dict[str, str] = {}
        for what, process in running.items():
            process.communicate()
            if process.returncode:
                raise SystemExit(f"{what}: status {process.returncode}")
            digests[what] = hashlib.sha256((folders[what] / "model.weights.h5").read_bytes()).hexdigest()
            shown = f"{what} ({resumed})" if "resumed" in what else what
            row(shown, digests[what][:16], "same" if digests[what] == digests["once"] else "OTHER")
        row("pixels of a batch, host and device", "", "same" if _same_pixels(tiny) else "OTHER")

        report.part(f"The demo's {gpu_work.NETWORK}: AUROC of the test patients' images")
        row = report.table("seed", *demo)
        found = []
        for seed in range(seeds):
            found.append([float(_until(process, "AUROC").split()[1]) for process in demo.values()])
            row(seed, *(f"{value:.3f}" for value in found[-1]))
        if seeds > 1:
            row("mean (sd)", *(f"{np.mean(own):.3f} ({np.std(own, ddof=1):.3f})" for own in zip(*found, strict=True)))


def _same_pixels(tiny: bool) -> bool:
    import tensorflow as tf

    from pipeline.networks import epoch_on_device, epoch_on_host

    settings = gpu_work.published(tiny)
    gpu_work.machine(tiny)
    pools = gpu_work.made(settings)["train"]
    epoch = epoch_on_host.Epoch(pools, settings.train.batch_size, settings.train.augment, 3, 1)
    cells = epoch_on_device.Cells(pools, 2**40)
    both = tf.function(epoch_on_device.changed, jit_compile=True, autograph=False)
    found = []
    for step in range(8):
        rows, changes = epoch.draw(step)
        images, at = cells.at(rows)
        drawn = [np.asarray(part, dtype=np.int32) for part in (changes.quarters, changes.up_down, changes.left_right)]
        seen = both(tf.gather(images, at), *drawn, changes.strength.astype(np.float32))
        found.append(np.array_equal(np.asarray(seen), epoch[step][0]))
    return all(found)


def _ready(subtype: str, tiny: bool, batch: int = 32, **changes: Any) -> tuple[config.Config, Any, Any, Any]:
    """Settings, device, cells and a network of `subtype` that is ready to learn."""
    from pipeline.networks import model, training_loop

    training_loop.forget_networks()
    settings, on = gpu_work.published(tiny, batch_size=batch), gpu_work.machine(tiny, **changes)
    pools = gpu_work.made(settings)
    model.seed_everything(0)
    network = training_loop.trainable(gpu_work.spec(settings, subtype, pools, on), on)
    training_loop.compile_network(network, settings.train, 1e-4, on)
    return settings, on, pools, network


def _epochs(subtype: str, tiny: bool, batch: int, room_bytes: int) -> tuple[Any, int, Any, Any]:
    """The training of a network from the device's memory, images an epoch, network and device."""
    from pipeline.networks import epoch_on_device, epoch_on_host

    settings, on, pools, network = _ready(subtype, tiny, batch)
    cells = epoch_on_device.Cells(pools["train"], room_bytes)
    of = partial(epoch_on_host.Epoch, pools["train"], settings.train.batch_size, settings.train.augment, 0)
    return epoch_on_device.Epochs(network, cells, of, on.xla), len(of(0)) * settings.train.batch_size, network, on


def _run(epochs: Any, network: Any) -> Callable[[], None]:
    """One more epoch; what is read in the end has the device finish."""
    numbers = iter(range(10**9))

    def run() -> None:
        epochs.run(next(numbers))
        finish(network)

    return run


def speed(report: Report, tiny: bool) -> None:
    """Images a second by path and batch."""
    report.part("Speed: images a second")
    shown = {
        "one step a call, as before": "before",
        "`train`": "train",
        "cells sent ahead": "sent",
        "bare compiled epoch": "bare",
        "batches of 256": "large",
        "scoring": "scoring",
    }
    row = report.table("network", *shown, "`train` / bare", "s to the first epoch's end")
    for subtype in gpu_work.published(tiny).subtypes:
        found = _speeds(subtype, tiny, 2 if tiny else 4)
        cells = [f"{found[what]:,.0f}" if what in found else "-" for what in shown.values()]
        row(subtype, *cells, f"{found['ratio']:.2f}", f"{found['first']:.1f}")


def _speeds(subtype: str, tiny: bool, rounds: int) -> dict[str, float]:
    """Images a second by way; `train` to `bare`, and the seconds that the first epoch of `train` took."""
    from pipeline.networks import epoch_on_device, epoch_on_host

    def median(way: Callable[[], Any], images: int) -> float:
        return float(measure({"way": way}, images, rounds)["way"].median())

    settings, _, pools, network = _ready(subtype, tiny, batches="host", xla=False)
    epoch = epoch_on_host.Epoch(pools["train"], settings.train.batch_size, settings.train.augment, 0, 0)
    quarter = _Repeated(epoch, len(epoch) // 4)
    found = {"before": median(partial(epoch_on_host.train_epoch, network, quarter), len(quarter) * settings.train.batch_size)}

    began = time.monotonic()
    epochs, images, network, on = _epochs(subtype, tiny, 32, 2**40)
    train = _run(epochs, network)
    train()
    found["first"] = time.monotonic() - began
    arguments, _ = epochs.arguments(next(iter(epochs.places(0))))

    def bare() -> None:
        epochs.steps(*arguments)
        finish(network)

    both = measure({"train": train, "bare": bare}, images, rounds)
    found |= {"train": both["train"].median(), "bare": both["bare"].median(), "ratio": (both["train"] / both["bare"]).median()}
    cells = epoch_on_device.Cells(pools["train"], 2**40)
    found["scoring"] = median(partial(epoch_on_device.logits, network, cells, on.xla), len(cells))
    for what, batch, room_bytes in (("sent", 32, 0), ("large", 256, 2**40)) if subtype in _SHOWN else ():
        epochs, images, network, _ = _epochs(subtype, tiny, batch, room_bytes)
        found[what] = median(_run(epochs, network), images)
    return found


def parts(report: Report, tiny: bool) -> None:
    """Where a step's time goes."""
    report.part(f"Where the time goes: {gpu_work.NETWORK}, microseconds of a step, of programs that do ever more of it")
    programs = {
        "batches": "batches",
        "and forward": "forward",
        "and gradients": "gradients",
        "whole step": "all",
        "BatchNorm in one operation": "one norm",
    }
    row = report.table(*programs)
    row(*(f"{_step_us(gpu_work.NETWORK, program, tiny):,.0f}" for program in programs.values()))
    print()
    row = report.table("epoch of `fit`", "of which learning", "validation", "checkpoint and the rest")
    row(*(f"{seconds:.2f} s" for seconds in _epoch_parts(tiny)))


def _step_us(subtype: str, part: str, tiny: bool) -> float:
    """Of a compiled loop over all steps of an epoch, each of which does as much as `part` says."""
    import tensorflow as tf

    from pipeline.networks import batch_norm, epoch_on_device, epoch_on_host

    fused = mock.patch.object(batch_norm, "layer", return_value=batch_norm.BatchNormalization)
    with fused if part == "one norm" else contextlib.nullcontext():
        settings, on, pools, network = _ready(subtype, tiny)
    cells = epoch_on_device.Cells(pools["train"], 2**40)
    of = partial(epoch_on_host.Epoch, pools["train"], settings.train.batch_size, settings.train.augment, 0)
    epochs = epoch_on_device.Epochs(network, cells, of, on.xla)
    arguments, _ = epochs.arguments(next(iter(epochs.places(0))))
    labels = tf.constant(np.repeat([0.0, 1.0], settings.train.batch_size // 2)[:, None], tf.float32)

    def less(images: Any) -> Any:
        if part == "batches":
            return tf.reduce_sum(tf.cast(images, tf.float32))
        with tf.GradientTape() as tape:
            loss = network.compute_loss(x=images, y=labels, y_pred=network(images, training=True))
        if part == "forward":
            return loss
        found = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
        return tf.add_n([tf.reduce_sum(gradient) for gradient in found])

    @tf.function(jit_compile=on.xla, autograph=False)  # type: ignore[untyped-decorator]  # tensorflow has no types
    def loop(images: Any, rows: Any, *drawn: Any) -> Any:
        def one(step: Any, total: Any) -> Any:
            batch = epoch_on_device.changed(tf.gather(images, rows[step]), *(each[step] for each in drawn))
            return step + 1, total + less(batch)

        return tf.while_loop(lambda step, _: step < rows.shape[0], one, (tf.constant(0), tf.constant(0.0)))[1]

    def run() -> None:
        if part in ("all", "one norm"):
            epochs.steps(*arguments)
            finish(network)
        else:
            loop(*arguments).numpy()

    steps = int(arguments[1].shape[0])
    return 1e6 / float(measure({"way": run}, steps, 3)["way"].median())


def _epoch_parts(tiny: bool) -> tuple[float, float, float, float]:
    """Seconds of a whole epoch, and of its parts."""
    from pipeline.networks import training_loop

    settings = gpu_work.published(tiny, max_epochs=6, min_epochs=6)
    spent: dict[str, list[float]] = {"learn": [], "validate": [], "whole": []}

    def timed(what: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            done = do(*arguments)
            spent[what].append(time.perf_counter() - started)
            return done

        return call

    ends: list[float] = []
    teacher = training_loop.teacher
    with (
        Path(os.devnull).open("w") as nowhere,
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(training_loop, "_validate", timed("validate", training_loop._validate)),
        mock.patch.object(training_loop, "teacher", lambda *given: timed("learn", teacher(*given))),
        contextlib.redirect_stdout(nowhere),
    ):
        on = gpu_work.machine(tiny)
        gpu_work.train(settings, gpu_work.made(settings), on, 0, Path(folder), lambda row: ends.append(time.perf_counter()))
    whole = statistics.median(np.diff(ends))
    learn, validate = (statistics.median(spent[what][1:]) for what in ("learn", "validate"))
    return whole, learn, validate, whole - learn - validate


def at_once(report: Report, tiny: bool) -> None:
    """Images a second of several trainings together."""
    report.part(f"Trainings at once: {gpu_work.NETWORK}, whole epochs with validation and checkpoint")
    epochs, settings = (2 if tiny else 10), gpu_work.published(tiny)
    images = 2 * (settings.train.images_per_class or 0) * epochs
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(_work("paused", str(epochs), tiny=tiny)) for _ in range(max(_AT_ONCE))]
        for process in running:
            _until(process, "waits")
        row = report.table("at once", "images a second, all together", "to one alone")
        alone = 0.0
        for count in _AT_ONCE:
            started = time.perf_counter()
            for process in running[:count]:
                assert process.stdin is not None
                print(file=process.stdin, flush=True)
            for process in running[:count]:
                _until(process, "waits")
            together = count * images / (time.perf_counter() - started)
            alone = alone or together
            row(count, f"{together:,.0f}", f"{together / alone:.2f}")


def with_pytorch(report: Report, tiny: bool) -> None:
    """The same networks in PyTorch."""
    if not importlib.util.find_spec("torch"):
        return
    report.part("PyTorch, batches ready on the device: images a second")
    row = report.table("network", "eager", "compiled, with graphs")
    from pipeline.networks import epoch_on_host

    steps = 2 if tiny else 200
    for subtype in _SHOWN:
        settings, on, pools, _ = _ready(subtype, tiny)
        epoch = epoch_on_host.Epoch(pools["train"], settings.train.batch_size, settings.train.augment, 0, 0)
        spec = gpu_work.spec(settings, subtype, pools, on)
        ways = [pytorch.way(spec, epoch, steps, compiled) for compiled in (False, True)]
        speeds = [measure({"way": way}, steps * settings.train.batch_size, 3)["way"].median() for way in ways]
        row(subtype, *(f"{value:,.0f}" for value in speeds))


PARTS = {"correct": correct, "speed": speed, "time": parts, "at-once": at_once, "pytorch": with_pytorch}


def main() -> None:
    """Print it all, or some of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor", action="store_true", help="tiny networks, on a processor as a GPU would train them")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all when left out")
    options = parser.parse_args()
    on = gpu_work.machine(options.processor)
    if on.kind == "cpu" and not options.processor:
        raise SystemExit("TensorFlow sees no GPU; `python -m bench.gpu --processor` tries every part on the processor")
    tools = f"TensorFlow {version('tensorflow')}, Keras {version('keras')}, Python {platform.python_version()}"
    print(f"{on.name}, {on.precision}, {'XLA' if on.xla else 'no XLA'}, {os.cpu_count()} processor threads, {tools}{_driver()}")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of many networks in one process
    report = Report()
    for name in options.parts or PARTS:
        PARTS[name](report, options.processor)
    report.part("Done")


def _driver() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    return "; driver, memory: " + subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
