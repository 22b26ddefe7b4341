"""A flow beside `dvc repro`: the trainings of all subtypes, and a run that has nothing to do. `python -m bench.flow`

Every round changes train.patience, which makes the trainings and what follows from them stale, once for each way of running
them; rounds alternate the ways, so that a busy machine slows all of them alike. The cohort is the demo's, trained for a few
epochs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
FLOW = [sys.executable, "-m", "flows", "training"]
# way of running -> command, environment. With one thread a training, two run side by side on two cores.
WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    "dvc repro": (["dvc", "repro"], {}),
    "flow": (FLOW, {}),
    "dvc repro, 1 thread a training": (["dvc", "repro"], {"TRAIN_THREADS": "1"}),
    "flow, 1 thread a training": (FLOW, {"TRAIN_THREADS": "1"}),
}


def main() -> None:
    """Print seconds and ratios to `dvc repro`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder)
        _set(folder, max_epochs=options.epochs, min_epochs=1, patience=1000)
        _seconds(folder, ["dvc", "repro"], {})
        print(f"{len(os.sched_getaffinity(0))} cores, {options.rounds} rounds, {options.epochs} epochs a training\n")
        patience = 1000
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        idle: dict[str, list[float]] = {way: [] for way in list(WAYS)[:2]}
        for _ in range(options.rounds):
            for way, (command, variables) in WAYS.items():
                patience += 1
                _set(folder, patience=patience)
                times[way].append(_seconds(folder, command, variables))
            for way in idle:
                idle[way].append(_seconds(folder, *WAYS[way]))
        _table("4 trainings, judged and registered, and the report", times)
        _table("nothing to do", idle)


def _table(title: str, times: dict[str, list[float]]) -> None:
    base = times["dvc repro"]
    print(f"{title:<52} {'median s':>9} {'to dvc repro':>13}  (least, most)")
    for way, seconds in times.items():
        ratios = [mine / other for mine, other in zip(seconds, base, strict=True)]
        spread = f"({min(ratios):.2f}, {max(ratios):.2f})"
        print(f"  {way:<50} {statistics.median(seconds):>9.1f} {statistics.median(ratios):>13.2f}  {spread}")
    print()


def _seconds(folder: Path, command: list[str], variables: dict[str, str]) -> float:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "TRAIN"))}
    environment = {
        **kept,
        **variables,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / ".prefect"),
        "DVC_NO_ANALYTICS": "true",
    }
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    seconds = time.perf_counter() - started
    print(f"{' '.join(command[-2:])}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _copy(folder: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for name in ("dvc.lock", "data/decisions.jsonl"):
        (folder / name).unlink(missing_ok=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def _set(folder: Path, **values: object) -> None:
    yaml = YAML()
    yaml.width = 4096
    params = yaml.load(folder / "params.yaml")
    params["train"].update(values)
    yaml.dump(params, folder / "params.yaml")


if __name__ == "__main__":
    main()
