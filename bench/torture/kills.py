"""`kill -9` of whoever is at work: the stage's process, DVC, both, the flow; several times, before it is run to its end."""

from __future__ import annotations

import contextlib

import psutil

from bench.torture.round import FLOW, PYTHON, REPRO, Missed, Round, command_of, require_a_fault

_TIMES = 4


def stage_killed(this: Round) -> None:
    """The processes of several stages, as somebody runs them by hand; the later ones first, whose inputs are still there."""
    order = list(this.project.seconds)
    before = order[: order.index(this.stage)]
    others = this.chance.sample(before, min(3, len(before)))
    for name in [this.stage, *sorted(others, key=order.index, reverse=True)]:
        this.undo({name})
        for _ in range(_TIMES - 1):
            started = this.start(*PYTHON, "pipeline", *command_of(name).split())
            with contextlib.suppress(Missed):
                this.moment_of(stage := psutil.Process(started.pid), name)
                this.strike(stage)
            this.ended(started)
    this.victim = "stages"
    require_a_fault(this)


def stage_of_dvc_killed(this: Round) -> None:
    """The stage's process alone; DVC is there to say so."""
    this.victim = "stage of dvc"
    for _ in range(_TIMES // 2):
        dvc = this.start(*REPRO)
        with contextlib.suppress(Missed):
            stage = this.wait_for_stage(dvc)
            this.moment_of(stage)
            this.strike(stage)
        if this.ended(dvc) == 0:
            break
    require_a_fault(this)


def dvc_killed(this: Round) -> None:
    """DVC alone: the stage's process is nobody's now, and goes on while the next run begins."""
    this.victim = "dvc"
    dvc = this.start(*REPRO)
    this.moment_of(this.wait_for_stage(dvc))
    this.strike(psutil.Process(dvc.pid))
    this.ended(dvc)


def both_killed(this: Round) -> None:
    """DVC and the stage, as when the machine stops."""
    this.victim = "dvc and stage"
    for _ in range(_TIMES // 2):
        dvc = this.start(*REPRO)
        with contextlib.suppress(Missed):
            stage = this.wait_for_stage(dvc)
            this.moment_of(stage)
            this.strike(psutil.Process(dvc.pid), stage)
        if this.ended(dvc) == 0:
            break
    this.faults //= 2
    require_a_fault(this)


def flow_killed(this: Round) -> None:
    """The flow alone: what it started has to go by itself, and the next flow does not wait for it."""
    this.victim, this.again = "flow", FLOW
    flow = this.start(*FLOW)
    this.moment_of(this.wait_for_stage(flow))
    this.strike(psutil.Process(flow.pid))
    this.ended(flow)
