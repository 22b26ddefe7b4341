"""The flow `refresh`: has the source something new? If not, it ends soon; if so, it is taken in and everything follows.

Before a model learns from them, new patients are held against those of training: with these among them nobody could tell later.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows import dag, dvc_stages
from flows.child_process import ending_with_flow
from flows.drift import STATE, look_at_patients
from flows.errors import BusyError
from flows.flow_lock import only_flow
from flows.retries import service_task
from flows.training import reason, training

_LOOKED_AT = ("validate", "embed")
_NEW, _SAME = 3, 0  # exit statuses of `python -m pipeline source`


@service_task("look at the source")
def look_at_source() -> bool:
    """Ask whether the source differs from what was last ingested."""
    status, _ = dvc_stages.run_pipeline("source", "--take", say=get_run_logger().info, fine=(_NEW, _SAME))
    return status == _NEW


@service_task("ingest anew")
def ingest_anew() -> None:
    """Take in what the source has now; `ingest` writes down itself which delivery that is."""
    dvc_stages.run_stage("ingest", force=True, say=get_run_logger().info)


@service_task("look at the new images")
def prepare_look() -> None:
    """Bring up to date what a look needs, all of which the training needs too."""
    for stage in dag.read_stages():
        if stage.kind in _LOOKED_AT:
            dvc_stages.run_stage(stage.name, say=get_run_logger().info)


@flow(name="refresh")
def refresh() -> State[str]:
    """Ask the source; when it has something new, ingest it and run `training`."""
    try:
        with only_flow(), ending_with_flow():
            return _refresh()
    except BusyError as error:
        return Cancelled(message=str(error))


def _refresh() -> State[str]:
    looked = look_at_source(return_state=True)
    if not looked.is_completed():
        return Failed(message=reason(looked))
    if not looked.result():
        return Completed(message="the source has nothing new")
    ingested = ingest_anew(return_state=True)
    if not ingested.is_completed():
        return Failed(message=reason(ingested))
    drifted = _look_at_delivery()
    state = training(return_state=True)
    if not state.is_completed():
        return Failed(message=f"new data was ingested, then: {state.message}{drifted}")
    return Completed(name=STATE if drifted else None, message=f"new data: {state.message}{drifted}")


def _look_at_delivery() -> str:
    """What is to be said of the new patients if they are unlike those of training; what stops a look stops no training."""
    ready = prepare_look(return_state=True)
    looked = look_at_patients(delivery=True, return_state=True) if ready.is_completed() else ready
    if not looked.is_completed():
        get_run_logger().warning("new patients were not held against those of training: %s", reason(looked))
        return ""
    seen = looked.result()
    return f"; {seen['words']}" if seen and seen["alarm"] else ""
