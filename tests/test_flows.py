"""Real Prefect around real DVC: order, failures, retries, and no process left behind, on stages that take milliseconds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import toy_project
from conftest import ROOT

from flows import dag, slots

ALL = ["ingest", "split"] + [f"train {s} 0" for s in ("A_B", "C")]
ALL += [f"{stage} {s}" for stage in ("evaluate", "register") for s in ("A_B", "C")] + ["report"]


def wait(until: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)


def heed_ctrl_c() -> None:
    """In a child, before it starts: a shell's background jobs, CI among them, have SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def alive_of(folder: Path) -> list[str]:
    """Command lines of processes that work in the project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


# --- without Prefect


def test_what_a_leash_holds_ends_with_its_parent_however_that_dies(tmp_path: Path) -> None:
    leash = ROOT / "flows" / "leash.py"
    hold = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # a shell's background jobs start with it ignored
        f"p = subprocess.Popen([sys.executable, {str(leash)!r}, 'bash', '-c', 'sleep 600 & echo $! > child; wait'],"
        " stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(600)"
    )
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        parent = subprocess.Popen([sys.executable, "-c", hold], cwd=tmp_path, stderr=subprocess.DEVNULL)
        wait((tmp_path / "child").exists, "the child to start")
        wait(lambda: (tmp_path / "child").read_text().strip(), "its number")
        child = int((tmp_path / "child").read_text())
        parent.send_signal(number)
        parent.wait()
        wait(lambda pid=child: not is_alive(pid), f"the child to end with {number!r}", 10)
        (tmp_path / "child").unlink()


def test_a_leash_passes_the_exit_status_on_and_takes_stragglers_along(tmp_path: Path) -> None:
    leash = [sys.executable, str(ROOT / "flows" / "leash.py")]
    done = subprocess.run(
        [*leash, "bash", "-c", "sleep 600 & echo $!; exit 7"],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert not is_alive(int(done.stdout))


def test_the_flow_follows_dvc_yaml() -> None:
    stages = dag.stages()
    names = [stage.name for stage in stages]
    listed = subprocess.run(
        ["dvc", "stage", "list", "--name-only"],
        cwd=ROOT,
        env=toy_project.environment(ROOT),
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(names) == sorted(listed.stdout.split())
    for stage in stages:
        assert all(names.index(other) < names.index(stage.name) for other in stage.after)
    assert {stage.title for stage in stages} >= {"ingest", "train NPM1 fold 0", "evaluate PML_RARA", "report"}
    train = next(stage for stage in stages if stage.name == "train@NPM1-0")
    assert train.after == ("pack", "split")


def test_what_is_chosen_has_what_it_needs(tmp_path: Path) -> None:
    stages = dag.stages(toy_project.make(tmp_path))
    some = dag.chosen(stages, ["C"], None, lambda stage: False)
    assert [stage.title for stage in some] == [
        "ingest",
        "split",
        "train C fold 0",
        "evaluate C",
        "register C",
    ]
    with_old = dag.chosen(stages, ["C"], None, lambda stage: True)
    assert [stage.title for stage in with_old][-1] == "report"
    with pytest.raises(dag.SelectionError, match=r"there is no subtype X; params\.yaml has A_B, C"):
        dag.chosen(stages, ["X"], None, lambda stage: True)
    assert dag.stale({"train@C-0": {}}, stages) == {"train@C-0", "evaluate@C", "register@C", "report"}


@pytest.mark.parametrize(
    ("variables", "at_once", "devices"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,2"}, 2, {"0", "2"}),
        ({"CUDA_VISIBLE_DEVICES": "", "TRAIN_THREADS": "1"}, len(os.sched_getaffinity(0)), {None}),
        ({"CUDA_VISIBLE_DEVICES": ""}, 1, {None}),
        ({"CUDA_VISIBLE_DEVICES": "1", "TRAININGS_AT_ONCE": "3"}, 3, {"1"}),
    ],
)
def test_each_gpu_gets_one_training_at_a_time(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], at_once: int, devices: set[str | None]
) -> None:
    for name in ("TRAININGS_AT_ONCE", "TRAIN_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    places = slots.here()
    assert places.at_once == at_once
    with contextlib.ExitStack() as stack:
        given = [stack.enter_context(places.one()).get("CUDA_VISIBLE_DEVICES") for _ in range(at_once)]
    assert set(given) == devices


# --- with a real server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server on loopback; its API's address."""
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=toy_project.environment(
            home, PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="3", PREFECT_SERVER_ANALYTICS_ENABLED="false"
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}/api"

    def answers() -> bool:
        with contextlib.suppress(OSError), urlopen(f"{address}/health", timeout=2) as answer:
            return bool(answer.status == 200)
        return False

    wait(answers, "Prefect's server")
    yield address
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def post(address: str, path: str, **body: object) -> object:
    request = Request(f"{address}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def run_flow(folder: Path, server: str, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "flows", "training", *options],
        cwd=folder,
        env=toy_project.environment(folder, PREFECT_API_URL=server),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_project.make(tmp_path_factory.mktemp("toy"))


def test_everything_runs_once_in_order_and_dvc_agrees(project: Path, server: str) -> None:
    status, said = run_flow(project, server)
    assert (status, said) == (0, "training: Completed. 9 stages: 9 ran")
    ran = toy_project.runs(project)
    assert sorted(ran) == sorted(ALL)
    assert ran[:2] == ["ingest", "split"]
    assert all(
        ran.index("report") > ran.index(f"evaluate {subtype}") > ran.index(f"train {subtype} 0") for subtype in ("A_B", "C")
    )
    repro = subprocess.run(
        ["dvc", "repro"], cwd=project, env=toy_project.environment(project), capture_output=True, text=True, check=True
    )
    assert "up to date" in repro.stdout
    assert run_flow(project, server)[1] == "training: Completed. 9 stages: 9 unchanged"
    assert toy_project.runs(project) == []


def test_what_dvc_repro_did_by_hand_the_flow_takes_and_what_ran_before_is_restored(project: Path, server: str) -> None:
    (project / "source.txt").write_text("2")
    subprocess.run(
        ["dvc", "repro", "--quiet"], cwd=project, env=toy_project.environment(project), check=True, capture_output=True
    )
    assert run_flow(project, server)[1] == "training: Completed. 9 stages: 9 unchanged"
    (project / "source.txt").write_text("1")
    toy_project.runs(project)
    status, said = run_flow(project, server)
    assert status == 0
    assert "restored" in said
    assert [name for name in toy_project.runs(project) if not name.startswith("register")] == []  # it has no outs


def test_one_subtype_failing_does_not_stop_the_others_and_a_service_that_was_away_is_tried_again(
    project: Path, server: str
) -> None:
    text = (ROOT / "flows" / "training.py").read_text()
    (project / "flows" / "training.py").write_text(text.replace("backoff_factor=10", "backoff_factor=0.1"))
    toy_project.behave(project, train__C__0="fail", ingest="away once")
    toy_project.runs(project)
    try:
        status, said = run_flow(project, server, "--force")
    finally:
        toy_project.behave(project)
    assert status == 1
    assert said.startswith("training: Failed. 1 of 9 stages failed: ")
    assert "train C 0: broken on purpose" in said
    assert said.endswith("not run because of that: evaluate C, register C, report")
    ran = toy_project.runs(project)
    assert ran.count("ingest") == 2
    assert ran.count("train C 0") == 1  # a failure that another try would not change
    assert {"evaluate A_B", "register A_B"} <= set(ran)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_flow_that_is_killed_leaves_no_training_behind(project: Path, server: str, number: int) -> None:
    toy_project.behave(project, train__C__0="hang")
    running = subprocess.Popen(
        [sys.executable, "-m", "flows", "training", "--force", "--subtypes", "C"],
        cwd=project,
        env=toy_project.environment(project, PREFECT_API_URL=server),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    )
    try:
        wait((project / "hanging").exists, "the training to hang")
        running.send_signal(number)
        running.wait(60)
        wait(lambda: not alive_of(project), f"all processes to end, still there: {alive_of(project)}", 20)
    finally:
        running.kill()
        (project / "hanging").unlink(missing_ok=True)
        toy_project.behave(project)
    if number == signal.SIGKILL:
        assert run_flow(project, server)[0] == 0  # no lock is left


def test_a_schedule_fires_and_a_worker_runs_it_and_a_cancelled_run_ends(project: Path, server: str) -> None:
    variables = toy_project.environment(
        project, PREFECT_API_URL=server, PREFECT_WORKER_QUERY_SECONDS="2", PIPELINE_DIR=str(project)
    )
    text = (project / "infra" / "prefect.yaml").read_text()
    (project / "infra" / "often.yaml").write_text(re.sub(r'cron: "0 2.*\n +timezone: .*', "interval: 20", text))

    def prefect(*command: str) -> None:
        done = subprocess.run(["prefect", *command], cwd=project, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    prefect("work-pool", "create", "pipeline", "--type", "process", "--overwrite")
    prefect("--no-prompt", "deploy", "--all", "--prefect-file", "infra/often.yaml")
    deployments = post(server, "deployments/filter")
    assert {d["name"]: d["concurrency_options"] and d["global_concurrency_limit"]["limit"] for d in deployments} == {
        "weekly": 1,
        "daily": 1,
    }
    worker = subprocess.Popen(
        ["prefect", "worker", "start", "--pool", "pipeline"],
        cwd=project,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    )

    def scheduled(*states: str) -> list[dict[str, object]]:
        found = post(
            server,
            "flow_runs/filter",
            flow_runs={"state": {"type": {"any_": list(states)}}, "deployment_id": {"is_null_": False}},
        )
        return [run for run in found if run["auto_scheduled"]]

    try:
        wait(lambda: scheduled("COMPLETED"), "a scheduled run to complete", 180)
        toy_project.behave(project, train__C__0="hang")
        (project / "source.txt").write_text("3")
        wait((project / "hanging").exists, "a scheduled training to hang", 180)
        (run,) = scheduled("RUNNING")
        started = time.monotonic()
        post(server, f"flow_runs/{run['id']}/set_state", state={"type": "CANCELLING"})
        wait(
            lambda: not any("stage.py" in command or "sleep" in command for command in alive_of(project)),
            "the training to end",
            60,
        )
        assert time.monotonic() - started < 30
        wait(lambda: any(found["id"] == run["id"] for found in scheduled("CANCELLED")), "the run to be cancelled", 60)
    finally:
        end(worker)
        (project / "hanging").unlink(missing_ok=True)
        toy_project.behave(project)
        (project / "source.txt").write_text("1")


def test_a_worker_in_another_clone_trains_and_its_outputs_come_home(tmp_path: Path, server: str) -> None:
    here, there, remote = (tmp_path / name for name in ("here", "there", "remote"))
    here.mkdir()
    toy_project.make(here)

    def do(folder: Path, *command: str) -> str:
        variables = toy_project.environment(folder, PREFECT_API_URL=server)
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    identity = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")
    do(here, "dvc", "remote", "add", "--quiet", "--default", "store", str(remote))
    (here / ".gitignore").write_text(
        "/data\n/models\n/page.html\n/runs.log\n/hanging\n/.prefect\n/.worktrees\n/.checkpoints\n__pycache__\n"
    )
    do(here, "git", "add", "-A")
    do(here, *identity, "commit", "--quiet", "-m", "one")
    do(tmp_path, "git", "clone", "--quiet", str(here), str(there))
    do(there, sys.executable, "-m", "flows", "deploy", "--trainers")
    worker = subprocess.Popen(
        ["prefect", "worker", "start", "--pool", "trainers"],
        cwd=there,
        env=toy_project.environment(there, PREFECT_API_URL=server, PREFECT_WORKER_QUERY_SECONDS="2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    )
    try:
        (here / "source.txt").write_text("of the parent, not committed")
        assert run_flow(here, server, "--deployment", "train-one/trainers")[1].startswith(
            "training: Failed. source.txt: commit it"
        )
        do(here, *identity, "commit", "--quiet", "-am", "two")
        status, said = run_flow(here, server, "--deployment", "train-one/trainers")
        assert (status, said) == (0, "training: Completed. 9 stages: 7 ran, 2 restored")
    finally:
        end(worker)
    assert not [name for name in toy_project.runs(here) if name.startswith("train")]
    assert json.loads(do(here, "dvc", "status", "--json")) == {}
    assert not list((there / ".worktrees").iterdir())
    assert do(there, "git", "status", "--porcelain") == ""
