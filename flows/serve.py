"""`python -m flows serve`: everything on one machine, in one terminal, until Ctrl-C.

Prefect's server, MLflow's server (unless MLFLOW_TRACKING_URI names one), the reports as pages, and the deployments of
infra/prefect.yaml, which this process runs itself; all of them listen on loopback only.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Mapping

from flows import ROOT, local_servers
from flows.errors import FlowError
from pipeline.common.addresses import without_account

_PORTS = {"prefect": 4200, "mlflow": 5000, "reports": 8000}


def run() -> int:
    """Start all servers, run the schedules until Ctrl-C, and stop all.

    Raises:
        FlowError: a port is none or taken; the message names it and the variable that changes it.
    """
    store = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    given_mlflow = without_account(store) if _is_server(store) else ""
    ports = {name: _read_port(name, usual) for name, usual in _PORTS.items() if not (given_mlflow and name == "mlflow")}
    servers = servers_to_start(store, ports)
    address = {"mlflow": given_mlflow, **{server.name: server.address for server in servers}}
    os.environ.setdefault("PREFECT_HOME", str(ROOT / ".prefect"))
    os.environ["PREFECT_API_URL"] = f"{address['prefect']}/api"
    os.environ["MLFLOW_UI_URL"], os.environ["REPORTS_URL"] = address["mlflow"], address["reports"]
    (ROOT / "reports").mkdir(exist_ok=True)  # served also before there is anything in it
    with contextlib.suppress(KeyboardInterrupt), local_servers.running(*servers):
        _say(f"Prefect  {address['prefect']}    flow runs, schedules, results")
        trainings = f"{address['mlflow']}/#/experiments?workflowType=machine_learning"  # its first page is of chats
        _say(f"MLflow   {trainings}    models compared{' (MLFLOW_TRACKING_URI)' if given_mlflow else ''}")
        _say('         choose "Model training" at the top left once: its links lead to pages of chats otherwise')
        _say(f"reports  {address['reports']}    reports/index.html and the validation")
        _say(f"logs     {ROOT / '.logs'}/    Ctrl-C stops everything")
        from prefect import serve

        from flows import crashed_runs, schedules

        crashed_runs.ensure_automation()
        serve(*schedules.read_deployments())
    _say("stopped")
    return 0


def servers_to_start(store: str, ports: Mapping[str, int]) -> list[local_servers.Server]:
    """The servers of Prefect and of the reports, and MLflow's in front of `store`, unless that is a server already."""
    pages = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", "reports", str(ports["reports"])]
    servers = [local_servers.prefect_server(ports["prefect"]), local_servers.Server("reports", pages, ports["reports"], "/")]
    if not _is_server(store):
        mlflow = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(ports["mlflow"]), "--workers", "1"]
        servers.append(local_servers.Server("mlflow", mlflow, ports["mlflow"], "/health", {"MLFLOW_BACKEND_STORE_URI": store}))
    return servers


def _is_server(store: str) -> bool:
    return store.startswith(("http://", "https://"))


def _read_port(name: str, usual: int) -> int:
    variable = f"{name.upper()}_PORT"
    text = os.environ.get(variable) or str(usual)
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise FlowError(f"{variable}: a port is a whole number from 1 to 65535, not {text!r}")
    port = int(text)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise FlowError(f"port {port} is taken by another program; stop it, or set {variable} to another") from None
    return port


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
