"""The end of a search: the best networks with several seeds, the winner, and only then the outer fold's test patients.

What was trained is remembered by its network, so that a kill, or the same command again, costs nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common import console, files
from pipeline.common.errors import ModelError
from pipeline.common.params_learning import Network
from pipeline.folds import split_table
from pipeline.names import patient_names
from pipeline.networks import recipe
from pipeline.search import over_seeds, space
from pipeline.search.optuna_study import Trial
from pipeline.search.outcome import Finalist, Result
from pipeline.search.setup import Search


def result(search: Search, ended: Sequence[Trial]) -> Result:
    """Finalists with several seeds, the winner, and then the outer fold, by one worker of this machine at a time.

    Raises:
        ModelError: no finalist can be trained, or the outer fold's training of one that was compared cannot go on.
    """
    with search.study.alone("finals"):
        finalists = _finalists(search, ended)
        winner = _winner(search, finalists)
        return _on_test_patients(search, finalists, winner)


def _finalists(search: Search, ended: Sequence[Trial]) -> list[Finalist]:
    """The networks known beforehand and those of the best trials, each with the loss of every seed."""
    config = search.config
    complete = sorted((trial for trial in ended if trial.state == "complete"), key=lambda trial: trial.loss)
    networks = {trial.place: search.network(trial) for trial in ended}
    best = [trial.place for trial in complete[: config.tune.finalists]]
    finals = search.known | {
        f"trial {place}": networks[place] for place in best if networks[place] not in search.known.values()
    }
    console.say(f"{len(finals)} finalists with {config.tune.seeds} seeds: {', '.join(finals)}")
    return [
        Finalist(
            name,
            next((place for place, other in networks.items() if other == network), None),
            network,
            [_final_loss(search, name, network, number) for number in range(config.tune.seeds)],
        )
        for name, network in finals.items()
    ]


def _winner(search: Search, finalists: Sequence[Finalist]) -> Finalist:
    winner = min(finalists, key=lambda finalist: finalist.mean)
    if winner.mean == math.inf:
        raise ModelError(
            f"tune {search.subtype}: no finalist can be trained, their losses are no numbers; lower tune.space.learning_rate"
        )
    console.say(f"winner: {winner.name}; now the test patients of fold {search.config.tune.fold}")
    return winner


def _on_test_patients(search: Search, finalists: list[Finalist], winner: Finalist) -> Result:
    """The winner against the networks known beforehand, those that can be trained."""
    config = search.config
    trainable = {finalist.name: finalist.network for finalist in finalists if finalist.mean < math.inf}
    compared = {name: trainable[name] for name in dict.fromkeys([*search.known, winner.name]) if name in trainable}
    drawn = {
        name: over_seeds.drawn(
            [_outer_scores(search, name, network, number) for number in range(config.tune.seeds)],
            config.evaluate.threshold,
            config.evaluate.draws,
            config.seed,
        )
        for name, network in compared.items()
    }
    tested = search.data.split[search.data.split["fold"] == config.tune.fold]
    before = config.network_of(search.subtype, search.candidate).tuned_on or []
    return Result(
        subtype=search.subtype,
        study=search.study.name,
        fold=config.tune.fold,
        leak=config.tune.patients == "all" or any(patient_names.are_among(tested["patient"], before)),
        seeds=config.tune.seeds,
        confidence=config.evaluate.confidence,
        seen=_counts(search.seen),
        tested=_counts(tested),
        tuned_on=split_table.told_apart(search.seen["patient"]),
        finalists=finalists,
        winner=winner.name,
        costs={name: space.multiplications(network, config) for name, network in compared.items()},
        figures={name: over_seeds.measure(values, config.evaluate.confidence) for name, values in drawn.items()},
        gains={
            name: over_seeds.gains(drawn[winner.name], drawn[name], config.evaluate.confidence)
            for name in compared
            if name != winner.name
        },
    )


def judged_on(searched: Sequence[int], folds_per_trial: int, number: int) -> int:
    """The fold on which a finalist is judged with a seed: one on which no trial was, as long as there is one.

    By those that judged the trials the best ones were chosen, and look better than they are.
    """
    others = searched[folds_per_trial:] or searched
    return others[number % len(others)]


def _remembered_as(what: str, network: Network, number: int) -> str:
    """The file's name: it tells the network, not its name, since after --apply params.yaml names another one."""
    return f"{what}-{recipe.digest(space.entry(network))[:12]}-{number}"


def _final_loss(search: Search, name: str, network: Network, number: int) -> float:
    """Validation loss of a finalist with one seed, infinite where it became no number; remembered in a file."""
    judged = judged_on(search.folds, search.config.tune.folds_per_trial, number)
    what = _remembered_as(f"final-on-{judged}", network, number)

    def trained() -> float:
        try:
            roles = split_table.within(search.data.split, search.folds, judged)
            loss = float(_train(search, what, network, roles, number).loss)
        except ModelError as error:
            console.warn(f"finalist {name}, seed {number}: {error}")
            return math.inf
        console.say(f"finalist {name}, seed {number}, judged on fold {judged}: loss {loss:.4f}")
        return loss

    return float(_remembered(search.folder / f"{what}.json", trained))


def _outer_scores(search: Search, name: str, network: Network, number: int) -> pd.DataFrame:
    """The outer fold's test images, scored by a network that its training patients trained, with one seed; remembered.

    Raises:
        ModelError: names the network whose training cannot go on.
    """
    from pipeline.evaluation import calibration

    config, outer = search.config, search.config.tune.fold
    what = _remembered_as("outer", network, number)

    def trained() -> list[dict[str, Any]]:
        roles = split_table.roles(search.data.split, outer, config.split.n_folds)
        try:
            tried = _train(search, what, network, roles, number)
        except ModelError as error:
            raise ModelError(f"{name}, seed {number}, on fold {outer}: {error}") from None
        val, test = (tried.scored(role)[["patient", "path", "label", "logit"]] for role in ("val", "test"))
        console.say(f"outer fold {outer}, {name}, seed {number}: scored {len(test):,} images")
        rows = test.assign(logit=test["logit"].astype(float) / calibration.temperature(val))
        return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]

    return pd.DataFrame(_remembered(search.folder / f"{what}.json", trained)).astype({"patient": "str"}).assign(fold=outer)


def _train(search: Search, what: str, network: Network, roles: pd.Series, number: int) -> Any:
    from pipeline.search import trial_training

    with console.hushed():
        return trial_training.train(
            search.config,
            search.data,
            network,
            roles,
            recipe.seed(search.config.seed, f"{search.subtype} final", number),
            partial(search.checkpoint, what),
        )


def _remembered(path: Path, make: Callable[[], Any]) -> Any:
    """What `path` holds, or what `make` returns, which it then holds."""
    if not path.exists():
        files.write(path, json.dumps(make()))
    return json.loads(path.read_text())


def _counts(patients: pd.DataFrame) -> tuple[int, int]:
    """The numbers of patients of control and of the subtype."""
    diseased = int((patients["label"] == 1).sum())
    return len(patients) - diseased, diseased
