"""Search a better network for a subtype than the published one, beside the DAG: reports/tune/<subtype>/.

The search sees the training patients of one outer fold alone, and judges by one of their folds what the others have trained.
Only when a winner is named, by several seeds on those same patients, are the outer fold's test patients looked at, by the
winner and by the published network alike. With the winner it goes into params.yaml whom the search saw, and evaluate leaves
these patients out of its figures. Killed at any moment, the same command goes on.
"""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

from pipeline.common import console, files, params_file, paths
from pipeline.common.config import Config
from pipeline.common.errors import TrackingError
from pipeline.folds import split_table
from pipeline.names import patient_names
from pipeline.registry import mlflow_server
from pipeline.search import finalists, optuna_storage, outcome, space, trial_objective, trial_runs
from pipeline.search.optuna_study import Trial
from pipeline.search.outcome import Result
from pipeline.search.setup import Search, begin

_INTERRUPTED = 130  # exit status after Ctrl-C
_SAMPLED = 200  # networks of the space, to know what the mean one costs


def run(config: Config, subtype: str, candidate: str, apply: bool, only_trials: bool) -> None:
    """Search, or go on with it; with `apply` put the winner into params.yaml, with `only_trials` stop when all trials ended.

    Raises:
        ConfigError: the `tune` section cannot be done with this split or this network.
        DataError, ModelError: names the file that is missing or does not hold what the others need.
        UnreachableError: MLflow or the study's database does not answer.
    """
    for place in (paths.SEARCHES, paths.tuned(subtype)):
        files.require_writable(place)
    search = begin(config, subtype, candidate)
    _say_plan(search)
    began = time.monotonic()
    try:
        search.study.work(partial(trial_objective.objective, search), partial(trial_objective.on_end, search, began))
        if only_trials:
            return
        ended = [trial for trial in search.study.trials() if trial.state in trial_objective.ENDED]
        known = outcome.was_shown(subtype, search.study.name)
        result = finalists.result(search, ended)
    except KeyboardInterrupt:
        console.warn("stopped; nothing is lost: the same command goes on")
        raise SystemExit(_INTERRUPTED) from None
    networks = [search.network(trial) for trial in ended]
    folder = outcome.write(result, ended, networks, search.study.importances())
    _log(search, ended, result, folder)
    search.forget_checkpoints()
    outcome.show(result)
    console.say(f"tune: {folder}/result.md, with pictures; MLflow: {mlflow_server.shown_address()}, experiment {subtype}")
    if apply:
        _apply(search, result, known)


def _say_plan(search: Search) -> None:
    """Say whom the search sees, and how long it may take."""
    from pipeline.search import trial_training

    config, data = search.config, search.data
    seen, controls = len(search.seen), int((search.seen["label"] == 0).sum())
    console.say(
        f"tune {search.subtype}: sees {controls} control + {seen - controls} {search.subtype} patients, of folds "
        f"{' '.join(map(str, search.folds))}; study {search.study.name} in {optuna_storage.shown_address()}"
    )
    if others := search.study.not_gone_on_with:
        console.say(
            f"begins anew: {', '.join(others)} had other settings, data or code (a former version's is other code), so losses "
            "are not comparable; what was found stays there and in MLflow"
        )
    if config.tune.patients == "all":
        console.warn(
            "tune.patients is all: the search sees the test patients too, and no figure of what it finds can be claimed"
        )
    waiting = sum(trial.state in ("waiting", "running") for trial in search.study.trials())
    if not waiting:
        console.say(f"all {config.tune.trials} trials have ended before")
        return
    roles = split_table.within(data.split, search.folds, search.folds[0])
    of_known = list(search.known.values())[-1]
    start_s, epoch_s = trial_training.seconds(config, data, of_known, roles)
    dice = space.Dice(random.Random(config.seed))
    costs = [space.multiplications(space.propose(dice, config), config) for _ in range(_SAMPLED)]
    relative = sum(costs) / len(costs) / space.multiplications(of_known, config)
    for_trials = waiting * config.tune.folds_per_trial * (start_s + config.tune.max_epochs * epoch_s * relative)
    trainings = (config.tune.finalists + len(search.known) + 1 + len(search.known)) * config.tune.seeds
    for_finals = trainings * (start_s + config.train.max_epochs * epoch_s)
    console.say(
        f"at most about {console.duration(for_trials)} for {waiting} trials of up to {config.tune.max_epochs} epochs, with one "
        f"worker ({epoch_s:.1f} s an epoch of the known network); then {console.duration(for_finals)} for {trainings} "
        "trainings of the best ones. Hopeless trials end early; Ctrl-C or a kill loses nothing: the same command goes on"
    )


def _log(search: Search, ended: list[Trial], result: Result, folder: Path) -> None:
    trial_objective.log(search, ended)
    try:
        with mlflow_server.answering():
            trial_runs.finish(search.client, search.run_id, outcome.markdown(result), outcome.metrics(result), folder)
    except TrackingError as error:
        console.warn(str(error))


def _apply(search: Search, result: Result, known: bool) -> None:
    """Put the winner into params.yaml, with the patients whom the search saw.

    Whose figures were `known` when it was decided to take the winner has been seen too: the outer fold's test patients.
    """
    config, subtype = search.config, search.subtype
    winner = next(finalist for finalist in result.finalists if finalist.name == result.winner)
    own = space.in_short(config.network_of(subtype, search.candidate).model_copy(update={"tuned_on": None}), config)
    if winner.network == own:
        console.say(f"apply: params.yaml holds the winner already ({result.winner}); nothing to change")
        return
    before, seen = config.network_of(subtype, search.candidate).tuned_on or [], set(search.seen["patient"])
    if known:
        split = search.data.split
        seen |= set(split.loc[split["fold"] == config.tune.fold, "patient"])
        console.warn(
            f"apply: the figures of fold {config.tune.fold} were known before the winner was taken; its patients join "
            "tuned_on, and no figure of theirs is claimed (with --apply from the start it is)"
        )
    patients = sorted(seen.union(patient_names.not_among(before, seen)))
    params_file.set_value(
        ["candidates", search.candidate, "networks", subtype], {**space.entry(winner.network), "tuned_on": patients}
    )
    console.say(
        f"apply: candidates.{search.candidate}.networks.{subtype} in params.yaml is now the network of {result.winner}, with "
        f"the {len(patients)} patients who were seen (tuned_on): no figure will be claimed of them. `dvc repro` trains "
        f"{subtype} alone"
    )
