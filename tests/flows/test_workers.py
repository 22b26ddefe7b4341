"""Workers that Prefect's server sends runs to: by a schedule, and in another clone, whose outputs come home."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_project
from processes import PrefectServer, alive_of, free_port, heed_ctrl_c, wait

pytestmark = pytest.mark.rehearsal


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_project.make(tmp_path_factory.mktemp("toy"))


def test_a_schedule_fires_and_a_worker_runs_it_and_a_cancelled_run_ends(project: Path, server: PrefectServer) -> None:
    variables = toy_project.environment(project, PREFECT_API_URL=server.api, PIPELINE_DIR=str(project))
    text = (project / "infra" / "prefect.yaml").read_text()
    (project / "infra" / "often.yaml").write_text(re.sub(r'cron: "0 2.*\n +timezone: .*', "interval: 40", text))

    def prefect(*command: str) -> None:
        done = subprocess.run(["prefect", *command], cwd=project, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    prefect("work-pool", "create", "pipeline", "--type", "process", "--overwrite")
    prefect("--no-prompt", "deploy", "--all", "--prefect-file", "infra/often.yaml")
    deployments = server.post("deployments/filter")
    assert {d["name"]: d["concurrency_options"] and d["global_concurrency_limit"]["limit"] for d in deployments} == {
        "weekly": 1,
        "daily": 1,
        "drift": 1,
    }

    def scheduled(*states: str) -> list[dict[str, object]]:
        found = server.post(
            "flow_runs/filter",
            flow_runs={"state": {"type": {"any_": list(states)}}, "deployment_id": {"is_null_": False}},
        )
        return [run for run in found if run["auto_scheduled"]]

    try:
        proxy = {"HTTP_PROXY": f"http://127.0.0.1:{free_port()}", "NO_PROXY": "127.0.0.1,localhost"}  # nobody listens there
        with toy_project.worker("pipeline", project, server, PIPELINE_DIR=str(project), **proxy):
            wait(lambda: scheduled("COMPLETED"), "a scheduled run to complete")
            toy_project.behave(project, train__C__0="hang")
            (project / "source.txt").write_text("3")
            wait((project / "hanging").exists, "a scheduled training to hang")
            (run,) = scheduled("RUNNING")
            server.post(f"flow_runs/{run['id']}/set_state", state={"type": "CANCELLING"})
            wait(
                lambda: not any("stage.py" in command or "sleep" in command for command in alive_of(project)),
                "the training to end",
            )
            wait(lambda: any(found["id"] == run["id"] for found in scheduled("CANCELLED")), "the run to be cancelled")
    finally:
        (project / "hanging").unlink(missing_ok=True)
        toy_project.behave(project)
        (project / "source.txt").write_text("1")


def ordered(server: PrefectServer) -> list[dict[str, Any]]:
    """All trainings that were handed to other machines."""
    return list(server.post("flow_runs/filter", flows={"name": {"any_": ["train-one"]}}))


def given_up(here: Path, server: PrefectServer) -> None:
    """A flow that orders trainings where nobody takes orders says so, and takes its orders back when it is interrupted."""
    with subprocess.Popen(
        [sys.executable, "-m", "flows", "training", "--deployment", "train-one/trainers", "--subtypes", "C"],
        cwd=here,
        env=toy_project.environment(here, PREFECT_API_URL=server.api),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    ) as running:
        assert running.stderr is not None
        assert any("train-one/trainers: no worker has taken it yet" in line for line in running.stderr)
        assert [run["state"]["type"] for run in ordered(server)] == ["SCHEDULED"]
        running.send_signal(signal.SIGINT)
        running.stderr.read()
    assert [run["state"]["type"] for run in ordered(server)] == ["CANCELLED"]


def test_a_worker_in_another_clone_trains_and_its_outputs_come_home(tmp_path: Path, server: PrefectServer) -> None:
    here, there, remote = (tmp_path / name for name in ("here", "there", "remote"))
    here.mkdir()
    toy_project.make(here)

    def do(folder: Path, *command: str) -> str:
        variables = toy_project.environment(folder, PREFECT_API_URL=server.api)
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    toy_project.try_again_at_once(here)
    patient = (here / "flows" / "remote_training.py").read_text()
    assert patient.count("_SOON_S = 30.0") == 1
    (here / "flows" / "remote_training.py").write_text(patient.replace("_SOON_S = 30.0", "_SOON_S = 1.0"))
    toy_project.behave(here, train__C__0="away once")
    identity = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")
    do(here, "dvc", "remote", "add", "--quiet", "--default", "store", str(remote))
    (here / ".gitignore").write_text(
        "/data\n/models\n/page.html\n/runs.log\n/hanging\n/.prefect\n/.worktrees\n/.checkpoints\n__pycache__\n"
    )
    do(here, "git", "add", "-A")
    do(here, *identity, "commit", "--quiet", "-m", "one")
    do(tmp_path, "git", "clone", "--quiet", str(here), str(there))
    do(there, sys.executable, "-m", "flows", "deploy", "--trainers")
    given_up(here, server)
    with toy_project.worker("trainers", there, server):
        (here / "source.txt").write_text("of the parent, not committed")
        assert toy_project.run_flow(here, server, "--deployment", "train-one/trainers")[1].startswith(
            "training: Failed. source.txt: commit it"
        )
        do(here, *identity, "commit", "--quiet", "-am", "two")
        toy_project.runs(here)
        status, said = toy_project.run_flow(
            here, server, "--deployment", "train-one/trainers", MLFLOW_TRACKING_URI="http://me:secret@127.0.0.1:1"
        )
        assert (status, said) == (0, "training: Completed. 9 stages: 7 ran, 2 restored")
        again = toy_project.run_flow(here, server, "--deployment", "train-one/trainers", "--force", "--subtypes", "C")
        assert again[0] == 0
    orders = ordered(server)
    assert "secret" not in json.dumps(orders)
    logs = server.post("logs/filter", logs={"flow_run_id": {"any_": [run["id"] for run in orders]}})
    sent = {(line["timestamp"], line["message"]) for line in logs}  # a busy server may be sent, and keep, the same lines twice
    trained = [message for _, message in sorted(sent) if "MLFLOW_TRACKING_URI=" in message]
    assert sum(line.endswith("MLFLOW_TRACKING_URI=http://127.0.0.1:1") for line in trained) == 2, trained
    assert sum(line.endswith(f"MLFLOW_TRACKING_URI=sqlite:///{there}/mlflow.db") for line in trained) == 1  # forced, told none
    parents = server.post("flow_runs/filter", flow_runs={"id": {"any_": re.findall("FLOW_RUN=([^ ]+)", " ".join(trained))}})
    assert {run["state"]["message"].split(":")[0] for run in parents} == {"9 stages", "6 stages"}
    assert not [name for name in toy_project.runs(here) if name.startswith("train")]
    assert json.loads(do(here, "dvc", "status", "--json")) == {}
    assert not list((there / ".worktrees/trainings").iterdir())
    assert do(there, "git", "status", "--porcelain") == ""
