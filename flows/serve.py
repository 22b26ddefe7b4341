"""`python -m flows serve`: everything on one machine, in one terminal, until Ctrl-C.

Prefect's server, MLflow's server, the reports as pages, and the deployments of infra/prefect.yaml, which this process runs
itself; all of them listen on loopback only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

from flows import ROOT, door

_PORTS = {"prefect": 4200, "mlflow": 5000, "reports": 8000}
_PATIENCE_S = 120.0


class PortTakenError(Exception):
    """Another program listens there."""


def run() -> int:
    """Start all, serve until interrupted, stop all.

    Raises:
        PortTakenError: names the port and the variable that changes it.
    """
    ports = {name: _port(name, usual) for name, usual in _PORTS.items()}
    addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    logs = ROOT / ".logs"
    logs.mkdir(exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(ROOT / ".prefect"))
    os.environ["PREFECT_API_URL"] = f"{addresses['prefect']}/api"
    os.environ["MLFLOW_UI_URL"], os.environ["REPORTS_URL"] = addresses["mlflow"], addresses["reports"]
    commands = {
        "prefect": ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(ports["prefect"])],
        "mlflow": [
            *("mlflow", "server", "--host", "127.0.0.1", "--port", str(ports["mlflow"]), "--workers", "1"),
            *("--backend-store-uri", os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"),
        ],
        "reports": [
            sys.executable,
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            "reports",
            str(ports["reports"]),
        ],
    }
    with door.shut_at_the_end(), contextlib.ExitStack() as running:
        for name, command in commands.items():
            running.enter_context(_service(name, command, logs / f"{name}.log"))
        for name, path in (("prefect", "/api/health"), ("mlflow", "/health")):
            _wait(name, ports[name], path)
        _say(f"Prefect  {addresses['prefect']}    flow runs, schedules, results")
        _say(f"MLflow   {addresses['mlflow']}    models compared")
        _say(f"reports  {addresses['reports']}    reports/index.html and the validation")
        _say(f"logs     {logs}/    Ctrl-C stops everything")
        from prefect import serve

        from flows import deployments, watchdog

        watchdog.ensure()
        with contextlib.suppress(KeyboardInterrupt):
            serve(*deployments.read())
    _say("stopped")
    return 0


@contextlib.contextmanager
def _service(name: str, command: list[str], log: Path) -> Iterator[None]:
    variables = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def follow() -> None:
        with log.open("w") as file:

            def write(line: str) -> None:
                file.write(line + "\n")
                file.flush()

            door.call(command, write, variables)

    threading.Thread(target=follow, name=name, daemon=True).start()
    yield


def _wait(name: str, port: int, path: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        time.sleep(0.5)
    raise door.StageError(f"{name} does not answer on port {port} after {_PATIENCE_S:.0f} s; see .logs/{name}.log")


def _port(name: str, usual: int) -> int:
    variable = f"{name.upper()}_PORT"
    port = int(os.environ.get(variable) or usual)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise PortTakenError(f"port {port} is taken by another program; stop it, or set {variable} to another") from None
    return port


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
