"""Two at a time in one checkout: people who type, and flows."""

from __future__ import annotations

import time

from bench.torture.round import FLOW, PYTHON, REPRO, Round, command_of, tracebacks, words


def two_people(this: Round) -> None:
    """Somebody runs what is stale, and a second one the same, or one stage of it by hand."""
    by_hand = (*PYTHON, "pipeline", *command_of(this.stage).split())
    second = this.chance.choice([REPRO, by_hand])
    one = this.start(*REPRO)
    this.moment_of(this.wait_for_stage(one))
    this.faults, this.victim = 1, "dvc and dvc" if second == REPRO else "dvc and a stage by hand"
    two = this.start(*second)
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
