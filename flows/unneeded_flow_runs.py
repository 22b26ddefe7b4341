"""Flow runs of Prefect that ended long ago: nothing that DVC or MLflow keeps needs them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from flows import local_servers

_PAGE = 200  # runs that Prefect's server gives at once
_SHOWN = 50


def report(days: int) -> Iterator[str]:
    """What may go, and the commands; of a server that is there already, none is started for this."""
    from prefect.settings import PREFECT_API_URL

    from pipeline.common.addresses import first_line, without_account

    address = PREFECT_API_URL.value()
    if not address:
        yield "Prefect: no server is named (PREFECT_API_URL), so none is asked; `python -m flows serve` runs one"
        return
    try:
        ended = list(_ended_before(datetime.now(UTC) - timedelta(days=days)))
    except Exception as error:  # whatever Prefect's client raises where a server is away or refuses
        yield f"Prefect: {without_account(address)} does not answer ({first_line(error, address)})"
        return
    yield f"Prefect: {len(ended)} flow runs ended more than {days} days ago; results are in none of them"
    yield from (f"    prefect --no-prompt flow-run delete {run}" for run in ended[:_SHOWN])
    if len(ended) > _SHOWN:
        by_itself = "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED=events,flow_runs"
        yield f"    ... and {len(ended) - _SHOWN} more; with {by_itself} the server deletes old ones by itself"


def _ended_before(time: datetime) -> Iterator[str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterEndTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import TERMINAL_STATES
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    ended = FlowRunFilter(
        end_time=FlowRunFilterEndTime.model_validate({"before_": time}),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES))),
    )
    with (
        temporary_settings(updates={PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": local_servers.ANSWER_S}, sync_client=True) as client,
    ):
        offset = 0
        while page := client.read_flow_runs(flow_run_filter=ended, limit=_PAGE, offset=offset):
            yield from (str(run.id) for run in page)
            offset += len(page)
