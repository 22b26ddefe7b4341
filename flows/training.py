"""The flow `training`: every stage of the DAG as a task, in DVC's order, as parallel as the hardware allows."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import ROOT, cache_check, dag, dvc_stages, remote_training, training_slots
from flows.child_process import ending_with_flow
from flows.errors import BusyError, FlowError
from flows.flow_lock import only_flow
from flows.result_artifacts import artifact_key, publish_results
from flows.retries import service_task

_WRAPPING = re.compile(r"(Task|Flow) run encountered an exception:? *|\b\w+Error: ")
ASKS_THE_SOURCE = "delivery"
TRAIN_NETWORKS = ("train", "audit_networks")  # stages of which each needs a training slot
_EPOCH = re.compile(r"epoch +(\d+)/(\d+)")


class Count:
    """How many of a flow's stages are done, for whoever watches; its tasks count together."""

    def __init__(self, total: int) -> None:
        """Nothing is done of `total`."""
        self._numbers, self._total = itertools.count(1), total

    def up(self) -> str:
        """One more: `5 of 21`."""
        return f"{next(self._numbers)} of {self._total}"


@service_task("{title}")
def run_stage(
    title: str, stage: dag.Stage, force: bool, slots: training_slots.Slots, stale: bool, deployment: str | None, finished: Count
) -> State[dvc_stages.StageOutcome]:
    """Bring one stage up to date, here or by `deployment`, if it is `stale`; the state's name says what became of it."""
    say = get_run_logger().info
    environment = {"FLOW_RUN": str(flow_run.id)}  # a tag of MLflow's runs
    if not stale:
        done = dvc_stages.StageOutcome(stage.name, "unchanged", 0.0)
    elif stage.kind == "train" and deployment:
        done = remote_training.train(stage, deployment, force, str(flow_run.id), say)
    elif stage.kind in TRAIN_NETWORKS:
        with slots.take() as slot_variables:
            done = dvc_stages.run_stage(
                stage.name, force=force, say=_with_progress(say, title), environment={**slot_variables, **environment}
            )
    else:
        done = dvc_stages.run_stage(stage.name, force=force, say=say, environment=environment)
    say("stage %s: %s: %s, %.0f s", finished.up(), title, done.state, done.seconds)
    return Completed(name=done.state.capitalize(), message=f"{done.seconds:.0f} s", data=done)


@task(name="push what trainings need", cache_policy=NO_CACHE)
def push(stages: Sequence[str]) -> None:
    """Push the outputs of `stages` to the DVC remote, for workers to take."""
    dvc_stages.run_dvc("push", *stages, say=get_run_logger().info)


@service_task("register what was there")
def register_again(subtypes: Sequence[str]) -> None:
    """Make sure that MLflow has the models whose stage `register` had nothing to do; no subtypes: all.

    DVC knows what was registered once, not what the MLflow of this moment holds: a fresh clone, or another address, has none.
    """
    for chosen in [[name] for name in subtypes] or [[]]:
        dvc_stages.run_pipeline("register", *chosen, say=get_run_logger().info)


@service_task("register calls that were there")
def register_calls_again() -> None:
    """The same of the models that give one answer of all classes."""
    dvc_stages.run_pipeline("register_call", say=get_run_logger().info)


@flow(name="training", flow_run_name=lambda: _run_name(), task_runner=cast(Any, ThreadPoolTaskRunner()))
def training(
    subtypes: list[str] | None = None, folds: list[int] | None = None, force: bool = False, deployment: str | None = None
) -> State[str]:
    """Bring everything up to date, as `dvc repro` does; one subtype's failure does not stop the others.

    Args:
        subtypes: train and judge these only; none given: all of params.yaml.
        folds: train these folds only; none given: params.yaml's folds.
        force: run the stages although nothing changed, and trainings from their first epoch.
        deployment: hand trainings to this deployment of `train-one`, on other machines; none given: train here.
    """
    try:
        with only_flow(), ending_with_flow():
            return _train(subtypes, folds, force, deployment)
    except BusyError as error:
        return Cancelled(message=str(error))


