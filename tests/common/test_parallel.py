"""Work by several processes: the same results in the same order, one line when it fails, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT
from processes import CLEAN, is_alive, wait

from pipeline.common import parallel
from pipeline.common.errors import DataError


@pytest.fixture(autouse=True)
def _two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "available", lambda: 2)
    monkeypatch.setattr(parallel, "_FEW", 10)
    monkeypatch.setattr(parallel, "_IN_FLIGHT", 100)


def who(number: int) -> tuple[int, int]:
    return number, os.getpid()


def note(number: int, folder: str) -> int:
    (Path(folder) / str(number)).touch()
    return os.getpid()


def refuse(number: int) -> int:
    if number == 75:
        raise DataError(f"image {number}: is not the file that was seen")
    return number


def die(number: int) -> int:
    if number == 75:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_many_are_shared_out_and_come_back_in_order() -> None:
    done = list(parallel.each(who, range(200)))
    assert [number for number, _ in done] == list(range(200))
    workers = {worker for _, worker in done}
    assert os.getpid() not in workers
    assert not any(is_alive(worker) for worker in workers)


def test_few_are_done_here_unless_each_is_much_work() -> None:
    assert list(parallel.each(who, range(19))) == [(number, os.getpid()) for number in range(19)]
    much = list(parallel.each(who, range(5), images=10))
    assert [number for number, _ in much] == list(range(5))
    assert os.getpid() not in {worker for _, worker in much}


def test_nothing_to_do_is_done() -> None:
    assert list(parallel.each(who, [])) == []


def test_whoever_stops_early_waits_for_little_and_leaves_no_process(tmp_path: Path) -> None:
    done = parallel.each(partial(note, folder=str(tmp_path)), range(2000))
    worker = next(done)
    time.sleep(0.5)
    done.close()
    assert not is_alive(worker)
    assert 32 <= len(list(tmp_path.iterdir())) <= 32 * 8  # four pieces of 32 in flight, and what the processes had taken


def test_what_the_work_says_is_what_the_caller_hears() -> None:
    with pytest.raises(DataError, match=r"^image 75: is not the file that was seen$"):
        list(parallel.each(refuse, range(200)))


def test_a_killed_process_is_one_line() -> None:
    with pytest.raises(DataError, match="was killed"):
        list(parallel.each(die, range(200)))


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    code = """
import time

import test_parallel
from pipeline.common import parallel

def main():
    parallel.available, parallel._FEW = lambda: 2, 1
    for _, worker in parallel.each(test_parallel.who, range(200)):
        print(worker, flush=True)
        time.sleep(0.01)

if __name__ == "__main__":
    main()
"""
    (tmp_path / "program.py").write_text(code)
    here = Path(__file__).parent
    variables = {**CLEAN, "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent, ROOT)))}
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        workers = {int(run.stdout.readline()) for _ in range(40)}
        run.kill()
        run.wait()
    wait(lambda: not any(is_alive(worker) for worker in workers), "the processes to end")
