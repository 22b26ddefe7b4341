"""An output edited in place, where it is a link into DVC's cache and permissions do not help, is found and made again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toy_project

from flows import cache_check


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = toy_project.make(tmp_path_factory.mktemp("toy"))
    call(project, "dvc", "repro", "--quiet")
    return project


def call(project: Path, *command: str, status: int = 0) -> str:
    done = subprocess.run(
        command, cwd=project, env=toy_project.environment(project), capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def edit_in_place(file: Path, text: str) -> None:
    """As root does."""
    file.chmod(0o644)
    file.write_text(text)
    file.chmod(0o444)


def test_a_sound_cache_stays_as_it_is(project: Path) -> None:
    assert cache_check.remove_damaged(project) is None
    assert json.loads(call(project, "dvc", "status", "--json")) == {}


@pytest.mark.rehearsal
def test_what_dvc_takes_for_up_to_date_although_it_was_edited_is_made_again(project: Path) -> None:
    split, right = project / "data" / "split", "split1"
    edit_in_place(split, "wrong")
    call(project, "dvc", "repro")
    call(project, "dvc", "repro", "--force")
    assert split.read_text() == "wrong"  # which is what this is about
    assert json.loads(call(project, "dvc", "status", "--json")) == {}
    said = call(project, sys.executable, "-m", "flows", "check", status=1)
    what, _, command = said.strip().partition(": ")
    assert what == (
        "1 objects of DVC's cache were no longer what they are called and are deleted, with data/split, edited in place; "
        "make them, and what was made of them, again"
    )
    assert command == "dvc repro --force --downstream split"
    toy_project.runs(project)
    call(project, *command.split())
    assert split.read_text() == right
    assert set(toy_project.runs(project)) == set(toy_project.ALL) - {"ingest"}
    assert call(project, sys.executable, "-m", "flows", "check") == "DVC's cache is what it says\n"
