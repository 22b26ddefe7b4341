"""Have the server call runs whose process died without a word (kill -9, power) crashed, which frees their concurrency slot.

Without this they stay Running, and a deployment that allows one run at a time never runs again. Our flows send a heartbeat
every 30 s (`flows.HEARTBEAT_S`; a worker reads its settings before this package, so infra/*.yaml say it too); three missed
ones are enough. Other flows of the same server keep Prefect's 180 s and are left alone.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

from flows import HEARTBEAT_S

NAME = "runs without a heartbeat have crashed"
_FLOWS = ["training", "refresh", "drift", "train-one"]
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")


def ensure_automation() -> None:
    """Put the automation that does so on the server, unless it is there."""
    asyncio.run(_ensure_automation())


async def _ensure_automation() -> None:
    wanted = Automation(
        name=NAME,
        description="A flow run's process died: let its concurrency slot go.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in _ENDS)},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": _FLOWS},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT_S),
        ),
        actions=[
            ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", force=False, message="no heartbeat: its process died")
        ],
    )
    try:
        await Automation.aread(name=NAME)
    except ValueError:  # Prefect's word for: there is none
        await wanted.acreate()
