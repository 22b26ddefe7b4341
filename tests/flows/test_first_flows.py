"""A machine on which no flow has run yet, behind a proxy: the first one killed, then two at once, which complete."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy_project
from processes import alive_of, free_port, wait


def start(project: Path, home: Path) -> subprocess.Popen[str]:
    """A flow with Prefect's database in `home`; nobody listens at the proxy, so that whoever asks it is refused."""
    proxy = f"http://127.0.0.1:{free_port()}"
    variables = toy_project.environment(project, PREFECT_HOME=str(home), HTTP_PROXY=proxy, HTTPS_PROXY=proxy, ALL_PROXY=proxy)
    variables = {name: value for name, value in variables.items() if name.lower() != "no_proxy"}
    return subprocess.Popen(
        [sys.executable, "-m", "flows", "training"],
        cwd=project,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end_of(flow: subprocess.Popen[str]) -> str:
    said = flow.communicate(timeout=600)[0]
    assert flow.returncode == 0, said
    assert [f"stage {number} of 9: " in said for number in range(1, 11)] == [True] * 9 + [False], "one after the other, counted"
    assert "git add" not in said, "DVC's hints to who types"
    return said.splitlines()[-1]


@pytest.mark.rehearsal
def test_first_flows_need_no_hand(tmp_path: Path) -> None:
    home = tmp_path / "home"
    projects = [tmp_path / name for name in ("one", "two")]
    for project in projects:
        project.mkdir()
        toy_project.make(project)
    killed = start(projects[0], home)
    wait((home / "prefect.db").exists, "Prefect's database to be made")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    wait(lambda: not alive_of(projects[0]), "all of the killed flow to end")
    flows = [start(project, home) for project in projects]
    assert [end_of(flow) for flow in flows] == ["training: Completed. 9 stages: 9 ran"] * 2
