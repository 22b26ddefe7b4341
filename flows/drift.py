"""The flow `drift`: a look at the newest patients, once a week. Nothing is ever trained because of it.

Where they are unlike those of training the flow's state is called Drift, and an event `pipeline.drift.alarm` says of what and
by how much: both are what an automation can begin with (docs/drift.md).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed, Failed

from flows import dvc_stages
from flows.child_process import ending_with_flow
from flows.retries import service_task
from flows.training import reason

EVENT = "pipeline.drift.alarm"
STATE = "Drift"
_ALARM, _FINE = 3, 0  # exit statuses of `python -m pipeline drift`


@service_task("look at new patients")
def look_at_patients(delivery: bool) -> dict[str, Any]:
    """Take a look at those whom `predict` scored, or at those of a delivery, and show what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "look.json"
        options = ["--delivery"] if delivery else []
        dvc_stages.run_pipeline("drift", *options, "--output", str(file), say=get_run_logger().info, fine=(_FINE, _ALARM))
        seen: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    show(seen)
    return seen


@flow(name="drift")
def drift() -> State[str]:
    """Say whether the newest patients that were scored look like those of training."""
    with ending_with_flow():
        looked = look_at_patients(delivery=False, return_state=True)
    if not looked.is_completed():
        return Failed(message=reason(looked))
    seen: dict[str, Any] = looked.result()
    return Completed(name=STATE if seen["alarm"] else None, message=seen["words"])


def show(seen: dict[str, Any]) -> None:
    """Put a look into Prefect's pages; of an alarm, tell the server too."""
    create_markdown_artifact(
        markdown=make_page(seen), key=f"drift-{seen['of']}", description=f"{seen['of']} patients: {seen['words']}"
    )
    if seen["alarm"]:
        resource = {"prefect.resource.id": f"pipeline.drift.{seen['of']}", "prefect.resource.name": f"{seen['of']} patients"}
        emit_event(
            event=EVENT, resource=resource, payload={key: seen[key] for key in ("words", "p", "level", "model", "views")}
        )


def make_page(seen: dict[str, Any]) -> str:
    """A look in Markdown."""
    rows = [
        f"| {name} | {view['times']:.2f} | {view['p_value']:.4f} | {view['p_of_all']:.4f} |"
        for name, view in seen["views"].items()
    ]
    table = ["| seen by | distance, 1 by chance | p alone | p among all |\n|---|---|---|---|", *rows] if rows else []
    mix = [f"| {name} | {known:.0%} | {new:.0%} |" for name, (known, new) in seen["mix"].items()]
    mixes = (
        [f"Mix of classes, which is held equal:\n\n| {seen['within']} | training | newest |\n|---|---|---|", *mix]
        if mix
        else []
    )
    counts = (
        []
        if seen["counts"]
        else ["It does not count: a look does when it is due (drift.looks_per_year), and with patients enough."]
    )
    heading = "The newest patients look unlike those of training" if seen["alarm"] else "New patients and those of training"
    parts = [f"# {heading}", f"{seen['words']}.", f"Held to the cohort of {seen['model']}.", *counts]
    return "\n\n".join([*parts, "\n".join(table), "\n".join(mixes)]).rstrip() + "\n"
