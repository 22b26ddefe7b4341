"""One round: a project about to run some stages again, a fault, a plain run afterwards, and the judgement.

A kind of fault is a function that takes the round, starts its victim and hurts it. It raises `Missed` where the victim was
through before the fault came; where it counts no fault, because nothing met the shortage that was there, the round is missed
too, unless something is lost. Such a round counts for nothing. All chance is the round's own, so that its number brings it
back.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.torture import judge
from bench.torture.project import REGISTER, VARIABLES, Project, spent

PYTHON = (sys.executable, "-m")
FLOW = (*PYTHON, "flows", "training")
REPRO = ("dvc", "repro")
HANGS_S = 300.0


class Missed(Exception):  # noqa: N818
    """The victim was through before the fault came."""


@dataclass
class Round:
    """What a kind of fault has in hand."""

    project: Project
    chance: random.Random
    stage: str
    undone: set[str]
    after: contextlib.ExitStack  # what is to be done when all is over
    victim: str = ""
    moments: list[str] = field(default_factory=list)
    faults: int = 0
    variables: dict[str, str] = field(default_factory=lambda: dict(VARIABLES))
    again: tuple[str, ...] = REPRO  # the plain run afterwards
    database: str = ""  # where MLflow's records lie, the project's own file if empty
    unclear: list[str] = field(default_factory=list)  # what a victim said that nobody can use

    @property
    def folder(self) -> Path:
        """Where the project lies."""
        return self.project.folder

    def start(self, *command: str, **more: str) -> subprocess.Popen[str]:
        """Start a victim, the leader of a group of its own; what it says goes to a file beside the project."""
        with (self.folder.parent / "said").open("a") as said:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.variables, **more, judge.MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def ended(self, process: subprocess.Popen[str]) -> int:
        """Its exit status, once it has ended; what hangs is killed, and helps nobody."""
        try:
            return process.wait(HANGS_S)
        except subprocess.TimeoutExpired:
            self.unclear.append(f"a hang: nothing came of it within {HANGS_S:.0f} s")
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def wait_for_stage(self, parent: subprocess.Popen[str], lives_on: bool = False) -> psutil.Process:
        """The process of the stage, as soon as it is there; a parent that does not come so far hangs, unless it `lives_on`.

        Raises:
            Missed: the parent ended first, or, as a worker does, lives on without it.
        """
        words = f"-m pipeline {command_of(self.stage)}"
        gives_up = time.monotonic() + HANGS_S
        while parent.poll() is None and time.monotonic() < gives_up:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(parent.pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        if " ".join(child.cmdline()).endswith(words):
                            return child
            time.sleep(0.01)
        if parent.poll() is None and not lives_on:
            self.unclear.append(f"a hang: the stage had not begun after {HANGS_S:.0f} s")
        raise Missed

    def undo(self, stages: set[str]) -> None:
        """Have more stages run again."""
        self.project.undo(stages - self.undone)
        self.undone |= stages

    def moment_of(self, stage: psutil.Process, name: str = "") -> None:
        """Return at a moment that chance names, from the first of the stage, or of another by its name, to just after its last.

        Raises:
            Missed: it was through before.
        """
        share = self.chance.uniform(0.0, 1.05)
        self.moments.append(f"{share:.0%}")
        with contextlib.suppress(psutil.Error):
            while spent(stage) < share * self.project.seconds[name or self.stage]:
                if stage.status() == psutil.STATUS_ZOMBIE:
                    break
                time.sleep(0.005)
            else:
                return
        raise Missed

    def strike(self, *processes: psutil.Process) -> None:
        """`kill -9`, of all at once."""
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
                self.faults += 1


def command_of(stage: str) -> str:
    """How `python -m pipeline` is called for a stage of dvc.yaml."""
    name, _, item = stage.partition("@")
    match name, item.split("-"):
        case "train", [subtype, candidate, fold]:
            return f"train {subtype} {fold} --candidate {candidate}"
        case "embed", [encoder]:
            return f"embed {encoder}"
        case (("call" | "register_call"), [candidate]):
            return f"{name} --candidate {candidate}"
        case _, [subtype, candidate]:
            return f"{name} {subtype} --candidate {candidate}"
        case _, [""]:
            return name
        case _, [subtype]:
            return f"{name} {subtype}"
    raise ValueError(stage)


def play(
    project: Project, expected: judge.State, kind: Callable[[Round], None], stage: str, anew: bool, chance: random.Random
) -> Mapping[str, Any]:
    """Play one round; what became of it. `outcome` is survived, lost or missed, `why` what was found.

    With `anew` MLflow's records are made again, as where the round has a server of its own.
    """
    began = time.monotonic()
    (project.folder.parent / "said").write_text("")
    project.restore()
    some = [name for name in project.seconds if chance.random() < 0.03]
    undone = {stage, *some, *(REGISTER if anew or (stage in REGISTER and chance.random() < 0.7) else ())}
    outcome, why = "survived", list[str]()
    try:
        with contextlib.ExitStack() as after:
            this = Round(project, chance, stage, undone, after)
            after.callback(end_all, project.folder)
            project.undo(undone)
            kind(this)
            hurt, before = time.monotonic(), len(words(this))
            status, said = run_again(this)
            why = [*this.unclear, *([f"the next run ended with {status}: {said}"] if status else [])]
            why += [f"the next run: {line}" for line in tracebacks(this, before)]
            why += judge.faults(project.folder, expected, this.database)
            outcome = "lost" if why else "survived" if this.faults else "missed"
            again = time.monotonic() - hurt
    except Missed:
        why, again = this.unclear, 0.0
        outcome = "lost" if why else "missed"
    return {
        "stage": stage,
        "victim": this.victim,
        "faults": this.faults,
        "moments": this.moments,
        "outcome": outcome,
        "why": why[:12],
        "again_s": round(again, 1),
        "seconds": round(time.monotonic() - began, 1),
    }


def run_again(this: Round) -> tuple[int | str, str]:
    """The plain run afterwards: its exit status, or "a hang", and its last lines.

    It comes later than it does here, where there is no waiting: what DVC left half-copied is an hour old.
    """
    for left in this.folder.rglob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            os.utime(left, (time.time() - 3600,) * 2)
    done = this.start(*this.again)
    try:
        status: int | str = done.wait(HANGS_S)
    except subprocess.TimeoutExpired:
        status = "a hang"
    return status, words(this)[-1500:] if status else ""


def require_a_fault(this: Round) -> None:
    """Refuse a round of several tries none of which came in time.

    Raises:
        Missed: the victim was through before each.
    """
    if not this.faults:
        raise Missed


def words(this: Round) -> str:
    """All that was said in the round."""
    return (this.folder.parent / "said").read_text(errors="replace")


def tracebacks(this: Round, after: int = 0) -> list[str]:
    """What ended in a traceback of ours, by its last line, in all that was said or from a place on: it helps nobody."""
    ours = re.findall(r"^Traceback \(most recent call last\):\n(?:.*\n)*?(^\S.*)$", words(this)[after:], re.MULTILINE)
    return [f"a traceback: {line[:300]}" for line in dict.fromkeys(ours)]


def crashes(this: Round) -> list[str]:
    """Stages that a signal ended, as DVC tells it: a library that falls over says nothing of use either."""
    return [f"a crash: {line}" for line in dict.fromkeys(re.findall(r"failed to run: .*exited with -\d+", words(this)))]


def end_all(folder: Path) -> None:
    """Whatever still works in the project, or that it started elsewhere."""
    for process in judge.at_work(folder):
        with contextlib.suppress(psutil.Error):
            process.kill()
