"""The trials of a search: what one of them costs and finds, what is said of it, and its run in MLflow.

A trial is a network of the space, trained on all but one of the folds that the search sees and judged on that one, for as many
of them as `tune.folds_per_trial` says.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from pipeline.common import console
from pipeline.common.errors import ModelError, TrackingError
from pipeline.folds import dealing
from pipeline.networks import recipe
from pipeline.registry import mlflow_server
from pipeline.search import optuna_study, report, space, trial_runs
from pipeline.search.optuna_study import Ask, Trial
from pipeline.search.search import Search

ENDED = ("complete", "pruned")


def objective(search: Search, ask: Ask) -> float:
    """Mean validation loss over the folds of a trial."""
    from pipeline.search import trial_training

    config, tune = search.config, search.config.tune
    network = space.propose(ask, config)
    ask.note(multiplications=space.multiplications(network, config))
    of_trial = config.model_copy(update={"train": config.train.model_copy(update={"max_epochs": tune.max_epochs})})
    searched = search.folds
    losses: list[float] = []
    accuracies: list[float] = []
    for number, judged in enumerate(searched[: tune.folds_per_trial]):

        def on_epoch(row: Mapping[str, float], number: int = number, best: list[float] = [float("inf")]) -> None:  # noqa: B006
            if row["epoch"] + 1 < config.train.min_epochs:  # whose network is never kept
                return
            best[0] = min(best[0], row["val_loss"])
            ask.report(number * tune.max_epochs + int(row["epoch"]), (sum(losses) + best[0]) / (len(losses) + 1))

        try:
            with console.hushed():
                tried = trial_training.train(
                    of_trial,
                    search.data,
                    network,
                    dealing.within(search.data.split, searched, judged),
                    recipe.seed(config.seed, f"{search.subtype} trial", judged),
                    partial(search.checkpoint, f"trial-{ask.place}-{judged}"),
                    on_epoch,
                )
        except ModelError as error:  # the loss is no number any more: a rate too high for this network
            ask.note(given_up=str(error))
            raise optuna_study.Hopeless from None
        losses.append(tried.loss)
        accuracies.append(tried.accuracy)
    ask.note(val_accuracy=sum(accuracies) / len(accuracies))
    return sum(losses) / len(losses)


def on_end(search: Search, began: float, trial: Trial) -> None:
    """Tell of a trial that ended: a line, a table now and then, and its run in MLflow."""
    search.forget_checkpoints(f"trial-{trial.place}-*")
    trials = search.study.trials()
    ended = [other for other in trials if other.state in ENDED]
    best = min((other for other in trials if other.state == "complete"), key=lambda other: other.loss, default=None)
    how = "ended" if trial.state == "complete" else f"given up after {trial.epochs} epochs"
    at_once = sum(other.state == "running" for other in trials) + 1
    left_s = (len(trials) - len(ended)) * sum(other.seconds for other in ended) / len(ended) / at_once
    console.say(
        f"{len(ended)} of {len(trials)}: trial {trial.place} {how}, loss {trial.loss:.4f}, {trial.seconds:.0f} s: "
        f"{space.shown(search.network(trial))}{f'; best {best.loss:.4f} (trial {best.place})' if best else ''}"
    )
    if left_s and len(ended) % 5 == 0:
        console.say(f"{console.duration(time.monotonic() - began)} gone, about {console.duration(left_s)} left for the trials")
        report.show_best(ended, [search.network(other) for other in ended])
    log(search, [trial])


def log(search: Search, trials: Sequence[Trial]) -> None:
    """Record the trials in MLflow; where it does not answer now, the end of the search makes up for it."""
    try:
        with mlflow_server.answering():
            for trial in trials:
                network = search.network(trial)
                knobs = {
                    **space.entry(space.in_full(network, search.config)),
                    "search": search.study.name,
                }
                trial_runs.log_trial(search.client, search.run_id, search.study.name, trial, space.shown(network), knobs)
    except TrackingError as error:
        console.warn(str(error))
