"""Search a better network for a subtype than the published one, beside the DAG: reports/tune/<subtype>/.

The search sees the training patients of one outer fold alone, and judges by one of their folds what the others have trained.
Only when a winner is named, by several seeds on those same patients, are the outer fold's test patients looked at, by the
winner and by the published network alike. With the winner it goes into params.yaml whom the search saw, and evaluate leaves
these patients out of its figures. Killed at any moment, the same command goes on.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import (
    console,
    learning,
    params_file,
    paths,
    published,
    search_report,
    search_runs,
    search_space,
    seeds,
    splits,
    study,
    tracking,
)
from pipeline.config import Config, Network
from pipeline.errors import ConfigError, ModelError, TrackingError
from pipeline.search_report import Finalist, Result
from pipeline.study import Ask, Study, Trial

_CODE = (*learning.CODE, "search_space", "trying")
_NOT_OF_A_TRIAL = {"trials", "finalists", "seeds"}  # a search goes on when these change
_ENDED = ("complete", "pruned")
_INTERRUPTED = 130  # exit status after Ctrl-C
_SAMPLED = 200  # networks of the space, to know what the mean one costs


@dataclass(frozen=True)
class Search:
    """One search: what it is about, and where it is kept."""

    config: Config
    data: Any  # trying.Data: TensorFlow is imported after everything that can fail
    study: Study
    known: dict[str, Network]  # the published network, and the one in params.yaml where it is another
    run_id: str

    @property
    def subtype(self) -> str:
        """Whose network is searched."""
        return str(self.data.subtype)

    def network(self, trial: Trial) -> Network:
        """The network of a trial."""
        return search_space.propose(search_space.Told(trial.point), self.config)


def run(config: Config, subtype: str, apply: bool, only_trials: bool) -> None:
    """Search, or go on with it; with `apply` put the winner into params.yaml, with `only_trials` stop when all trials ended.

    Raises:
        ConfigError: the `tune` section cannot be done with this split or this network.
        DataError, ModelError: names the file that is missing or does not hold what the others need.
        UnreachableError: MLflow or the study's database does not answer.
    """
    _require_possible(config)
    split, tables, cells = learning.inputs(config, subtype)
    known = _known(config, subtype)
    points = [_point(name, network, config) for name, network in known.items()]
    client = tracking.connect()
    name = _name(config, subtype)
    kept = Study(name, config.seed, config.tune.pruning.after_trials, config.tune.pruning.after_epochs)
    kept.queue(points, config.tune.trials)
    with kept.alone(), tracking.answering():  # two workers that begin together have one run
        run_id = search_runs.begin(client, subtype, name, _knobs(config))

    from pipeline import trying  # TensorFlow takes seconds and memory: after everything that can fail

    search = Search(config, trying.Data(subtype, split, tables, cells), kept, known, run_id)
    _say_plan(search)
    began = time.monotonic()
    try:
        kept.work(partial(_objective, search), partial(_ended, search, client, began))
        if only_trials:
            return
        with kept.alone("finals"):
            trials = kept.trials()
            result = _result(search, trials)
    except KeyboardInterrupt:
        console.warn("stopped; nothing is lost: the same command goes on")
        raise SystemExit(_INTERRUPTED) from None
    ended = [trial for trial in trials if trial.state in _ENDED]
    folder = search_report.write(result, ended, [search.network(trial) for trial in ended], kept.importances())
    _log(search, client, result, folder)
    _forget_checkpoints(search)
    search_report.show(result)
    console.say(f"tune: {folder}/result.md, with pictures; MLflow: {tracking.shown_address()}, experiment {subtype}")
    if apply:
        _apply(search, result)


def _require_possible(config: Config) -> None:
    """What `config` cannot check, because only a search needs it."""
    tune = config.tune
    if tune.fold >= config.split.n_folds:
        raise ConfigError(f"tune.fold: there is no fold {tune.fold}; allowed: 0 to {config.split.n_folds - 1} (split.n_folds)")
    searched = len(_searched(config))
    if searched < 2:
        raise ConfigError(f"split.n_folds: {config.split.n_folds} folds leave {searched} to search on; a search needs 4 folds")
    if tune.folds_per_trial > searched:
        raise ConfigError(
            f"tune.folds_per_trial: {tune.folds_per_trial} is more than the {searched} folds that are searched on"
        )
    if tune.max_epochs < config.train.min_epochs:
        raise ConfigError(f"tune.max_epochs: {tune.max_epochs} is below train.min_epochs ({config.train.min_epochs})")
    for px in tune.space.px:
        if config.pack.px % px:
            raise ConfigError(f"tune.space.px: {px} does not divide pack.px ({config.pack.px})")


def _searched(config: Config) -> list[int]:
    return splits.searched_folds(config.tune.fold, config.split.n_folds, everybody=config.tune.patients == "all")


def _known(config: Config, subtype: str) -> dict[str, Network]:
    own = search_space.in_short(config.train.models[subtype].model_copy(update={"tuned_on": None}), config)
    if subtype not in published.NETWORKS:
        return {"params.yaml": own}
    theirs = search_space.in_short(published.NETWORKS[subtype], config)
    return {"published": theirs} | ({} if theirs == own else {"params.yaml": own})


def _point(name: str, network: Network, config: Config) -> search_space.Point:
    try:
        return search_space.point(network, config)
    except ValueError as error:
        raise ConfigError(f"tune.space: the network of {name} lies outside: {error}; widen it") from None


def _name(config: Config, subtype: str) -> str:
    """A study for all that a trial's loss follows from: with other settings, data or code another one begins."""
    about = {
        "tune": config.tune.model_dump(exclude=_NOT_OF_A_TRIAL),
        "train": config.train.model_dump(exclude={"folds", "models"}),
        "px": config.pack.px,
        "seed": config.seed,
        "n_folds": config.split.n_folds,
        "inputs": learning.digests(config, subtype, _CODE),
    }
    return f"{subtype} {learning.digest(about)[:12]}"