def _train(subtypes: list[str] | None, folds: list[int] | None, force: bool, deployment: str | None) -> State[str]:
    logger = get_run_logger()
    try:
        every = dag.read_stages()
        damaged = _remove_damaged(every)
        stages = dag.choose(every, subtypes, folds, outputs_are_there)
        slots = training_slots.find_slots()
        if deployment:
            remote_training.require_committed_code(every)
            if not remote_training.shared_mlflow():
                logger.info("MLFLOW_TRACKING_URI names no server: the workers write to their own, `register` to this machine's")
        anew = {stage.name for stage in stages} if force else damaged
        stale = anew if force else _find_stale(every) | damaged
    except (FlowError, ValueError) as error:
        return Failed(message=str(error))
    if left_out := [stage.title for stage in every if stage not in stages]:
        logger.info("left out: %s", ", ".join(left_out))
    logger.info("%d stages; trainings at once: %d", len(stages), slots.at_once)
    for stage in stages:
        if stage.kind == "train" and stage.name in anew:
            dvc_stages.forget_training(stage)
    finished = Count(len(stages))
    futures: dict[str, PrefectFuture[State[dvc_stages.StageOutcome]]] = {}
    pushed: dict[tuple[str, ...], PrefectFuture[None]] = {}
    for stage in stages:
        upstream: list[PrefectFuture[Any]] = [futures[name] for name in stage.after if name in futures]
        if deployment and stage.kind == "train" and stage.name in stale:
            if stage.after not in pushed:
                pushed[stage.after] = push.submit(stage.after, wait_for=upstream, return_state=False)
            upstream = [pushed[stage.after]]
        futures[stage.name] = run_stage.submit(
            stage.title,
            stage,
            stage.name in anew,
            slots,
            stage.name in stale,
            deployment,
            finished,
            wait_for=upstream,
            return_state=False,
        )
    failed, waited, completed = [], [], []
    for stage in stages:
        futures[stage.name].wait()
        state = futures[stage.name].state
        if _has_failed(state):
            failed.append(reason(state))
        elif state.is_completed():
            completed.append(stage)
        else:
            waited.append(stage.title)
    failed += [reason(future.state) for future in pushed.values() if _has_failed(future.state)]
    registered = [stage for stage in completed if stage.kind == "register"]
    if again := [stage.subtype for stage in registered if futures[stage.name].state.name != "Ran"]:
        everything = len(registered) == sum(stage.kind == "register" for stage in every)  # MLflow's import takes seconds: once
        state = register_again([] if everything else again, return_state=True)
        if not state.is_completed():
            failed.append(reason(state))
    if any(stage.kind == "register_call" and futures[stage.name].state.name != "Ran" for stage in completed):
        state = register_calls_again(return_state=True)
        if not state.is_completed():
            failed.append(reason(state))
    publish_results(completed)
    if failed:
        rest = f"; not run because of that: {', '.join(waited)}" if waited else ""
        return Failed(message=f"{len(failed)} of {len(stages)} stages failed: {' | '.join(failed)}{rest}")
    counts = [str(futures[stage.name].state.name).lower() for stage in stages]
    summary = ", ".join(f"{counts.count(name)} {name}" for name in ("ran", "restored", "unchanged") if name in counts)
    return Completed(message=f"{len(stages)} stages: {summary}")


def _find_stale(every: Sequence[dag.Stage]) -> set[str]:
    """The stages that are not up to date, once the source has been asked, where DVC has it asked each time."""
    changed = dvc_stages.find_changed_stages()
    if ASKS_THE_SOURCE in changed:
        dvc_stages.run_stage(ASKS_THE_SOURCE, say=get_run_logger().info)
        changed = {name: why for name, why in dvc_stages.find_changed_stages().items() if name != ASKS_THE_SOURCE}
    return dag.find_stale(changed, every)


def _remove_damaged(every: Sequence[dag.Stage]) -> set[str]:
    """The stages to run anew, since what they made, or what that was made of, was edited in place; looked at as root alone.

    Nobody else can, unless they make DVC's read-only files writable; `python -m flows check` is for those.
    """
    if os.geteuid() != 0 or (damage := cache_check.remove_damaged()) is None:
        return set()
    get_run_logger().warning("%s; they and what was made of them are made again", damage)
    return dag.find_stale(dict.fromkeys(damage.stages), every)


def _has_failed(state: State[Any]) -> bool:
    """Whether a task ran and did not succeed; one that waited for such a task did not run."""
    return state.is_failed() or state.is_crashed()


def reason(state: State[Any]) -> str:
    """Why a task failed, in its own words, without what Prefect puts before them here and on another machine."""
    return _WRAPPING.sub("", str(state.message))


def outputs_are_there(stage: dag.Stage) -> bool:
    """Whether a stage's outputs are on disk (`register` has none)."""
    return all((ROOT / out).exists() for out in stage.outs)


def _with_progress(say: Callable[..., None], title: str) -> Callable[[str], None]:
    """A `say` that also moves a progress bar in Prefect's pages along with the epochs."""
    bar = create_progress_artifact(progress=0.0, key=artifact_key(title), description=f"{title}: epochs")
    artifact = cast(UUID, bar)  # in a task without `async` it is made at once

    def both(line: str) -> None:
        say("%s", line)
        if found := _EPOCH.match(line):
            done, most = int(found[1]), int(found[2])
            update_progress_artifact(artifact_id=artifact, progress=100.0 * done / most)
        elif line.startswith("best epoch") or "didn't change" in line or "is cached" in line:
            update_progress_artifact(artifact_id=artifact, progress=100.0)

    return both


def _run_name() -> str:
    chosen = flow_run.get_parameters()
    parts = [*(chosen.get("subtypes") or ["all"]), *(f"fold {k}" for k in chosen.get("folds") or [])]
    return " ".join(["training", *parts, *(["forced"] if chosen.get("force") else [])])
