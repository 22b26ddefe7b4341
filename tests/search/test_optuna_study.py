"""Workers on one study: no place is lost and none is taken twice, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import ROOT
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from processes import CLEAN, Postgres, wait
from sqlalchemy import Engine, event
from sqlalchemy.exc import IntegrityError, ProgrammingError

from pipeline.common import paths
from pipeline.common.errors import UnreachableError
from pipeline.search import live_processes, optuna_storage, optuna_study

PLACES = 10
# A worker: writes down which place it begins and what values it got; place `hang` hangs when told so.
WORKER = """
import json, os, sys, time
from pathlib import Path
from pipeline.search import optuna_study

log, hang = Path(sys.argv[1]), int(sys.argv[2])

def objective(ask):
    x, y = ask.rate("x", 0.01, 1.0), ask.one_of("y", ["a", "b"])
    ask.note(cost=x)
    with log.open("a") as file:
        file.write(json.dumps({"place": ask.place, "x": x, "worker": os.getpid()}) + "\\n")
    time.sleep(600 if ask.place == hang else 0.05)
    for step in range(3):
        ask.report(step, x + 1 / (step + 1))
    return x

mine = optuna_study.Study("one", 7, after_trials=3, after_steps=1)
mine.queue([{"x": 0.5, "y": "a"}], int(sys.argv[3]))
mine.work(objective, lambda trial: None)
"""


@pytest.fixture
def storage(here: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL, where it is installed, else a file."""
    if Postgres.programs() is None:
        yield {}
        return
    with Postgres() as server:
        yield {"TUNE_STORAGE": server.uri}


def worker(log: Path, storage: dict[str, str], hang: int = -1) -> subprocess.Popen[bytes]:
    variables = {**CLEAN, **storage, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(log), str(hang), str(PLACES)], env=variables, start_new_session=True
    )


