"""A search's memory and its way of choosing, by Optuna: with where it is kept the one place that knows it.

A study is a queue of a fixed number of places. Workers, on this machine or on many (`optuna_storage`), take places from it
until none is left, so no place is lost and none is taken twice. A worker that was killed is found out, by its process number
on the same machine, by its silence on another, and its place goes back to the queue with the same values; so does the place of
a worker that was interrupted.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import optuna
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from pipeline.common import paths
from pipeline.search import live_processes, optuna_storage

_WAIT_S = 2.0
_NEW_S = 5.0  # a trial that was taken up again carries its dead worker's number until the new one has written its own
State = Literal["complete", "pruned", "running", "waiting"]
_PLACE, _WORKER = "place", "worker"

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class Hopeless(Exception):  # noqa: N818  # not an error: the trial is over
    """Raised by an objective to give its trial up."""


@dataclass(frozen=True)
class Trial:
    """A place of the queue and what came of it."""

    place: int
    state: State
    point: Mapping[str, Any]  # as far as it was chosen
    loss: float  # infinite where it is not known
    curve: Mapping[int, float]  # step -> the best loss so far
    notes: Mapping[str, Any] = field(default_factory=dict)
    started_ms: int = 0
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """The number of epochs up to the last one that was reported."""
        return max(self.curve, default=-1) + 1


class Ask:
    """What an objective is given: chooses values (a `space.Asker`), takes notes, and knows when a trial is hopeless."""

    def __init__(self, trial: optuna.Trial, place: int) -> None:
        self._trial, self.place = trial, place

    def whole(self, name: str, low: int, high: int, step: int) -> int:
        """Choose one of `low`, `low` + `step` ... `high`."""
        return self._trial.suggest_int(name, low, high, step=step)

    def rate(self, name: str, low: float, high: float) -> float:
        """Choose a number from `low` to `high`, by the logarithm."""
        return self._trial.suggest_float(name, low, high, log=True)

    def one_of(self, name: str, choices: list[Any]) -> Any:
        """Choose one of `choices`."""
        return self._trial.suggest_categorical(name, choices)

    def note(self, **notes: Any) -> None:
        """Keep something with the trial."""
        for key, value in notes.items():
            self._trial.set_user_attr(key, value)

    def report(self, step: int, loss: float) -> None:
        """Say the best loss by this step.

        Raises:
            Hopeless: it is worse than the median of the others by then.
        """
        self._trial.report(loss, step)
        if self._trial.should_prune():
            raise Hopeless


class Study:
    """A search: a queue of trials that workers share, and what came of each, in a database.

    Where it is a new one, `not_gone_on_with` names the others of its subtype.
    """

    def __init__(self, name: str, seed: int, after_trials: int, after_steps: int) -> None:
        """Open the study of this name, or begin it.

        Raises:
            ConfigError: TUNE_STORAGE is no address of a database.
            UnreachableError: the database does not answer.
        """
        self.name, self._seed = name, seed
        paths.STUDIES.parent.mkdir(parents=True, exist_ok=True)
        with self.alone(), optuna_storage.answering():
            storage = optuna_storage.opened()
            of_subtype = [other for other in optuna.get_all_study_names(storage) if other.split()[0] == name.split()[0]]
            self.not_gone_on_with = [] if name in of_subtype else of_subtype
            self._study = optuna.create_study(
                storage=storage,
                study_name=name,
                load_if_exists=True,
                direction="minimize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=after_trials, n_warmup_steps=after_steps),
            )

    def queue(self, points: Sequence[Mapping[str, Any]], total: int) -> None:
        """Make the queue `total` places long; the first of them are `points`, the others are chosen when their turn comes."""
        with self.alone(), optuna_storage.answering():
            have = {trial.place for trial in self.trials()}
            for place in range(max(total, len(points))):
                if place not in have:
                    self._study.enqueue_trial(dict(points[place]) if place < len(points) else {}, user_attrs={_PLACE: place})

    def trials(self) -> list[Trial]:
        """Every place once, in order; of a place that was taken up again the last state."""
        with optuna_storage.answering():
            by_place: dict[int, FrozenTrial] = {}
            for trial in self._study.get_trials(deepcopy=False):
                if trial.state != TrialState.FAIL and _PLACE in trial.user_attrs:
                    by_place.setdefault(int(trial.user_attrs[_PLACE]), trial)
        return [_trial(place, trial) for place, trial in sorted(by_place.items())]

    def work(self, objective: Callable[[Ask], float], on_end: Callable[[Trial], None]) -> None:
        """Take places until none is left and nobody works on one any more; `on_end` is told what came of each of ours."""
        with optuna_storage.answering():
            self._release_the_dead()
            while open_ := [trial for trial in self.trials() if trial.state in ("waiting", "running")]:
                if any(trial.state == "waiting" for trial in open_):
                    place = self._one(objective)
                    if place is not None:
                        on_end(next(trial for trial in self.trials() if trial.place == place))
                else:
                    time.sleep(_WAIT_S)
                    optuna.storages.fail_stale_trials(self._study)
                    self._release_the_dead()

    def _one(self, objective: Callable[[Ask], float]) -> int | None:
        """Run one trial; its place, or None where others had taken the last one, or this one from us, meanwhile."""
        taken: list[tuple[int, int]] = []  # place, number

        def run(trial: optuna.Trial) -> float:
            place = trial.user_attrs.get(_PLACE)
            if place is None or self._is_taken(int(place), trial.number):
                raise _SurplusError
            trial.set_user_attr(_WORKER, live_processes.me())
            # The values of a place follow from the seed and what is known by then, not from how often the worker began anew.
            self._study.sampler = optuna.samplers.TPESampler(seed=_seed(self._seed, int(place)), multivariate=False)
            taken.append((int(place), trial.number))
            try:
                return objective(Ask(trial, int(place)))
            except Hopeless as hopeless:
                raise optuna.TrialPruned(str(hopeless)) from None

        try:
            self._study.optimize(run, n_trials=1, catch=(_SurplusError,))
        except BaseException as error:  # Ctrl-C too: the place goes back to the queue
            if taken and not self._put_back(taken[0][1]) and isinstance(error, ValueError | UpdateFinishedTrialError):
                return None  # a worker that was silent too long, and taken for dead
            raise
        return taken[0][0] if taken else None

    def _put_back(self, number: int) -> bool:
        """Queue our failed trial's place again; False where another worker has done so."""
        trials = self._study.get_trials(deepcopy=False)
        if any(number in RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in trials):
            return False
        if trials[number].state == TrialState.FAIL:
            RetryHeartbeatStaleTrialCallback()(self._study, trials[number])
        return True

    def _is_taken(self, place: int, number: int) -> bool:
        """Whether an earlier trial has this place: two workers may queue the same one at the same moment."""
        return any(
            trial.number < number and trial.user_attrs.get(_PLACE) == place and trial.state != TrialState.FAIL
            for trial in self._study.get_trials(deepcopy=False)
        )

    def _release_the_dead(self) -> None:
        """Put the places of this machine's dead workers back into the queue."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = str(trial.user_attrs.get(_WORKER, ""))
            age = datetime.now() - (trial.datetime_start or datetime.now())  # noqa: DTZ005  # Optuna's times have no zone
            nameless = not worker and age.total_seconds() > optuna_storage.SILENCE_S  # killed before it wrote who it is
            if nameless or (live_processes.is_dead(worker) and age.total_seconds() > _NEW_S):
                try:
                    self._study.tell(trial.number, state=TrialState.FAIL)
                except (ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another worker was quicker
                    continue
                RetryHeartbeatStaleTrialCallback()(self._study, trial)

    def importances(self) -> dict[str, float]:
        """How much of the losses' variance each name explains, by fANOVA, largest first; empty where too few trials ended."""
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._seed)
        with optuna_storage.answering():
            ended = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
            if len(ended) < 4:
                return {}
            try:
                return dict(optuna.importance.get_param_importances(self._study, evaluator=evaluator))
            except (ValueError, RuntimeError):  # all losses the same
                return {}

    @contextmanager
    def alone(self, what: str = "") -> Iterator[None]:
        """Among the workers of this machine: a database without tables is made once, a queue filled once."""
        name = f".{self.name.replace(' ', '-')}.{what}.lock" if what else ".lock"
        with FileLock(paths.STUDIES.with_suffix(name), mode=0o666):
            yield


class _SurplusError(Exception):
    """There was no place left."""


def _trial(place: int, trial: FrozenTrial) -> Trial:
    started, ended = trial.datetime_start, trial.datetime_complete
    curve = {int(step): float(loss) for step, loss in trial.intermediate_values.items()}
    known = trial.value if trial.state == TrialState.COMPLETE else min(curve.values(), default=None)
    return Trial(
        place=place,
        state=_STATES[trial.state],
        point=dict(trial.params),
        loss=float("inf") if known is None else float(known),
        curve=curve,
        notes={key: value for key, value in trial.user_attrs.items() if key not in (_PLACE, _WORKER)},
        started_ms=int(started.timestamp() * 1000) if started else 0,
        seconds=(ended - started).total_seconds() if started and ended else 0.0,
    )


def _seed(seed: int, place: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {place}".encode()).digest()[:4], "big")
