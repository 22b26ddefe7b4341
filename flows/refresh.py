"""The flow `refresh`: has the source something new? If not, it ends soon; if so, it is taken in and everything follows."""

from __future__ import annotations

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff

from flows import dag, door
from flows.training import training

_NEW, _SAME = 3, 0  # exit statuses of `python -m pipeline source`


@task(name="look at the source", retries=3, retry_delay_seconds=exponential_backoff(backoff_factor=10), cache_policy=NO_CACHE)
def look() -> bool:
    """Whether the source differs from what was last ingested."""
    status, lines = door.call(["python", "-m", "pipeline", "source", "--take"], get_run_logger().info)
    if status not in (_NEW, _SAME):
        raise door.StageError(lines[-1] if lines else f"python -m pipeline source ended with status {status}")
    return status == _NEW


@task(name="ingest anew", cache_policy=NO_CACHE)
def ingest_anew() -> None:
    """`ingest`, although DVC sees no change: it cannot look into the source."""
    door.run_stage("ingest", force=True, say=get_run_logger().info)


@flow(name="refresh")
def refresh() -> State[str]:
    """Ask the source; when it has something new, ingest it and run `training`."""
    with door.shut_at_the_end():
        if not look():
            return Completed(message="the source has nothing new")
        if "ingest" in {stage.name for stage in dag.stages()}:
            ingest_anew()
        state = training(return_state=True)
        if not state.is_completed():
            return Failed(message=f"new data was ingested, then: {state.message}")
        return Completed(message=f"new data: {state.message}")
