"""`kill -9` of whoever is at work: the stage's process, DVC, both, the flow."""

from __future__ import annotations

import psutil

from bench.torture.round import FLOW, REPRO, Missed, Round


def stage_killed(this: Round) -> None:
    """The stage's process alone; DVC is there to say so."""
    dvc = this.start(*REPRO)
    stage = this.wait_for_stage(dvc)
    this.victim = "stage"
    this.strike([stage], this.seconds())
    if dvc.wait() == 0:
        raise Missed


def dvc_killed(this: Round) -> None:
    """DVC alone: the stage's process is nobody's now, and goes on while the next run begins."""
    dvc = this.start(*REPRO)
    this.wait_for_stage(dvc)
    this.victim = "dvc"
    this.strike([psutil.Process(dvc.pid)], this.seconds())
    dvc.wait()


def both_killed(this: Round) -> None:
    """DVC and the stage, as when the machine stops."""
    dvc = this.start(*REPRO)
    stage = this.wait_for_stage(dvc)
    this.victim = "dvc and stage"
    this.strike([psutil.Process(dvc.pid), stage], this.seconds())
    dvc.wait()


def flow_killed(this: Round) -> None:
    """The flow alone: what it started has to go by itself, and the next flow does not wait for it."""
    flow = this.start(*FLOW)
    this.wait_for_stage(flow)
    this.victim, this.again = "flow", FLOW
    this.strike([psutil.Process(flow.pid)], this.seconds())
    flow.wait()
