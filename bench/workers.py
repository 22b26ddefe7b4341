"""How much sooner two workers end a search than one, on one PostgreSQL study. `python -m bench.workers`

A small cohort in a folder of its own, the real command, one thread a worker. The start of the processes (TensorFlow takes
seconds) counts, so that the ratio rises with the number of trials.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from processes import CLEAN, Postgres  # noqa: E402
from tiny_search import TINY, cohort  # noqa: E402


def seconds(workers: int, trials: int, epochs: int) -> float:
    """From the first process's start to the last one's end."""
    with tempfile.TemporaryDirectory() as name, Postgres() as server:
        pruning = {"after_trials": trials, "after_epochs": epochs}
        cohort(Path(name), **{**TINY, "tune.trials": trials, "tune.max_epochs": epochs, "tune.pruning": pruning})
        variables = {**CLEAN, "PYTHONPATH": str(ROOT), "TUNE_STORAGE": server.uri, "TRAIN_THREADS": "1"}
        command = [sys.executable, "-m", "pipeline", "tune", "NEW", "--only-trials"]
        started = time.monotonic()
        running = [
            subprocess.Popen(command, cwd=name, env=variables, stdout=subprocess.PIPE, text=True) for _ in range(workers)
        ]
        said = [process.communicate()[0] for process in running]
        took = time.monotonic() - started
    ended = sum(text.count(": trial ") for text in said)
    if any(process.returncode for process in running) or ended != trials:
        raise SystemExit(f"{ended} of {trials} trials ended")
    print(
        f"{workers} worker(s): {took:.1f} s; trials each: {', '.join(str(text.count(': trial ')) for text in said)}", flush=True
    )
    return took


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    one, two = (seconds(workers, options.trials, options.epochs) for workers in (1, 2))
    print(f"{os.cpu_count()} cores: two workers take {two / one:.2f} of one worker's time")


if __name__ == "__main__":
    main()
