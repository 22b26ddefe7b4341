"""A worker killed in the middle of a training, and a Prefect server that goes away: nothing is left that needs a person."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import toy_project
from processes import PrefectServer, alive_of, wait

pytestmark = pytest.mark.rehearsal


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_project.make(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Iterator[PrefectServer]:
    """A server that has the deployments, which allow one run at a time, and calls a run crashed after 1.5 heartbeats, not 3."""
    crashed_runs = project / "flows" / "crashed_runs.py"
    text = crashed_runs.read_text()
    assert text.count("seconds=3 * HEARTBEAT_S") == 1
    crashed_runs.write_text(text.replace("seconds=3 * HEARTBEAT_S", "seconds=1.5 * HEARTBEAT_S"))
    with PrefectServer(tmp_path_factory.mktemp("server")) as running:
        subprocess.run(
            [sys.executable, "-m", "flows", "deploy"],
            cwd=project,
            env=toy_project.environment(project, PREFECT_API_URL=running.api),
            check=True,
            capture_output=True,
        )
        yield running


def order(server: PrefectServer) -> str:
    """A run of `training`, to be done by a worker; its id."""
    (deployment,) = (found for found in server.post("deployments/filter") if found["name"] == "weekly")
    return str(server.post(f"deployments/{deployment['id']}/create_flow_run", state={"type": "SCHEDULED"})["id"])


def state(server: PrefectServer, run: str) -> dict[str, Any]:
    (found,) = server.post("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
    return dict(found["state"])


def heartbeats(server: PrefectServer, run: str) -> int:
    """How often the run has said that it lives."""
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    return int(server.post("events/filter", filter=wanted)["total"])


def let_go_on(project: Path) -> None:
    """The stage that hangs waits for a `sleep`, and goes on when that ends."""
    hanging = psutil.Process(int((project / "hanging").read_text()))
    for child in hanging.children():
        child.kill()
    (project / "hanging").unlink()


def test_a_run_goes_on_while_the_server_is_away_and_gives_its_place_back(project: Path, server: PrefectServer) -> None:
    toy_project.behave(project, train__C__0="hang")
    with toy_project.worker("pipeline", project, server):
        run = order(server)
        wait((project / "hanging").exists, "the training to hang")
        server.kill()
        toy_project.behave(project)
        let_go_on(project)
        time.sleep(10)
        server.start()
        wait(lambda: state(server, run)["type"] == "COMPLETED", "the run to complete")
        following = order(server)
        wait(lambda: state(server, following)["type"] == "COMPLETED", f"the next run, now {state(server, following)}")
    assert {name for name in toy_project.runs(project) if not name.startswith("command")} == set(toy_project.ALL)


def test_a_worker_killed_in_a_training_leaves_neither_process_nor_lock_nor_occupied_place(
    project: Path, server: PrefectServer
) -> None:
    (project / "source.txt").write_text("2")
    toy_project.behave(project, train__C__0="hang")
    with toy_project.worker("pipeline", project, server) as killed:
        run = order(server)
        wait((project / "hanging").exists, "the training to hang")
        wait(lambda: heartbeats(server, run) >= 1, "a heartbeat")
        (engine,) = (one for one in psutil.Process(killed.pid).children(recursive=True) if "prefect.engine" in one.cmdline())
        assert engine.environ()["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"  # Prefect's own are 180 s apart
        for process in (engine, killed):
            os.kill(process.pid, signal.SIGKILL)
        wait(lambda: not alive_of(project), "all processes to end")
    (project / "hanging").unlink()
    toy_project.behave(project)
    toy_project.runs(project)
    with toy_project.worker("pipeline", project, server):
        wait(lambda: state(server, run)["type"] == "CRASHED", "the server to call the run crashed")
        following = order(server)
        wait(lambda: state(server, following)["type"] == "COMPLETED", f"the next run, now {state(server, following)}")
    ran = toy_project.runs(project)
    assert "ingest" not in ran
    assert "train C 0" in ran
