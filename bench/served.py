"""A project with registered models of random weights, and `mlflow models serve` of one, for as long as a block lasts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "images")]

from processes import CLEAN, answers, end, free_port, wait  # noqa: E402

_BUILD = """
import os, sys
from pathlib import Path
import registered, test_served_bags
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{sys.argv[1]}/mlflow.db"
if sys.argv[2] == "bags":
    test_served_bags.build()
else:
    registered.build(Path(sys.argv[1]))
for name in ("control", "NPM1"):
    for number, data in enumerate(registered.cells(name, 12, seed=7)):
        Path(sys.argv[1], f"{name}-{number}.tif").write_bytes(data)
"""


@contextmanager
def project(of: str = "networks") -> Iterator[Path]:
    """Made by a process of its own: TensorFlow does not survive a fork. Beside it lie images to ask about.

    `of` networks, or of bags: a bag candidate of NPM1, and a call.
    """
    with tempfile.TemporaryDirectory() as name:
        places = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/registry"), str(ROOT / "tests/images")])
        subprocess.run(
            [sys.executable, "-c", _BUILD, name, of],
            cwd=name,
            env={**CLEAN, "PYTHONPATH": places},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield Path(name)


@contextmanager
def served(folder: Path, model: str = "NPM1") -> Iterator[tuple[str, int]]:
    """Address of its invocations, and the number of the process that serves."""
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", f"models:/{model}@champion", "--env-manager", "local"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=folder,
        env={**CLEAN, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(lambda: answers(f"http://127.0.0.1:{port}/health"), "mlflow models serve")
        yield f"http://127.0.0.1:{port}/invocations", process.pid
    finally:
        end(process)
