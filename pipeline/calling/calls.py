"""The two ways to call a patient, cross-fitted: one regression of all classes on the vectors, or on the binary tests' logits.

Nothing that a patient's answer rests on (features' scales, regressions, penalties, temperatures, patients he or she is held
against) has seen the patient, nor any other of the same fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from pipeline.bags import recipe, scoring
from pipeline.bags.scoring import statistics
from pipeline.calling import answer, crossed, multinomial
from pipeline.calling.answer import Floats, Ints
from pipeline.calling.crossed import Crossed, Scores
from pipeline.calling.patients import Everybody
from pipeline.common.config import Config

_TEMPERATURES = (0.05, 20.0)
_LOG_SD = 0.5  # of the prior: a temperature is thought to lie between 1/2.7 and 2.7


@dataclass(frozen=True)
class Joint:
    """The cross-fitted logits of all classes, and the regression without each two folds."""

    scores: Crossed
    coefficients: dict[tuple[int, int], dict[str, Floats]]


def joint(config: Config, everybody: Everybody) -> Joint:
    """One regression on mean, standard deviation and quantiles over a patient's vectors."""
    quantiles = np.array(config.call.quantiles)
    table = np.stack([statistics(bag, quantiles) for bag in everybody.bags])
    if everybody.learned is None:
        return regressions(config, table, everybody)
    learned = [statistics(bag, quantiles) if len(bag) else row for bag, row in zip(everybody.learned, table, strict=True)]
    return regressions(config, table, everybody, np.stack(learned))


def regressions(config: Config, table: Floats, everybody: Everybody, learned: Floats | None = None) -> Joint:
    """The regressions on features `(patients, features)` without each two folds; `learned`, if others, to learn from."""
    labels, learners, coefficients = everybody.labels, everybody.learners, {}
    learned = table if learned is None else learned

    def fit(rows: Ints, without: tuple[int, int]) -> Scores:
        rows = rows[learners[rows]]
        seed = recipe.seed(config.seed, "call", without[0] * config.split.n_folds + without[1])
        found = multinomial.fit(learned[rows], labels[rows], len(everybody.names), config.call, seed)
        coefficients[without] = found
        return lambda others: answer.logits(found, table[others])

    return Joint(crossed.cross(everybody.folds, fit, roles=everybody.roles), coefficients)


def binary_tests(config: Config, candidate: str, everybody: Everybody) -> Crossed:
    """Logits of patients of any class by the candidate's learner of each subtype against control, `(patients, subtypes)`."""
    labels, learned = everybody.labels, everybody.learned or everybody.bags
    learner = config.bag_of(candidate).learner.name

    def fit(rows: Ints, without: tuple[int, int]) -> Scores:
        rows, known = rows[everybody.learners[rows]], []
        for number, subtype in enumerate(config.subtypes, start=1):
            own = rows[np.isin(labels[rows], (0, number))]
            seed = recipe.seed(config.seed, subtype, without[0] * config.split.n_folds + without[1])
            bags = [learned[row] for row in own.tolist()]
            known.append(recipe.fit(config, candidate, bags, (labels[own] == number).astype(np.int64), seed))

        def score(others: Ints) -> Floats:
            bags = [everybody.bags[row] for row in others.tolist()]
            return np.stack([scoring.logits(learner, coefficients, bags) for coefficients in known], axis=1)

        return score

    return crossed.cross(everybody.folds, fit, roles=everybody.roles)


def stacked(config: Config, tests: Crossed, everybody: Everybody) -> Floats:
    """Probabilities `(patients, classes)` by a regression on the binary tests' logits, learned without the patient's fold."""
    found = np.full((len(everybody.labels), len(everybody.names)), np.nan)
    for k in tests.numbers:
        rows, features = tests.others(k)
        seed = recipe.seed(config.seed, "stacked", k)
        known = multinomial.fit(features, everybody.labels[rows], len(everybody.names), config.call, seed)
        found[tests.rows(k)] = answer.probabilities(answer.logits(known, tests.tested(k)))
    return found


def calibrated(scores: Crossed, labels: Ints) -> Floats:
    """Out-of-fold logits as probabilities `(patients, classes)`, at the temperature of the other folds' patients."""
    found = np.full((len(labels), next(iter(scores.pairs.values())).shape[1]), np.nan)
    for k in scores.numbers:
        rows, logits = scores.others(k)
        found[scores.rows(k)] = answer.probabilities(scores.tested(k), temperature(labels[rows], logits))
    return found


def temperature(labels: Ints, logits: Floats) -> float:
    """The number by which logits are divided so that the log loss is least (Guo et al. 2017, ICML), held near 1 by a prior.

    That is on its logarithm, as in `evaluation/calibration`: without it few patients whom the logits happen to separate would
    make everybody certain.
    """

    def loss(logarithm: float) -> float:
        of_patients = len(labels) * multinomial.log_loss(labels, logits, float(np.exp(logarithm)))
        return of_patients + (logarithm / _LOG_SD) ** 2 / 2

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded").x))
