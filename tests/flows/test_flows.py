"""Real Prefect around real DVC: order, failures, retries, and no process left behind, on stages that take milliseconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_project
from processes import PrefectServer, alive_of, heed_ctrl_c, wait

from flows import unneeded_flow_runs

pytestmark = pytest.mark.rehearsal


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_project.make(tmp_path_factory.mktemp("toy"))


def test_everything_runs_once_in_order_and_dvc_agrees(project: Path, server: PrefectServer) -> None:
    status, said = toy_project.run_flow(project, server)
    assert (status, said) == (0, "training: Completed. 9 stages: 9 ran")
    ran = toy_project.runs(project)
    assert sorted(ran) == sorted(toy_project.ALL)
    assert ran[:2] == ["ingest", "split"]
    assert all(
        ran.index("report") > ran.index(f"evaluate {subtype}") > ran.index(f"train {subtype} 0") for subtype in ("A_B", "C")
    )
    repro = subprocess.run(
        ["dvc", "repro"], cwd=project, env=toy_project.environment(project), capture_output=True, text=True, check=True
    )
    assert "up to date" in repro.stdout
    assert toy_project.runs(project) == []


def test_the_flow_takes_what_dvc_repro_did_and_restores_what_ran_before(project: Path, server: PrefectServer) -> None:
    assert toy_project.run_flow(project, server)[0] == 0
    (project / "source.txt").write_text("2")
    subprocess.run(
        ["dvc", "repro", "--quiet"], cwd=project, env=toy_project.environment(project), check=True, capture_output=True
    )
    assert toy_project.run_flow(project, server)[1] == "training: Completed. 9 stages: 9 unchanged"
    assert toy_project.runs(project)[-1] == "command register"  # DVC does not know what MLflow has
    (project / "source.txt").write_text("1")
    status, said = toy_project.run_flow(project, server)
    assert status == 0
    assert "restored" in said
    assert [name for name in toy_project.runs(project) if not name.startswith("register")] == []  # it has no outs


@pytest.mark.skipif(os.geteuid() != 0, reason="an output edited in place: nobody but root can")
def test_an_output_edited_in_place_and_with_it_the_cache_is_made_again(project: Path, server: PrefectServer) -> None:
    edited = project / "data" / "split"
    edited.write_text("wrong")
    subprocess.run(["dvc", "repro"], cwd=project, env=toy_project.environment(project), check=True, capture_output=True)
    assert edited.read_text() == "wrong"  # DVC takes it for what the stage made
    assert toy_project.run_flow(project, server)[0] == 0
    assert edited.read_text() == "split1"


def test_one_subtype_failing_does_not_stop_the_others_and_a_service_that_was_away_is_tried_again(
    project: Path, server: PrefectServer
) -> None:
    toy_project.try_again_at_once(project)
    toy_project.behave(project, train__C__0="fail", ingest="away once")
    toy_project.runs(project)
    try:
        status, said = toy_project.run_flow(project, server, "--force")
    finally:
        toy_project.behave(project)
    assert status == 1
    assert said.startswith("training: Failed. 1 of 9 stages failed: ")
    assert "train C 0: broken on purpose" in said
    assert said.endswith("not run because of that: evaluate C one, register C, report")
    ran = toy_project.runs(project)
    assert ran.count("ingest") == 2
    assert ran.count("train C 0") == 1  # a failure that another try would not change
    assert {"evaluate A_B", "register A_B"} <= set(ran)


def test_refresh_tries_a_service_again_and_nothing_else(project: Path, server: PrefectServer) -> None:
    toy_project.try_again_at_once(project)
    toy_project.behave(project, **{"command__source__--take": "fail"})
    toy_project.runs(project)
    status, said = toy_project.run_flow(project, server, flow="refresh")
    assert (status, said) == (1, "refresh: Failed. command source --take: broken on purpose")
    assert toy_project.runs(project) == ["command source --take"]
    toy_project.behave(project, **{"command__source__--take": "away once, then new"}, ingest="away once")
    (project / "source.txt").write_text("new patients")
    try:
        status, said = toy_project.run_flow(project, server, flow="refresh")
    finally:
        toy_project.behave(project)
        (project / "source.txt").write_text("1")
    assert (status, said) == (0, "refresh: Completed. new data: 9 stages: 8 ran, 1 unchanged")
    assert toy_project.runs(project)[:4] == ["command source --take"] * 2 + ["ingest"] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_flow_that_is_killed_leaves_no_training_behind(project: Path, server: PrefectServer, number: int) -> None:
    toy_project.behave(project, train__C__0="hang")
    running = subprocess.Popen(
        [sys.executable, "-m", "flows", "training", "--force", "--subtypes", "C"],
        cwd=project,
        env=toy_project.environment(project, PREFECT_API_URL=server.api),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    )
    try:
        wait((project / "hanging").exists, "the training to hang")
        if number == signal.SIGKILL:
            assert toy_project.run_flow(project, server)[1].startswith("training: Cancelled. another flow is at work in ")
        running.send_signal(number)
        running.wait(600)
        wait(lambda: not alive_of(project), f"all processes to end, still there: {alive_of(project)}")
    finally:
        running.kill()
        (project / "hanging").unlink(missing_ok=True)
        toy_project.behave(project)
    if number == signal.SIGKILL:
        assert toy_project.run_flow(project, server)[0] == 0  # no lock is left


def test_flow_runs_that_ended_long_ago_are_named_with_the_command_that_deletes_them(
    project: Path, server: PrefectServer
) -> None:
    """Of the flows above; nothing here starts one."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(updates={PREFECT_API_URL: server.api}):
        now, later = list(unneeded_flow_runs.report(0)), list(unneeded_flow_runs.report(30))
    assert int(now[0].split()[1]) == len(now) - 1 >= 1
    assert later == ["Prefect: 0 flow runs ended more than 30 days ago; results are in none of them"]
    deleted = now[1].split()
    subprocess.run(deleted, env=toy_project.environment(project, PREFECT_API_URL=server.api), check=True, capture_output=True)
    with temporary_settings(updates={PREFECT_API_URL: server.api}):
        assert len(list(unneeded_flow_runs.report(0))) == len(now) - 1


def test_workers_search_and_one_of_them_ends_the_search(project: Path, server: PrefectServer) -> None:
    toy_project.runs(project)
    toy_project.behave(project, tune="fail once")
    status, said = toy_project.run_flow(project, server, "C", "--candidate", "one", "--workers", "2", "--apply", flow="tune")
    assert status == 0
    assert "tune: done; 1 of 2 workers failed: tune: broken on purpose" in said
    assert toy_project.runs(project) == [*["tune C --candidate one --only-trials"] * 2, "tune C --candidate one --apply"]
    (page,) = server.post("artifacts/filter", artifacts={"key": {"any_": ["tune-c"]}})
    assert "![front](data:image/png;base64," in page["data"]
    toy_project.behave(project, tune="fail")
    status, said = toy_project.run_flow(project, server, "C", "--workers", "2", flow="tune")
    assert status == 1
    assert "tune: broken on purpose" in said
    assert toy_project.runs(project) == ["tune C --only-trials"] * 2
