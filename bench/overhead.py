"""Where the seconds go that no stage's own work needs. `python -m bench.overhead [--demo]`

Seconds of processor time and of waiting, each the median of some rounds taken in turn: what it takes to start Python, and to
import what the stages import. With `--demo` also every stage of a `make demo` from nothing, in a copy of this repository, and
of one with nothing to do.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.flow import _copy

BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_", "TRAIN", "KERAS_"))},
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "true",
    "DO_NOT_TRACK": "true",
}
IMPORTS = ["pandas", "sklearn.metrics", "matplotlib.figure", "mlflow", "great_expectations", "keras", "prefect", "dvc.repo"]
STAGES = ["ingest", "validate", "split", "pack", "train", "evaluate", "audit", "register", "report"]


def seconds(folder: Path, command: list[str]) -> tuple[float, float]:
    """(until it ends, of processor time) of a command that must succeed, its children included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def starts() -> dict[str, list[str]]:
    """What to start, by name."""
    python = [sys.executable, "-c"]
    found = {"python": [*python, "pass"], "python -m pipeline --help": [sys.executable, "-m", "pipeline", "--help"]}
    found |= {f"import {name}": [*python, f"import {name}"] for name in IMPORTS}
    also = {
        "train": "pipeline.machine.device, pipeline.networks.training_loop"
    }  # imported by `run`, behind everything that can fail
    found |= {
        f"import what {stage} imports": [
            *python,
            f"import pipeline.stages.{stage}" + (f", {also[stage]}" if stage in also else ""),
        ]
        for stage in STAGES
    }
    return found


def demo(folder: Path) -> None:
    """Seconds of every stage of a demo from nothing, and of one with nothing to do."""
    started = last = time.perf_counter()
    process = subprocess.Popen(
        ["dvc", "repro"], cwd=folder, env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    spent: dict[str, float] = {}
    current = "dvc, before the first stage"
    for line in process.stdout:
        if found := re.match(r"Running stage '(.*)'", line):
            now = time.perf_counter()
            spent[current], last, current = now - last, now, found[1]
    if process.wait() != 0:
        sys.exit("dvc repro failed")
    spent[current] = time.perf_counter() - last
    print("\n| stage of the demo | s |\n|---|---|")
    for stage in dict.fromkeys(name.split("@")[0] for name in spent):
        of = [value for name, value in spent.items() if name.split("@")[0] == stage]
        print(f"| {stage}{f', {len(of)} times' if len(of) > 1 else ''} | {sum(of):.1f} |")
    print(f"| `dvc repro` in all | {time.perf_counter() - started:.1f} |")
    wall, cpu = seconds(folder, ["dvc", "repro"])
    print(f"| `dvc repro` with nothing to do | {wall:.1f} ({cpu:.1f} of processor time) |")
    wall, cpu = seconds(folder, [sys.executable, "-m", "pipeline", "register"])
    print(f"| `python -m pipeline register` with nothing to do | {wall:.1f} ({cpu:.1f} of processor time) |")


def main() -> None:
    """Print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--demo", action="store_true", help="run the demo, stage by stage, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder)
        commands = starts()
        found: dict[str, list[tuple[float, float]]] = {what: [] for what in commands}
        for _ in range(options.rounds + 1):  # the first writes bytecode and fills the page cache
            for what, command in commands.items():
                found[what].append(seconds(folder, command))
        print("| | s | of processor time |\n|---|---|---|")
        for what, times in found.items():
            print(f"| {what} | {median(wall for wall, _ in times[1:]):.2f} | {median(cpu for _, cpu in times[1:]):.2f} |")
        if options.demo:
            demo(folder)


if __name__ == "__main__":
    main()
