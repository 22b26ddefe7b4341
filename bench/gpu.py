"""Is training on this GPU right, and as fast as it can be? `python -m bench.gpu`, in some eight minutes

Needs Python, a GPU and what a training needs: no network, no data (it draws its cells), neither MLflow nor DVC. It prints:

    correct     a training three times, two killed and resumed, one whose cells do not fit, and two, one of them killed, by
                programs that are kept: the same bytes, or the epoch from which on they are others; pixels as the host's; the
                demo cohort's PML_RARA on this device and on the processor, seed by seed
    speed       images a second of the published networks by path and batch
    time        where a step's time goes, by leaving parts of it out; and an epoch's
    at-once     one, two and four trainings at once, whole epochs with validation and checkpoint; and under NVIDIA's MPS
    vectors     images a second of an encoder, from the bare network to files; a bag learner's training
    pytorch     the same networks in PyTorch, where it is installed, eager and compiled with graphs

Speeds are medians of rounds in which every way has its turn. `--processor` does all that with tiny networks on a processor,
which trains them as a GPU would: XLA, batches made on the device.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench import gpu_speed, gpu_vectors, gpu_work, pytorch
from bench.report import Report
from bench.training import measure

_SEEDS = 3  # of the demo's training
_AT_ONCE = (1, 2, 4)


@contextlib.contextmanager
def _work(
    *arguments: str, tiny: bool, processor: bool = False, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process of `bench.gpu_work`, which ends with this block."""
    command = [sys.executable, "-m", "bench.gpu_work", *arguments, *(["--processor"] if tiny else [])]
    command += ["--by-host"] if processor else []
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TRAIN_PROGRAMS": "", **(variables or {})}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1"} if processor else {}
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
    raise SystemExit(f"{process.args!r} ended with status {process.wait()} before it said {text!r}")


def correct(report: Report, tiny: bool) -> None:
    """Do trainings give the same bytes, both ways to make a batch the same pixels, and both devices the same network?"""
    report.part("The same bytes")
    seeds = 1 if tiny else _SEEDS
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:

        def begin(*arguments: str, processor: bool = False, keep: bool = False) -> subprocess.Popen[str]:
            variables = {"TRAIN_PROGRAMS": str(programs)} if keep else {}
            return stack.enter_context(_work(*arguments, tiny=tiny, processor=processor, variables=variables))

        programs, kept = Path(name) / "programs", "programs kept"
        demo = {"this device": begin("demo", str(seeds)), "processor": begin("demo", str(seeds), processor=True)}
        first, later = "epoch   2/", "epoch  11/"
        killed = {"killed, resumed": first, "killed later, resumed": later, f"{kept}, killed, resumed": first}
        trainings = ("once", "again", "a third time", "cells sent ahead", kept, *killed)
        folders = {what: Path(name) / what.replace(" ", "-") for what in trainings}
        for folder in folders.values():
            folder.mkdir()
        running = {
            what: begin("same", str(folder), *(["--sent"] if "sent" in what else []))
            for what, folder in folders.items()
            if what not in (kept, *killed)
        }
        resumed = {}
        for what, epoch in killed.items():
            keep = what.startswith(kept)
            begun = begin("same", str(folders[what]), keep=keep)
            _until(begun, epoch)
            begun.send_signal(signal.SIGKILL)
            begun.wait()
            compiled = _files(programs) if keep else {}
            running[what] = begin("same", str(folders[what]), keep=keep)
            resumed[what] = _until(running[what], "resumed after epoch").split(" from ")[0]
        running[kept] = begin("same", str(folders[kept]), keep=True)
        row = report.table("training", "SHA-256 of model.weights.h5", "")
        digests: dict[str, str] = {}
        for what in trainings:
            running[what].communicate()
            if running[what].returncode:
                raise SystemExit(f"{what}: status {running[what].returncode}")
            digests[what] = hashlib.sha256((folders[what] / "model.weights.h5").read_bytes()).hexdigest()
            shown = f"{what} ({resumed[what]})" if what in resumed else what
            like = kept if what.startswith(kept) and what != kept else "once"
            became = "same" if digests[what] == digests[like] else f"OTHER than {like}, {_since(folders[what], folders[like])}"
            row(shown, digests[what][:16], became)
        again = len(_files(programs).items() - compiled.items())
        row("programs kept", f"{len(compiled)}, compiled again {again}", "OTHER" if again else "same")
        row("pixels of a batch, host and device", "", "same" if _same_pixels(tiny) else "OTHER")

        report.part(f"The demo's {gpu_work.NETWORK}: AUROC of the test patients' images")
        row = report.table("seed", *demo)
        found = []
        for seed in range(seeds):
            found.append([float(_until(process, "AUROC").split()[1]) for process in demo.values()])
            row(seed, *(f"{value:.3f}" for value in found[-1]))
        if seeds > 1:
            row("mean (sd)", *(f"{np.mean(own):.3f} ({np.std(own, ddof=1):.3f})" for own in zip(*found, strict=True)))


