"""Many processes register a candidate each at the same moment. `python -m bench.registrations`

Every round starts with an empty registry, on sqlite and on PostgreSQL. It must end with one champion, the one that the gate
makes of the same candidates one after the other, and with a verdict on every version; the first round that does not stops this.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from candidates import race  # noqa: E402
from processes import Postgres  # noqa: E402

from pipeline.common import config  # noqa: E402


def main() -> None:
    """Print how many rounds ended as they must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    settings = config.load(ROOT / "params.yaml")
    for database in ("sqlite", "PostgreSQL"):
        seconds = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):  # where the candidates find their decisions
                folder = Path(name)
                shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
                started = time.monotonic()
                if database == "sqlite":
                    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
                    race(settings, folder, options.at_once)
                else:
                    with Postgres() as server:
                        os.environ["MLFLOW_TRACKING_URI"] = server.uri
                        race(settings, folder, options.at_once)
                seconds.append(time.monotonic() - started)
        print(
            f"{database}: {options.rounds} rounds of {options.at_once} at once, all right; {max(seconds):.0f} s at most",
            flush=True,
        )


if __name__ == "__main__":
    main()
