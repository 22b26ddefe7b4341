"""Two at a time in one checkout: people who type, and flows."""

from __future__ import annotations

import contextlib
import time

import psutil

from bench.torture.project import spent
from bench.torture.round import FLOW, PYTHON, REPRO, Round, command_of, tracebacks, words

_BEGUN_S = 1.0  # of a processor: modules are read


def two_people(this: Round) -> None:
    """Somebody runs what is stale, and a second one the same, or one stage of it by hand."""
    by_hand = (*PYTHON, "pipeline", *command_of(this.stage).split())
    second = this.chance.choice([REPRO, by_hand])
    one = this.start(*REPRO)
    this.moment_of(this.wait_for_stage(one))
    this.victim = "dvc and dvc" if second == REPRO else "dvc and a stage by hand"
    two = this.start(*second)
    with contextlib.suppress(psutil.Error):
        while spent(psutil.Process(two.pid)) < _BEGUN_S and two.poll() is None:
            time.sleep(0.01)
    this.faults = int(one.poll() is None)  # else they were one after the other
    this.ended(one)
    this.ended(two)
    this.unclear += tracebacks(this)


def two_flows(this: Round) -> None:
    """Two flows at once, of which one works and the other says that it does not."""
    this.victim, this.again, this.faults = "flow and flow", FLOW, 1
    one = this.start(*FLOW)
    time.sleep(this.chance.uniform(0, 3))
    two = this.start(*FLOW)
    statuses = this.ended(one), this.ended(two)
    if 0 not in statuses:
        this.unclear.append(f"the two ended with {statuses}")
    if "another flow is at work" not in words(this):
        this.unclear.append("neither said that another is at work")
    this.unclear += tracebacks(this)