def _files(folder: Path) -> dict[Path, int]:
    """Every file's number on the disk, which is another one when it is written anew."""
    return {file: file.stat().st_ino for file in folder.rglob("*.pb")}


def _since(other: Path, one: Path) -> str:
    """From which epoch on the losses of two trainings differ."""
    curves = [json.loads((folder / gpu_work.LOSSES).read_text()) for folder in (other, one)]
    differ = [epoch for epoch, (its, ours) in enumerate(zip(*curves, strict=True), start=1) if its != ours]
    return f"from epoch {differ[0]} on" if differ else "with the same losses"


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


def at_once(report: Report, tiny: bool) -> None:
    """Images a second of several trainings together."""
    report.part(f"Trainings at once: {gpu_work.NETWORK}, whole epochs with validation and checkpoint")
    row = report.table("at once", "images a second, all together", "to one alone")
    alone = _together("", {}, 0.0, row, tiny)
    if shutil.which("nvidia-cuda-mps-control"):
        with tempfile.TemporaryDirectory() as folder:
            variables = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
            control = partial(subprocess.run, env={**os.environ, **variables}, check=True, stdout=subprocess.DEVNULL)
            control(["nvidia-cuda-mps-control", "-d"])
            try:
                _together(" under MPS", variables, alone, row, tiny)
            finally:
                control(["nvidia-cuda-mps-control"], input=b"quit\n")


def _together(how: str, variables: Mapping[str, str], alone: float, row: Callable[..., None], tiny: bool) -> float:
    """A row for every number of trainings; images a second of one alone, which is the first where none is given."""
    epochs, settings = (2 if tiny else 10), gpu_work.published(tiny)
    images = 2 * (settings.train.images_per_class or 0) * epochs
    with contextlib.ExitStack() as stack:
        works = (_work("paused", str(epochs), tiny=tiny, variables=variables) for _ in range(max(_AT_ONCE)))
        running = [stack.enter_context(work) for work in works]
        for process in running:
            _until(process, "waits")
        for count in _AT_ONCE:
            started = time.perf_counter()
            for process in running[:count]:
                assert process.stdin is not None
                print(file=process.stdin, flush=True)
            for process in running[:count]:
                _until(process, "waits")
            together = count * images / (time.perf_counter() - started)
            alone = alone or together
            row(f"{count}{how}", f"{together:,.0f}", f"{together / alone:.2f}")
    return alone


def vectors(report: Report, tiny: bool) -> None:
    """Images a second of an encoder; seconds of a bag learner, on this device and on the processor."""
    gpu_vectors.embedding(report, tiny)
    report.part("Gated attention, one fold: seconds")
    row = report.table("this device", "processor")
    with contextlib.ExitStack() as stack:
        found = []
        for processor in (False, True):  # one after the other: both want the processor
            process = stack.enter_context(_work("attention", "1", tiny=tiny, processor=processor))
            found.append(_until(process, "seconds").split()[1])
        row(*found)


def with_pytorch(report: Report, tiny: bool) -> None:
    """The same networks in PyTorch."""
    if not importlib.util.find_spec("torch"):
        return
    report.part("PyTorch, batches ready on the device: images a second")
    row = report.table("network", "eager", "compiled, with graphs")
    from pipeline.networks import epoch_on_host

    steps = 2 if tiny else 200
    for subtype in gpu_speed.SHOWN:
        settings, on, pools, _ = gpu_speed.ready(subtype, tiny)
        epoch = epoch_on_host.Epoch(pools["train"], settings.train.batch_size, settings.train.augment, 0, 0)
        spec = gpu_work.spec(settings, subtype, pools, on)
        ways = [pytorch.way(spec, epoch, steps, compiled) for compiled in (False, True)]
        speeds = [measure({"way": way}, steps * settings.train.batch_size, 3)["way"].median() for way in ways]
        row(subtype, *(f"{value:,.0f}" for value in speeds))


PARTS = {
    "correct": correct,
    "speed": gpu_speed.speed,
    "time": gpu_speed.times,
    "at-once": at_once,
    "vectors": vectors,
    "pytorch": with_pytorch,
}


def main() -> None:
    """Print it all, or some of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor", action="store_true", help="tiny networks, on a processor as a GPU would train them")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all when left out")
    options = parser.parse_args()
    os.environ.pop("TRAIN_PROGRAMS", None)  # what is compiled is part of what is measured
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
