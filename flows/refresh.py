"""The flow `refresh`: has the source something new? If not, it ends soon; if so, it is taken in and everything follows."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows import dvc_stages
from flows.retries import service_task
from flows.training import reason, training

_NEW, _SAME = 3, 0  # exit statuses of `python -m pipeline source`


@service_task("look at the source")
def look() -> bool:
    """Whether the source differs from what was last ingested."""
    status, _ = dvc_stages.pipeline("source", "--take", say=get_run_logger().info, fine=(_NEW, _SAME))
    return status == _NEW


@service_task("ingest anew")
def ingest_anew() -> None:
    """`ingest`, although DVC sees no change: it cannot look into the source."""
    dvc_stages.run_stage("ingest", force=True, say=get_run_logger().info)


@flow(name="refresh")
def refresh() -> State[str]:
    """Ask the source; when it has something new, ingest it and run `training`."""
    try:
        with dvc_stages.alone(), dvc_stages.shut_at_the_end():
            return _refresh()
    except dvc_stages.BusyError as error:
        return Cancelled(message=str(error))


def _refresh() -> State[str]:
    looked = look(return_state=True)
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
