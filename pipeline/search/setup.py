"""What one search is about: whom it sees, which networks are known beforehand, the study and the MLflow run it is kept in.

`trials` and `finals` work on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common import paths
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError
from pipeline.common.params_learning import Network
from pipeline.evaluation import published_figures
from pipeline.folds import split_table
from pipeline.networks import recipe
from pipeline.registry import mlflow_server
from pipeline.search import optuna_study, space, trial_runs
from pipeline.search.optuna_study import Study, Trial

_CODE = ("folds", "machine", "networks", "search/space.py", "search/trial_training.py")
_NOT_OF_A_TRIAL = {"trials", "finalists", "seeds"}  # a search goes on when these change


@dataclass(frozen=True)
class Search:
    """One search: what it is about, and where it is kept."""

    config: Config
    data: Any  # trial_training.Data: TensorFlow is imported after everything that can fail
    study: Study
    known: dict[str, Network]  # the published network, and the one in params.yaml where it is another
    client: mlflow_server.Client
    run_id: str

    @property
    def subtype(self) -> str:
        """The subtype whose network is searched."""
        return str(self.data.subtype)

    @property
    def candidate(self) -> str:
        """The name of the candidate as which the networks are tried."""
        return str(self.data.candidate)

    @property
    def folds(self) -> list[int]:
        """The folds whose patients the search sees."""
        return _folds(self.config)

    @property
    def seen(self) -> pd.DataFrame:
        """The patients of these folds."""
        patients: pd.DataFrame = self.data.split[self.data.split["fold"].isin(self.folds)]
        return patients

    @property
    def folder(self) -> Path:
        """The folder of what has been trained so far."""
        return paths.search(self.study.name.replace(" ", "-"))

    def network(self, trial: Trial) -> Network:
        """The network of a trial."""
        return space.propose(space.Told(trial.point), self.config)

    def checkpoint(self, what: str, training: str) -> Path:
        """The checkpoint's path of a training, named by the digest of all that it follows from."""
        return self.folder / f"{what}-{training[:16]}.npz"

    def forget_checkpoints(self, names: str = "*.npz") -> None:
        """Delete the checkpoints of trainings that are over, by a pattern of file names."""
        for checkpoint in self.folder.glob(names):
            checkpoint.unlink(missing_ok=True)


def begin(config: Config, subtype: str, candidate: str) -> Search:
    """Begin a search, or go on with the one that was begun before with the same settings, data and code.

    Raises:
        ConfigError: the `tune` section cannot be done with this split or this network.
        DataError: names the file that is missing or does not fit the others.
        UnreachableError: MLflow or the study's database does not answer.
    """
    _require_possible(config)
    split, tables, cells = recipe.inputs(config, subtype)
    known = _known(config, subtype, candidate)
    points = [_point(name, network, config) for name, network in known.items()]
    client = mlflow_server.connect()
    name = _name(config, subtype, candidate)
    kept = optuna_study.Study(name, config.seed, config.tune.pruning.after_trials, config.tune.pruning.after_epochs)
    kept.queue(points, config.tune.trials)
    with kept.alone(), mlflow_server.answering():  # two workers that begin together have one run
        run_id = trial_runs.begin(client, subtype, name, _knobs(config))

    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.search import trial_training

    return Search(config, trial_training.Data(subtype, candidate, split, tables, cells), kept, known, client, run_id)


def _require_possible(config: Config) -> None:
    """Refuse settings that `config` cannot check, because only a search needs them to agree."""
    tune = config.tune
    if tune.fold >= config.split.n_folds:
        raise ConfigError(f"tune.fold: there is no fold {tune.fold}; allowed: 0 to {config.split.n_folds - 1} (split.n_folds)")
    searched = len(_folds(config))
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


def _folds(config: Config) -> list[int]:
    return split_table.searched_folds(config.tune.fold, config.split.n_folds, everybody=config.tune.patients == "all")


def _known(config: Config, subtype: str, candidate: str) -> dict[str, Network]:
    own = space.in_short(config.network_of(subtype, candidate).model_copy(update={"tuned_on": None}), config)
    if subtype not in published_figures.NETWORKS:
        return {"params.yaml": own}
    theirs = space.in_short(published_figures.NETWORKS[subtype], config)
    return {"published": theirs} | ({} if theirs == own else {"params.yaml": own})


def _point(name: str, network: Network, config: Config) -> space.Point:
    try:
        return space.point(network, config)
    except ValueError as error:
        raise ConfigError(f"tune.space: the network of {name} lies outside: {error}; widen it") from None


def _name(config: Config, subtype: str, candidate: str) -> str:
    """A study for all that a trial's loss follows from: with other settings, data or code another one begins."""
    about = {
        "tune": config.tune.model_dump(exclude=_NOT_OF_A_TRIAL),
        "train": config.train.model_dump(),
        "candidate": candidate,
        "px": config.pack.px,
        "seed": config.seed,
        "n_folds": config.split.n_folds,
        "inputs": recipe.digests(config, subtype, _CODE),
    }
    return f"{subtype} {recipe.digest(about)[:12]}"


def _knobs(config: Config) -> dict[str, Any]:
    tune = config.tune.model_dump(exclude={"space", "pruning", "trials"})
    return {**tune, **config.tune.space.model_dump()}
