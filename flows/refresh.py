"""The flow `refresh`: has the source something new? If not, it ends soon; if so, it is taken in and everything follows."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows import dvc_stages
from flows.child_process import ending_with_flow
from flows.errors import BusyError
from flows.flow_lock import only_flow
from flows.retries import service_task
from flows.training import reason, training

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
    state = training(return_state=True)
    if not state.is_completed():
        return Failed(message=f"new data was ingested, then: {state.message}")
    return Completed(message=f"new data: {state.message}")
