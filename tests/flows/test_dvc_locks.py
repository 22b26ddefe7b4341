"""What a killed flow or a full disk leaves in DVC's lock file is no longer in the way; a command at work is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_project

from flows import dvc_locks, dvc_stages
from flows.errors import FlowError


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_project.make(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def another(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs in the checkout, called as `dvc repro ingest` would be."""
    program = project / "dvc"
    program.write_text("import time; time.sleep(3600)")
    with subprocess.Popen([sys.executable, str(program), "repro", "ingest"], cwd=project) as process:
        yield process
        process.kill()


def hold(project: Path, pid: int, command: str, age_s: float = 0) -> Path:
    """A lock of the first stage's output in the name of a process, as DVC writes it."""
    file = project / ".dvc" / "tmp" / "rwlock"
    entry = {"pid": pid, "cmd": command}
    file.write_text(
        json.dumps({"write": {str(project / "data" / "raw"): entry}, "read": {str(project / "source.txt"): [entry]}})
    )
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def ingest(project: Path) -> str:
    return dvc_stages.run_stage("ingest", force=True, say=lambda _line: None, folder=project).state


@pytest.mark.parametrize(
    ("command", "age_s"),
    [
        pytest.param("/bin/dvc --wait-for-lock repro --single-item ingest", 0, id="another program has the number"),
        pytest.param("/bin/dvc repro " + sys.argv[-1], 1e9, id="what has the number began later"),
    ],
)
def test_the_lock_of_a_killed_command_whose_number_was_given_again_is_not_in_the_way(
    project: Path, command: str, age_s: float
) -> None:
    hold(project, os.getpid(), command, age_s)
    assert dvc_stages.find_changed_stages(project)
    hold(project, os.getpid(), command, age_s)
    assert ingest(project) == "ran"


@pytest.mark.parametrize("content", ["", '{"write": {"/x/data', "[]", '{"write": {"/x": {"pid": "one"}}}'])
def test_a_lock_file_that_a_full_disk_cut_off_is_made_anew(project: Path, content: str) -> None:
    (project / ".dvc" / "tmp" / "rwlock").write_text(content)
    assert ingest(project) == "ran"


def test_a_command_at_work_is_not_robbed_and_the_line_says_who_it_is_and_what_to_do(
    project: Path, another: subprocess.Popen[bytes]
) -> None:
    file = hold(project, another.pid, "/bin/dvc repro ingest")
    with pytest.raises(FlowError) as refused:
        ingest(project)
    assert "\n" not in str(refused.value)
    assert f"is busy, it is being blocked by: (PID {another.pid}): /bin/dvc repro ingest" in str(refused.value)
    assert str(refused.value).endswith(f"you can manually remove '{file}' and try again.")
    file.write_text("")
    with pytest.raises(FlowError, match=rf"cut off, .* while DVC is at work here \(PID {another.pid}\)"):
        dvc_locks.release_the_gone(project)
