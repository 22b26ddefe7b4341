"""What a registry costs when it has grown: the part `runs` of `python -m bench.load`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench import served
from bench.report import Report

sys.path[:0] = [str(served.ROOT / "tests" / name) for name in ("", "registry", "images")]

import candidates  # noqa: E402
from processes import MlflowServer  # noqa: E402
from scores import scores  # noqa: E402

RUNS, VERSIONS = 1000, 200
PAGE, COMPARED = 100, 4  # runs that MLflow's list shows at once, and of a comparison


def measure(report: Report) -> None:
    """Register, ask MLflow's pages and predict, beside few versions and beside many; a table."""
    with served.project() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        from pipeline.common import config
        from pipeline.machine import device
        from pipeline.registry import champions, mlflow_server, registration, versions
        from pipeline.stages import register

        device.prepare("float32")
        settings, client = config.load(), mlflow_server.connect()
        number = iter(range(1000))

        def new_candidate() -> None:
            n = next(number)
            given = candidates.candidate(f"late-{n}", scores(1.0, seed=n))
            register.settle(client, registration.log_candidate(client, given), given, settings.register_, settings.seed)

        (model,) = client.search_model_versions("name = 'NPM1'")
        assert model.source is not None
        experiment = client.get_run(versions.run_id(model)).info.experiment_id
        asked: dict[str, Callable[[], Any]] = {
            "`register` again, nothing new": lambda: register.run(settings, ["NPM1"], ["published"]),
            "`register` of a new candidate": new_candidate,
            "a champion fetched and checked, as `predict` does": lambda: champions.load(client, "NPM1"),
            "`python -m pipeline predict` of a patient": lambda: _predict(folder),
        }
        few = {name: _median(ask) for name, ask in asked.items()}
        old = [_old_run(client, experiment, n) for n in range(PAGE)]
        with _Pages(folder) as pages:
            shown: dict[str, Callable[[], Any]] = {
                f"MLflow's list of runs, a page of {PAGE}": lambda: pages.runs(experiment),
                f"MLflow's comparison of {COMPARED} runs": lambda: pages.comparison(experiment, old[:COMPARED]),
            }
            few |= {name: _median(ask, 20) for name, ask in shown.items()}
            for n in range(PAGE, RUNS):
                _old_run(client, experiment, n)
            for n in range(VERSIONS):
                tags = {**model.tags, "digest": f"old-{n}", "verdict": "challenger", "candidate": f"old-{n}"}
                client.create_model_version("NPM1", model.source, versions.run_id(model), tags=tags)
            many = {name: _median(ask) for name, ask in asked.items()} | {name: _median(ask, 20) for name, ask in shown.items()}
        row = report.table("", "few, s", f"{VERSIONS} versions and {RUNS:,} runs, s", "ratio")
        for name in few:
            row(name, f"{few[name]:.3f}", f"{many[name]:.3f}", f"{many[name] / few[name]:.2f}")
        print(f"\nFew, for MLflow's pages: {PAGE} runs more, a full page.")
        print(f"mlflow.db: {Path('mlflow.db').stat().st_size / 1e6:.1f} MB")


def _old_run(client: Any, experiment: str, number: int) -> str:
    run = client.create_run(experiment, run_name=f"old {number}", tags={"subtype": "NPM1"})
    client.log_metric(run.info.run_id, "patient_auroc", 0.5 + number / 10_000)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


class _Pages(MlflowServer):
    """MLflow's server of a project, asked for what its pages ask for."""

    def command(self) -> list[str]:
        return ["mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db", "--workers", "1"]

    def runs(self, experiment: str) -> None:
        found = self._ask("runs/search", {"experiment_ids": [experiment], "max_results": PAGE})
        if len(found["runs"]) != PAGE:
            raise RuntimeError(f"MLflow's list shows {len(found['runs'])} runs")

    def comparison(self, experiment: str, runs: list[str]) -> None:
        self._ask(f"experiments/get?experiment_id={experiment}")
        chosen = f"run_id IN ({','.join(map(repr, runs))})"
        found = self._ask("runs/search", {"experiment_ids": [experiment], "filter": chosen, "max_results": len(runs)})
        if {run["info"]["run_id"] for run in found["runs"]} != set(runs):
            raise RuntimeError("MLflow compares other runs than it was asked for")
        for run in runs:
            self._ask(f"artifacts/list?run_uuid={run}")

    def _ask(self, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = Request(f"{self.address}/ajax-api/2.0/mlflow/{what}", data, {"Content-Type": "application/json"})
        with urlopen(asked, timeout=120) as answer:
            return json.loads(answer.read())


def _predict(folder: Path) -> None:
    """Of the images that lie in the project, as a user asks for it; the answer of before is there no longer."""
    shutil.rmtree(folder / "predictions", ignore_errors=True)
    (folder / "new" / "A").mkdir(parents=True, exist_ok=True)
    for file in folder.glob("NPM1-*.tif"):
        shutil.copyfile(file, folder / "new" / "A" / file.name)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "predict", "new"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(served.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def _median(ask: Callable[[], Any], times: int = 3) -> float:
    took = []
    with contextlib.redirect_stdout(io.StringIO()):
        ask()
        for _ in range(times):
            began = time.monotonic()
            ask()
            took.append(time.monotonic() - began)
    return statistics.median(took)
