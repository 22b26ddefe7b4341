"""One stage through DVC, on stages that take milliseconds, without Prefect."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import toy_project

from flows import dvc_stages


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_project.make(tmp_path_factory.mktemp("toy"))


def silence(_line: str) -> None:
    pass


def test_what_became_of_a_stage_is_known_however_much_it_says(project: Path) -> None:
    toy_project.behave(project, ingest="chatty")
    assert dvc_stages.run_stage("ingest", say=silence, folder=project).state == "ran"
    assert dvc_stages.run_stage("ingest", say=silence, folder=project).state == "unchanged"
    (project / "data" / "raw").unlink()
    assert dvc_stages.run_stage("ingest", say=silence, folder=project).state == "restored"


def test_a_push_waits_for_whoever_holds_the_lock_of_dvc(project: Path) -> None:
    """DVC by itself gives up after three seconds."""
    from dvc.repo import Repo

    with (project / ".dvc" / "config").open("a") as config:
        config.write(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {project.parent / 'remote'}\n")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with Repo(str(project)) as repo, repo.lock:
            held.set()
            over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    command = threading.Timer(7, over.set)
    command.start()
    try:
        dvc_stages.run_dvc("push", say=silence, folder=project)
        assert over.is_set()
    finally:
        over.set()
        holder.join()
