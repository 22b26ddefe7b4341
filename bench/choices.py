"""What other settings of a training step would gain or cost. `python -m bench.choices [subtype ...]`

Every choice lives in a process of its own, which has compiled the step and holds one batch ready. All are measured in turn;
printed are images a second over those of the settings in use: the median of the rounds and their fifth percentile. Batches of
another size are shown for their speed only: with them a network learns something else.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any
from unittest import mock

import pandas as pd

from bench.pytorch import told
from bench.training import bare_step, compiled, inputs
from pipeline.common import config


@dataclass(frozen=True)
class Choice:
    """How a process differs from what `train` does."""

    variables: dict[str, str] = field(default_factory=dict)
    batch: float = 1.0
    xla: bool = False
    by_host: bool = False
    other_batch_norm: bool = False
    keep_memory: bool = True
    only: str = ""  # on a device of this kind


CHOICES = {
    "in use": Choice(),
    "Keras' BatchNorm": Choice(other_batch_norm=True, only="cpu"),
    "BatchNorm in one operation": Choice(other_batch_norm=True, only="gpu"),
    "one step a call, without XLA": Choice(by_host=True, only="gpu"),
    "memory handed back after every step": Choice(keep_memory=False, only="cpu"),
    "without oneDNN": Choice({"TF_ENABLE_ONEDNN_OPTS": "0"}, only="cpu"),
    "XLA": Choice(xla=True, only="cpu"),
    "one thread": Choice({"TRAIN_THREADS": "1"}, only="cpu"),
    "half the batch": Choice(batch=0.5),
    "twice the batch": Choice(batch=2.0),
    "four times the batch": Choice(batch=4.0),
}


def _work(orders: Any, choice: Choice, subtype: str, images: int) -> None:
    """Do `images` images' worth of steps whenever told."""
    from pipeline.machine import device
    from pipeline.networks import batch_norm

    # isort: split
    import keras  # after device, which keeps TensorFlow's greetings off the terminal

    settings = config.load()
    size = int(settings.train.batch_size * choice.batch)
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"batch_size": size})})
    if not choice.keep_memory:
        mock.patch.object(device, "_keep_memory").start()
    machine = device.prepare("auto")
    if choice.by_host:
        machine = replace(machine, batches="host", xla=False)
    if choice.xla:
        machine = replace(machine, xla=True)
    if choice.other_batch_norm:
        (other,) = {keras.layers.BatchNormalization, batch_norm.BatchNormalization} - {batch_norm.layer(machine)}
        mock.patch.object(batch_norm, "layer", return_value=other).start()
    spec, pools, _ = inputs(settings, subtype, machine)
    run = bare_step(compiled(spec, machine), pools["train"], settings, machine, images // size)
    run()
    orders.send("ready")
    while told(orders):
        run()
        orders.send("done")


def compare(choices: dict[str, Choice], subtype: str, images: int, rounds: int) -> pd.DataFrame:
    """Images a second, a row a round and a column a choice."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Any] = {}
    for name, choice in choices.items():
        pipes[name], there = context.Pipe()
        with mock.patch.dict(os.environ, choice.variables):
            context.Process(target=_work, args=(there, choice, subtype, images), daemon=True).start()
        there.close()  # so that the next line fails if the process dies
        pipes[name].recv()
    rows = []
    for number in range(rounds):
        row, names = {}, list(choices)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            pipes[name].send("go")
            pipes[name].recv()
            row[name] = images / (time.perf_counter() - started)
        rows.append(row)
    for pipe in pipes.values():
        pipe.close()
    return pd.DataFrame(rows)[list(choices)]


def main() -> None:
    """Print a table, a column a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=128, help="a round and choice")
    parser.add_argument("subtypes", nargs="*", help="all of params.yaml when left out")
    options = parser.parse_args()
    settings = config.load()
    subtypes = options.subtypes or list(settings.subtypes)
    largest = int(settings.train.batch_size * max(choice.batch for choice in CHOICES.values()))
    if options.images <= 0 or options.images % largest:
        parser.error(f"--images: must be a multiple of {largest}, the largest batch")
    from pipeline.machine import device

    kind = device.prepare("auto").kind
    choices = {name: choice for name, choice in CHOICES.items() if choice.only in ("", kind)}
    found = {}
    for subtype in subtypes:
        speeds = compare(choices, subtype, options.images, options.rounds)
        ratios = speeds.div(speeds["in use"], axis=0)
        found[subtype] = [f"{ratios[name].median():.2f} ({ratios[name].quantile(0.05):.2f})" for name in choices]
    print(f"{platform.machine()}, {os.cpu_count()} threads, TensorFlow {version('tensorflow')}; {options.rounds} rounds\n")
    print("| to the settings in use | " + " | ".join(subtypes) + " |\n|" + "---|" * (1 + len(subtypes)))
    for row, name in enumerate(choices):
        print(f"| {name} | " + " | ".join(found[subtype][row] for subtype in subtypes) + " |")


if __name__ == "__main__":
    main()