def _knobs(config: Config) -> dict[str, Any]:
    tune = config.tune.model_dump(exclude={"space", "pruning", "trials"})
    return {**tune, **config.tune.space.model_dump()}


def _say_plan(search: Search) -> None:
    """Whom it sees, and how long it may take."""
    from pipeline import trying

    config, data = search.config, search.data
    searched = _searched(config)
    seen = data.split[data.split["fold"].isin(searched)]
    controls = int((seen["label"] == 0).sum())
    console.say(
        f"tune {search.subtype}: sees {controls} control + {len(seen) - controls} {search.subtype} patients, of folds "
        f"{' '.join(map(str, searched))}; study {search.study.name} in {study.shown_address()}"
    )
    if config.tune.patients == "all":
        console.warn(
            "tune.patients is all: the search sees the test patients too, and no figure of what it finds can be claimed"
        )
    waiting = sum(trial.state in ("waiting", "running") for trial in search.study.trials())
    if not waiting:
        console.say(f"all {config.tune.trials} trials have ended before")
        return
    roles = splits.within(data.split, searched, searched[0])
    of_known = list(search.known.values())[-1]
    start_s, epoch_s = trying.seconds(config, data, of_known, roles)
    dice = search_space.Dice(random.Random(config.seed))
    costs = [search_space.multiplications(search_space.propose(dice, config), config) for _ in range(_SAMPLED)]
    relative = sum(costs) / len(costs) / search_space.multiplications(of_known, config)
    trials_s = waiting * config.tune.folds_per_trial * (start_s + config.tune.max_epochs * epoch_s * relative)
    finals = (config.tune.finalists + len(search.known) + 1 + len(search.known)) * config.tune.seeds
    finals_s = finals * (start_s + config.train.max_epochs * epoch_s)
    console.say(
        f"at most about {_minutes(trials_s)} for {waiting} trials of up to {config.tune.max_epochs} epochs, with one worker "
        f"({epoch_s:.1f} s an epoch of the known network); then {_minutes(finals_s)} for {finals} trainings of the best ones. "
        "Hopeless trials end early; Ctrl-C or a kill loses nothing: the same command goes on"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _objective(search: Search, ask: Ask) -> float:
    """Mean validation loss over the folds of a trial."""
    from pipeline import trying

    config, tune = search.config, search.config.tune
    network = search_space.propose(ask, config)
    ask.note(multiplications=search_space.multiplications(network, config))
    of_trial = config.model_copy(update={"train": config.train.model_copy(update={"max_epochs": tune.max_epochs})})
    searched = _searched(config)
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
                tried = trying.train(
                    of_trial,
                    search.data,
                    network,
                    splits.within(search.data.split, searched, judged),
                    learning.seed(config.seed, f"{search.subtype} trial", judged),
                    partial(_checkpoint, search, f"trial-{ask.place}-{judged}"),
                    on_epoch,
                )
        except ModelError as error:  # the loss is no number any more: a rate too high for this network
            ask.note(given_up=str(error))
            raise study.Hopeless from None
        losses.append(tried.loss)
        accuracies.append(tried.accuracy)
    ask.note(val_accuracy=sum(accuracies) / len(accuracies))
    return sum(losses) / len(losses)


def _checkpoint(search: Search, what: str, training: str) -> Path:
    return _folder(search) / f"{what}-{training[:16]}.npz"


def _folder(search: Search) -> Path:
    return paths.search(search.study.name.replace(" ", "-"))


def _ended(search: Search, client: tracking.Client, began: float, trial: Trial) -> None:
    """Tell of a trial that ended: a line, a table now and then, and its run in MLflow."""
    for checkpoint in _folder(search).glob(f"trial-{trial.place}-*"):
        checkpoint.unlink(missing_ok=True)
    trials = search.study.trials()
    ended = [other for other in trials if other.state in _ENDED]
    best = min((other for other in trials if other.state == "complete"), key=lambda other: other.loss, default=None)
    how = "ended" if trial.state == "complete" else f"given up after {trial.epochs} epochs"
    at_once = sum(other.state == "running" for other in trials) + 1
    left_s = (len(trials) - len(ended)) * sum(other.seconds for other in ended) / len(ended) / at_once
    console.say(
        f"{len(ended)} of {len(trials)}: trial {trial.place} {how}, loss {trial.loss:.4f}, {trial.seconds:.0f} s: "
        f"{search_space.shown(search.network(trial))}{f'; best {best.loss:.4f} (trial {best.place})' if best else ''}"
    )
    if left_s and len(ended) % 5 == 0:
        console.say(f"{_minutes(time.monotonic() - began)} gone, about {_minutes(left_s)} left for the trials")
        search_report.show_best(ended, [search.network(other) for other in ended])
    _log_trials(search, client, [trial])


def _log_trials(search: Search, client: tracking.Client, trials: list[Trial]) -> None:
    """In MLflow; where it does not answer now, the end of the search makes up for it."""
    try:
        with tracking.answering():
            for trial in trials:
                network = search.network(trial)
                knobs = {
                    **search_space.entry(search_space.in_full(network, search.config)),
                    "search": search.study.name,
                }
                search_runs.log_trial(client, search.run_id, search.study.name, trial, search_space.shown(network), knobs)
    except TrackingError as error:
        console.warn(str(error))


def _result(search: Search, trials: list[Trial]) -> Result:
    """Finalists with several seeds, the winner, and then the outer fold."""
    config = search.config
    complete = sorted((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.loss)
    networks = {trial.place: search.network(trial) for trial in trials if trial.state in _ENDED}
    best = [trial.place for trial in complete[: config.tune.finalists]]
    finals = search.known | {
        f"trial {place}": networks[place] for place in best if networks[place] not in search.known.values()
    }
    console.say(f"{len(finals)} finalists with {config.tune.seeds} seeds: {', '.join(finals)}")
    finalists = [
        Finalist(
            name,
            next((place for place, other in networks.items() if other == network), None),
            network,
            [_final_loss(search, name, network, number) for number in range(config.tune.seeds)],
        )
        for name, network in finals.items()
    ]
    winner = min(finalists, key=lambda finalist: finalist.mean)
    if winner.mean == math.inf:
        raise ModelError(
            f"tune {search.subtype}: no finalist can be trained, their losses are no numbers; lower tune.space.learning_rate"
        )
    console.say(f"winner: {winner.name}; now the test patients of fold {config.tune.fold}")
    trainable = {finalist.name: finalist.network for finalist in finalists if finalist.mean < math.inf}
    compared = {name: trainable[name] for name in dict.fromkeys([*search.known, winner.name]) if name in trainable}
    drawn = {
        name: seeds.drawn(
            [_outer_scores(search, name, network, number) for number in range(config.tune.seeds)],
            config.evaluate.threshold,
            config.evaluate.draws,
            config.seed,
        )
        for name, network in compared.items()
    }
    seen = search.data.split[search.data.split["fold"].isin(_searched(config))]
    tested = search.data.split[search.data.split["fold"] == config.tune.fold]
    before = config.train.models[search.subtype].tuned_on or []
    return Result(
        subtype=search.subtype,
        study=search.study.name,
        fold=config.tune.fold,
        leak=config.tune.patients == "all" or bool(tested["patient"].isin(before).any()),
        seeds=config.tune.seeds,
        confidence=config.evaluate.confidence,
        seen=_counts(seen),
        tested=_counts(tested),
        tuned_on=splits.told_apart(seen["patient"]),
        finalists=finalists,
        winner=winner.name,
        costs={name: search_space.multiplications(network, config) for name, network in compared.items()},
        figures={name: seeds.measure(values, config.evaluate.confidence) for name, values in drawn.items()},
        gains={
            name: seeds.gains(drawn[winner.name], drawn[name], config.evaluate.confidence)
            for name in compared
            if name != winner.name
        },
    )


def _counts(patients: pd.DataFrame) -> tuple[int, int]:
    """Of control and of the subtype."""
    diseased = int((patients["label"] == 1).sum())
    return len(patients) - diseased, diseased


def _remembered_as(what: str, network: Network, number: int) -> str:
    """By the network, not by its name: after --apply, params.yaml names another one."""
    return f"{what}-{learning.digest(search_space.entry(network))[:12]}-{number}"


def _final_loss(search: Search, name: str, network: Network, number: int) -> float:
    """Validation loss of a finalist with one seed, infinite where it became no number; remembered in a file."""
    searched = _searched(search.config)
    judged = searched[number % len(searched)]
    what = _remembered_as("final", network, number)

    def trained() -> float:
        try:
            loss = float(_train(search, what, network, splits.within(search.data.split, searched, judged), number).loss)
        except ModelError as error:
            console.warn(f"finalist {name}, seed {number}: {error}")
            return math.inf
        console.say(f"finalist {name}, seed {number}, judged on fold {judged}: loss {loss:.4f}")
        return loss

    return float(_remembered(_folder(search) / f"{what}.json", trained))


def _outer_scores(search: Search, name: str, network: Network, number: int) -> pd.DataFrame:
    """The outer fold's test images, scored by a network that its training patients trained, with one seed; remembered.

    Raises:
        ModelError: names the network whose training cannot go on.
    """
    from pipeline import calibration, trying

    config, outer = search.config, search.config.tune.fold
    what = _remembered_as("outer", network, number)

    def trained() -> list[dict[str, Any]]:
        roles = splits.roles(search.data.split, outer, config.split.n_folds)
        try:
            tried = _train(search, what, network, roles, number)
        except ModelError as error:
            raise ModelError(f"{name}, seed {number}, on fold {outer}: {error}") from None
        val, test = (trying.scores(tried, search.data, role) for role in ("val", "test"))
        console.say(f"outer fold {outer}, {name}, seed {number}: scored {len(test):,} images")
        rows = test.assign(logit=test["logit"].astype(float) / calibration.temperature(val))
        return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]

    return pd.DataFrame(_remembered(_folder(search) / f"{what}.json", trained)).astype({"patient": "str"}).assign(fold=outer)


def _train(search: Search, what: str, network: Network, roles: pd.Series, number: int) -> Any:
    from pipeline import trying

    with console.hushed():
        return trying.train(
            search.config,
            search.data,
            network,
            roles,
            learning.seed(search.config.seed, f"{search.subtype} final", number),
            partial(_checkpoint, search, what),
        )


def _remembered(path: Path, make: Callable[[], Any]) -> Any:
    """What `path` holds, or what `make` returns, which it then holds."""
    if not path.exists():
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_ = path.with_suffix(".partial")
        partial_.write_text(json.dumps(found))
        partial_.replace(path)
    return json.loads(path.read_text())


def _log(search: Search, client: tracking.Client, result: Result, folder: Path) -> None:
    _log_trials(search, client, [trial for trial in search.study.trials() if trial.state in _ENDED])
    try:
        with tracking.answering():
            search_runs.finish(client, search.run_id, search_report.markdown(result), search_report.metrics(result), folder)
    except TrackingError as error:
        console.warn(str(error))


def _forget_checkpoints(search: Search) -> None:
    for checkpoint in _folder(search).glob("*.npz"):
        checkpoint.unlink(missing_ok=True)


def _apply(search: Search, result: Result) -> None:
    """Put the winner into params.yaml, with the patients whom the search saw."""
    config, subtype = search.config, search.subtype
    winner = next(finalist for finalist in result.finalists if finalist.name == result.winner)
    own = search_space.in_short(config.train.models[subtype].model_copy(update={"tuned_on": None}), config)
    if winner.network == own:
        console.say(f"apply: params.yaml holds the winner already ({result.winner}); nothing to change")
        return
    seen = search.data.split[search.data.split["fold"].isin(_searched(config))]
    before = set(config.train.models[subtype].tuned_on or [])
    patients = sorted(before | set(seen["patient"]))
    params_file.set_network(subtype, {**search_space.entry(winner.network), "tuned_on": patients})
    console.say(
        f"apply: train.models.{subtype} in params.yaml is now the network of {result.winner}, with the {len(patients)} "
        f"patients whom the search saw (tuned_on): no figure will be claimed of them. `dvc repro` trains {subtype} alone"
    )
