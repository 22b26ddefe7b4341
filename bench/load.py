"""What many do at once, and what a year leaves: `python -m bench.load [clients | runs | year]`, all of them when none is named.

`clients`: 32 threads ask the served model for five minutes; every answer must be the one that the model gives in Python (else
the exit status is 1), and the server's memory, which is shown, stay what it is after the first minute. `runs`: registering,
searching and loading a champion with few versions and with 200 and a thousand runs. `year`: what flow runs leave in Prefect's
database, and what MLflow's takes.
`python -m bench.registrations` has the registrations.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil

from bench import load_runs, served
from bench.report import Report

sys.path.insert(0, str(served.ROOT / "tests"))

from processes import PrefectServer

CLIENTS, WARM_S = 32, 60
FLOW_RUNS, TASK_RUNS, LOGS = 8, 20, 10  # of the last of a task run
NIGHTS = 365


def _clients(report: Report, seconds: int) -> int:
    """How many answers were wrong, or none."""
    with served.project() as folder, served.served(folder) as (address, pid):
        images = [path.read_bytes() for path in sorted(folder.glob("*.tif"))]
        expected = _in_python(folder, images)
        told = [base64.b64encode(data).decode() for data in images]
        ends, wrong, took = time.monotonic() + seconds, list[str](), list[float]()

        def ask(number: int) -> None:
            rng = random.Random(number)
            while time.monotonic() < ends:
                chosen = rng.sample(range(len(images)), rng.randint(1, 8))
                body = json.dumps({"dataframe_records": [{"image": told[n]} for n in chosen]}).encode()
                began = time.monotonic()
                try:
                    with urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=120) as answer:
                        rows = json.loads(answer.read())["predictions"]
                    if any(abs(row["logit"] - expected[n]) > 1e-5 for n, row in zip(chosen, rows, strict=True)):
                        wrong.append(f"{chosen}")
                except Exception as error:
                    wrong.append(repr(error))
                took.append(time.monotonic() - began)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        memory = [_resident(pid)]
        while any(thread.is_alive() for thread in threads):
            time.sleep(5)
            memory.append(_resident(pid))
        warm = memory[min(len(memory) - 1, WARM_S // 5)]
        row = report.table(
            "clients", "seconds", "answers", "wrong or none", "median, s", "slowest, s", "MB when warm", "MB at the end"
        )
        row(
            CLIENTS,
            seconds,
            len(took),
            len(wrong),
            f"{statistics.median(took):.2f}",
            f"{max(took):.2f}",
            f"{warm:.0f}",
            f"{memory[-1]:.0f}",
        )
        print(f"\nMB every 5 s: {' '.join(f'{one:.0f}' for one in memory[::6])}")
        for one in wrong[:3]:
            print(one)
    return len(wrong)


def _in_python(folder: Path, images: list[bytes]) -> list[float]:
    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    model = mlflow.pyfunc.load_model("models:/NPM1@champion")
    return [float(one) for one in model.predict(pd.DataFrame({"image": pd.Series(images, dtype=object)}))["logit"]]


def _resident(pid: int) -> float:
    """MB of a process and all that it started."""
    process = psutil.Process(pid)
    resident: int = sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    return resident / 1e6


def _year(report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with PrefectServer(folder) as server:
            sizes = [_size(folder)]
            for _ in range(2):
                for n in range(FLOW_RUNS // 2):
                    _flow_run(server.api, n)
                time.sleep(5)  # events are written a little later
                sizes.append(_size(folder))
        each = (sizes[2] - sizes[1]) / (FLOW_RUNS // 2)
        row = report.table("Prefect's database", "MB")
        row("empty", f"{sizes[0] / 1e6:.1f}")
        row(f"a flow run of {TASK_RUNS} tasks and {TASK_RUNS * LOGS} lines", f"{each / 1e6:.2f}")
        row(f"a year of nights, {NIGHTS} of them", f"{(sizes[0] + NIGHTS * each) / 1e6:.0f}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("prefect.db*"))


def _flow_run(api: str, night: int) -> None:
    """As the flow `training` leaves one: tasks that went through their states, and lines."""
    flow = _post(api, "flows", {"name": "training"})
    run = _post(api, "flow_runs", {"flow_id": flow["id"], "name": f"night {night}", "state": {"type": "PENDING"}})
    for state in ("RUNNING", "COMPLETED"):
        if state == "COMPLETED":
            for n in range(TASK_RUNS):
                task = _post(
                    api,
                    "task_runs",
                    {"flow_run_id": run["id"], "task_key": "stage", "dynamic_key": str(n), "state": {"type": "PENDING"}},
                )
                for one in ("RUNNING", "COMPLETED"):
                    _post(api, f"task_runs/{task['id']}/set_state", {"state": {"type": one}, "force": True})
                line = {
                    "name": "prefect",
                    "level": 20,
                    "timestamp": "2026-01-01T00:00:00Z",
                    "flow_run_id": run["id"],
                    "task_run_id": task["id"],
                }
                _post(api, "logs", [{**line, "message": f"stage {n}: line {m}, and what it says"} for m in range(LOGS)])
        _post(api, f"flow_runs/{run['id']}/set_state", {"state": {"type": state}, "force": True})


def _post(api: str, place: str, body: Any) -> dict[str, Any]:
    """Again where the server is busy."""
    address = f"{api}/{place}" if "set_state" in place else f"{api}/{place}/"
    for wait in (1, 2, 4, 8, 16, 0):
        try:
            with urlopen(
                Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"}), timeout=120
            ) as answer:
                text = answer.read()
            return json.loads(text) if text else {}
        except HTTPError as error:
            if error.code != 503 or not wait:
                raise
            time.sleep(wait)
    raise AssertionError


def main() -> None:
    """Print a table of each; exit status 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[[], "clients", "runs", "year"], help="all when left out")
    parser.add_argument("--seconds", type=int, default=300, help="of the clients")
    options = parser.parse_args()
    if len(kinds := options.kinds or ["clients", "runs", "year"]) > 1:  # a process each: they ask other things of TensorFlow
        again = [sys.executable, "-m", "bench.load", "--seconds", str(options.seconds)]
        sys.exit(max(subprocess.run([*again, name], check=False).returncode for name in kinds))
    report, wrong = Report(), 0
    report.part(kinds[0])
    match kinds[0]:
        case "clients":
            wrong = _clients(report, options.seconds)
        case "runs":
            load_runs.measure(report)
        case _:
            _year(report)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