def begun(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.rehearsal
def test_two_workers_one_killed_and_the_queue_is_done_to_the_last_place(
    here: Path, storage: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = here / "log"
    killed = worker(log, storage, hang=2)
    wait(lambda: any(row["place"] == 2 for row in begun(log)), "the third place")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (lost,) = [row for row in begun(log) if row["place"] == 2]
    two = [worker(log, storage) for _ in range(2)]
    assert [process.wait(600) for process in two] == [0, 0]
    counts = Counter(row["place"] for row in begun(log))
    assert counts == Counter(dict.fromkeys(range(PLACES), 1) | {2: 2})
    assert {row["x"] for row in begun(log) if row["place"] == 2} == {lost["x"]}  # it goes on with the same values
    assert begun(log)[0]["x"] == 0.5

    monkeypatch.setenv("TUNE_STORAGE", storage.get("TUNE_STORAGE", ""))
    trials = optuna_study.Study("one", 7, 3, 1).trials()
    assert [trial.place for trial in trials] == list(range(PLACES))
    assert {trial.state for trial in trials} <= {"complete", "pruned"}
    assert all(trial.loss == trial.point["x"] for trial in trials if trial.state == "complete")
    assert all(trial.notes == {"cost": trial.point["x"]} for trial in trials)


def test_an_interrupted_place_goes_back_with_its_values(here: Path) -> None:
    tried: list[tuple[int, float]] = []

    def objective(ask: optuna_study.Ask) -> float:
        tried.append((ask.place, ask.rate("x", 0.01, 1.0)))
        if len(tried) == 3:
            raise KeyboardInterrupt
        return tried[-1][1]

    mine = optuna_study.Study("cut", 3, 5, 0)
    mine.queue([], 5)
    with pytest.raises(KeyboardInterrupt):
        mine.work(objective, lambda _trial: None)
    again = optuna_study.Study("cut", 3, 5, 0)
    again.queue([], 5)
    again.work(objective, lambda _trial: None)
    assert Counter(place for place, _ in tried) == Counter([0, 1, 2, 2, 3, 4])
    assert len({x for place, x in tried if place == 2}) == 1
    assert [trial.loss for trial in again.trials()] == [dict(tried)[place] for place in range(5)]


def test_more_places_may_be_added(here: Path) -> None:
    mine = optuna_study.Study("more", 1, 5, 0)
    for total in (3, 5):
        mine.queue([{"x": 0.1}], total)
        mine.work(lambda ask: ask.rate("x", 0.01, 1.0), lambda _trial: None)
        assert [trial.place for trial in mine.trials()] == list(range(total))
    assert mine.trials()[0].point == {"x": 0.1}
    assert len({trial.point["x"] for trial in mine.trials()}) == 5


def test_two_workers_who_see_the_same_place_waiting_in_a_file_do_not_both_take_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is held up after it has looked whether its first place still waits, until the other has looked too, if it can."""
    both_have_looked, mine, take = threading.Barrier(2), threading.local(), RDBStorage.set_trial_state_values

    def taking(storage: RDBStorage, trial: int, state: TrialState, values: Any = None) -> bool:
        mine.looks = state == TrialState.RUNNING and not hasattr(mine, "looks")
        return take(storage, trial, state, values)

    def looked(*_: object) -> None:
        if getattr(mine, "looks", False):
            mine.looks = False
            with suppress(threading.BrokenBarrierError):
                both_have_looked.wait(1)

    monkeypatch.setattr(RDBStorage, "set_trial_state_values", taking)
    event.listen(Engine, "after_cursor_execute", looked)
    begun: list[int] = []

    def objective(ask: optuna_study.Ask) -> float:
        begun.append(ask.place)
        return ask.rate("x", 0.01, 1.0)

    try:
        two = [optuna_study.Study("one file", 1, 5, 0) for _ in range(2)]
        two[0].queue([], 4)
        with ThreadPoolExecutor(2) as pool:
            working = [pool.submit(one.work, objective, lambda _trial: None) for one in two]
        assert [one.exception() for one in working] == [None, None]
    finally:
        event.remove(Engine, "after_cursor_execute", looked)
    assert sorted(begun) == [0, 1, 2, 3]
    assert [trial.state for trial in two[0].trials()] == ["complete"] * 4


def test_a_place_whose_worker_was_killed_before_it_wrote_who_it_is_is_done_after_a_while(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = optuna_study.Study("nameless", 1, 5, 0)
    mine.queue([{"x": 0.5}], 2)
    killed = optuna.load_study(study_name="nameless", storage=optuna_storage.address()).ask()
    assert killed.user_attrs == {"place": 0}
    begun: list[tuple[int, float]] = []

    def objective(ask: optuna_study.Ask) -> float:
        begun.append((ask.place, ask.rate("x", 0.01, 1.0)))
        return begun[-1][1]

    waited: list[float] = []

    def a_while(seconds: float) -> None:
        waited.append(seconds)
        assert len(waited) == 1
        assert [place for place, _ in begun] == [1]  # place 0 may have a worker who is about to write
        with sqlite3.connect(paths.STUDIES) as database:
            changed = "UPDATE trials SET datetime_start = datetime(datetime_start, ?) WHERE state = 'RUNNING'"
            assert database.execute(changed, (f"-{optuna_storage.SILENCE_S + 1} seconds",)).rowcount == 1

    monkeypatch.setattr(optuna_study.time, "sleep", a_while)
    mine.work(objective, lambda _trial: None)
    assert waited
    assert [place for place, _ in begun] == [1, 0]
    assert begun[1] == (0, 0.5)
    assert [trial.state for trial in mine.trials()] == ["complete"] * 2


@pytest.mark.parametrize("elsewhere", ["another machine of the same name", "another container", "nowhere"])
def test_only_where_its_number_was_given_a_process_that_is_not_there_is_taken_for_dead(
    here: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    """The other worker lives, and has a number that nobody has here."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(live_processes, "me", lambda: f"{live_processes._numbering()} {ended.pid}")
    monkeypatch.setattr(optuna_study, "_NEW_S", 0)
    begun: list[tuple[str, int]] = []

    def work(whose: str) -> None:
        def objective(ask: optuna_study.Ask) -> float:
            begun.append((whose, ask.place))
            if begun == [("theirs", 0)]:
                with monkeypatch.context() as we, suppress(StopIteration):
                    for name, place in places.items():
                        we.setattr(live_processes, name, place)
                    we.setattr(optuna_study.time, "sleep", stop)
                    work("ours")
            return ask.rate("x", 0.01, 1.0)

        one = optuna_study.Study("twins", 1, 5, 0)
        one.queue([], 2)
        one.work(objective, lambda _trial: None)

    def stop(_seconds: float) -> None:
        raise StopIteration  # we wait for the other worker

    places = {"_BOOT": live_processes._BOOT, "_NUMBERS": live_processes._NUMBERS}
    if elsewhere == "another machine of the same name":
        (here / "boot").write_text("f4d1e5d0-0000-4000-8000-000000000000\n")
        monkeypatch.setattr(live_processes, "_BOOT", here / "boot")
    elif elsewhere == "another container":
        (here / "numbers").symlink_to("pid:[1]")
        monkeypatch.setattr(live_processes, "_NUMBERS", here / "numbers")
    work("theirs")
    again = [("ours", 0)] if elsewhere == "nowhere" else []
    assert sorted(begun) == sorted([("theirs", 0), ("ours", 1), *again])


def test_a_hopeless_trial_is_given_up(here: Path) -> None:
    def objective(ask: optuna_study.Ask) -> float:
        x = ask.rate("x", 0.01, 1.0)
        for step in range(2, 5):
            ask.report(step, 1 / (step + 1) if ask.place < 3 else 2.0)
        return x

    mine = optuna_study.Study("hopeless", 1, 2, 0)
    mine.queue([], 4)
    mine.work(objective, lambda _trial: None)
    *others, last = mine.trials()
    assert [trial.state for trial in others] == ["complete"] * 3
    assert (last.state, len(last.curve), last.loss) == ("pruned", 1, 2.0)


def test_a_worker_that_was_taken_for_dead_goes_on_and_its_place_is_done_once(here: Path) -> None:
    begun = []

    def objective(ask: optuna_study.Ask) -> float:
        begun.append(ask.place)
        if begun == [0]:
            other = optuna.load_study(study_name="silent", storage=optuna_storage.address())
            (running,) = other.get_trials(states=(TrialState.RUNNING,))
            other.tell(running.number, state=TrialState.FAIL)
            RetryHeartbeatStaleTrialCallback()(other, running)
        ask.report(0, 1.0)
        return ask.rate("x", 0.01, 1.0)

    mine, ended = optuna_study.Study("silent", 1, 5, 0), []
    mine.queue([], 2)
    mine.work(objective, lambda trial: ended.append(trial.place))
    assert sorted(ended) == [0, 1]
    assert sorted(begun) == [0, 0, 1]
    assert [trial.state for trial in mine.trials()] == ["complete"] * 2


def test_a_database_that_is_lost_later_is_named_too(here: Path) -> None:
    mine = optuna_study.Study("lost", 1, 5, 0)
    mine.queue([], 4)
    mine.work(lambda ask: ask.rate("x", 0.01, 1.0), lambda _trial: None)
    assert mine.importances() == {"x": 1.0}
    paths.STUDIES.write_bytes(b"not a database any more")
    for asked in (mine.trials, mine.importances):
        with pytest.raises(UnreachableError, match=r"TUNE_STORAGE: sqlite:///.tune/studies.db does not answer"):
            asked()


def test_a_database_that_does_not_answer_is_named_without_its_password(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_STORAGE", "postgresql+psycopg2://me:secret@127.0.0.1:1/studies")
    with pytest.raises(UnreachableError, match=r"TUNE_STORAGE: .*does not answer") as caught:
        optuna_study.Study("any", 1, 5, 0)
    assert "secret" not in str(caught.value)
    assert r"\n" not in str(caught.value)


def test_tables_that_another_machine_made_meanwhile_are_no_fault(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In PostgreSQL's words: it refuses a table that was not there a moment ago, and a row of its catalogue."""
    really, words = optuna_storage.RDBStorage, ['relation "studies" already exists', 'violates unique constraint "pg_type"']

    def too_late(*told: Any, **named: Any) -> Any:
        if words:
            error = ProgrammingError if len(words) == 2 else IntegrityError
            raise error("CREATE TABLE studies", {}, Exception(words.pop(0)))
        return really(*told, **named)

    monkeypatch.setattr(optuna_storage, "RDBStorage", too_late)
    study = optuna_study.Study("one", 7, after_trials=3, after_steps=1)
    study.queue([], 2)
    assert [trial.state for trial in study.trials()] == ["waiting", "waiting"]
    words[:] = ["permission denied for schema public"] * 100
    with pytest.raises(UnreachableError, match="permission denied"):
        optuna_study.Study("one", 7, after_trials=3, after_steps=1)
