"""Many processes register a candidate each at the same moment. `python -m bench.registrations`

Every round starts with an empty registry, on sqlite and on PostgreSQL. It must end with one champion, the one that the gate
makes of the same candidates one after the other, and with a verdict on every version; the first round that does not stops this.
The processes are forked of one that has registered a candidate elsewhere: with everything loaded they begin closer together,
and a round takes seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import candidates  # noqa: E402
from processes import Postgres  # noqa: E402

from pipeline.common import config  # noqa: E402

_PROCESSES = multiprocessing.get_context("fork")


class Forked:
    """A process that registers the candidate of a number; asked for its end as one of `subprocess` is."""

    def __init__(self, folder: Path, n: int) -> None:
        self._process = _PROCESSES.Process(target=_register, args=(folder, os.environ["MLFLOW_TRACKING_URI"], n))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.exitcode

    def communicate(self) -> tuple[str, str]:
        """Wait for its end."""
        self._process.join()
        return "", f"ended with {self.returncode}"


def _register(folder: Path, uri: str, n: int) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = uri
    with contextlib.chdir(folder):
        candidates.register_one(n)


def main() -> None:
    """Print how many rounds ended as they must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--on", choices=("sqlite", "PostgreSQL"), help="both when left out")
    options = parser.parse_args()
    settings = config.load(ROOT / "params.yaml")
    with tempfile.TemporaryDirectory() as name:
        shutil.copyfile(ROOT / "params.yaml", Path(name) / "params.yaml")
        _register(Path(name), f"sqlite:///{name}/mlflow.db", 0)
    for database in [options.on] if options.on else ("sqlite", "PostgreSQL"):
        seconds: list[float] = []
        for number in range(options.rounds):
            with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), contextlib.ExitStack() as running:
                folder = Path(name)  # where the candidates find their decisions
                shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
                server = running.enter_context(Postgres()) if database == "PostgreSQL" else None
                os.environ["MLFLOW_TRACKING_URI"] = server.uri if server else f"sqlite:///{folder}/mlflow.db"
                started = time.monotonic()
                candidates.race(settings, folder, options.at_once, Forked)
                seconds.append(time.monotonic() - started)
            print(f"{database}: round {number + 1} of {options.at_once} at once is right; {seconds[-1]:.0f} s", flush=True)
        print(
            f"{database}: {options.rounds} rounds of {options.at_once} at once, all right; {max(seconds):.0f} s at most",
            flush=True,
        )


if __name__ == "__main__":
    main()
