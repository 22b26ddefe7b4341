"""Tasks that are tried again when a service was away. A broken rule or a failed training stays what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from flows.errors import UnreachableError

P = ParamSpec("P")
R = TypeVar("R")


def _did_not_answer(_task: Task[..., object], _run: TaskRun, state: State[object]) -> bool:
    return isinstance(state.result(raise_on_failure=False), UnreachableError)


def service_task(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function that may need a service a task with three more tries, after some 10, 20 and 40 s.

    `name` may hold the function's parameters: `{title}`.
    """
    return task(
        task_run_name=name,
        retries=3,
        retry_delay_seconds=exponential_backoff(backoff_factor=10),
        retry_jitter_factor=0.2,
        retry_condition_fn=_did_not_answer,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
