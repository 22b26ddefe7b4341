"""The parts of `bench.gpu` on speed: by way and batch, and where a step's and an epoch's time goes."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench import gpu_work
from bench.report import Report
from bench.training import finish, measure
from pipeline.common import config

SHOWN = (gpu_work.NETWORK, "NPM1")  # of which more is measured than of the others


def ready(subtype: str, tiny: bool, batch: int = 32, **changes: Any) -> tuple[config.Config, Any, Any, Any]:
    """Settings, device, cells and a network of `subtype` that is ready to learn."""
    from pipeline.networks import model, training_loop

    training_loop.forget_networks()
    settings, on = gpu_work.published(tiny, batch_size=batch), gpu_work.machine(tiny, **changes)
    pools = gpu_work.made(settings)
    model.seed_everything(0)
    network = training_loop.trainable(gpu_work.spec(settings, subtype, pools, on), on)
    training_loop.compile_network(network, settings.train, 1e-4, on)
    return settings, on, pools, network


def _epochs(subtype: str, tiny: bool, batch: int, room_bytes: int) -> tuple[Any, Any, int, Any, Any]:
    """The training of a network from the device's memory, its cells, images an epoch, network and device."""
    from pipeline.networks import epoch_on_device, epoch_on_host

    settings, on, pools, network = ready(subtype, tiny, batch)
    cells = epoch_on_device.Cells(pools["train"], room_bytes)
    of = partial(epoch_on_host.Epoch, pools["train"], settings.train.batch_size, settings.train.augment, 0)
    return epoch_on_device.Epochs(network, cells, of, on.xla), cells, len(of(0)) * settings.train.batch_size, network, on


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
    from pipeline.networks import epoch_on_device

    def median(way: Callable[[], Any], images: int) -> float:
        return float(measure({"way": way}, images, rounds)["way"].median())

    began = time.monotonic()
    epochs, cells, images, network, on = _epochs(subtype, tiny, 32, 2**40)
    train = _run(epochs, network)
    train()
    found = {"first": time.monotonic() - began}
    arguments, _ = epochs.arguments(next(iter(epochs.places(0))))

    def bare() -> None:
        epochs.steps(*arguments)
        finish(network)

    both = measure({"train": train, "bare": bare}, images, rounds)
    found |= {"train": both["train"].median(), "bare": both["bare"].median(), "ratio": (both["train"] / both["bare"]).median()}
    found["scoring"] = median(partial(epoch_on_device.logits, network, cells, on.xla), len(cells))
    for what, batch, room_bytes in (("sent", 32, 0), ("large", 256, 2**40)) if subtype in SHOWN else ():
        epochs, _, images, network, _ = _epochs(subtype, tiny, batch, room_bytes)
        found[what] = median(_run(epochs, network), images)
    return found


def times(report: Report, tiny: bool) -> None:
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
        settings, on, pools, network = ready(subtype, tiny)
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
