"""How often drift is seen, where it is known whether there is any. `python -m bench.drift [--years N] [--trials N]`

A training cohort in the demo's numbers, then 24 new patients a month, seen every week by the rules of params.yaml, in
simulated years. A patient is a deviation from his or her class, drawn with the covariance of drawn patients
(`bench.drift_pool`), and so many images with their own residuals; a call by a regression on the vectors, of the training
patients out of fold. Beside it the test that libraries offer: Kolmogorov and Smirnov's, a feature at a time over images,
Bonferroni over features, at the same level.

Quiet years tell false alarms. Then one thing changes for all new patients (of the new class: for every fourth) and stays so;
told is how many weeks pass until the first alarm.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from bench import drift_pool
from pipeline.common import config
from pipeline.common.params_judging import Drift
from pipeline.demo import cohort
from pipeline.drift import look, summaries
from pipeline.images import manifest

TRAINING = {"control": 30, **dict.fromkeys(cohort.SUBTYPES, 18)}
# A clinic's patients: fewer controls, and one leukaemia more often than the others.
OTHER_MIX = dict(zip(drift_pool.CLASSES, (0.15, 0.1, 0.4, 0.15, 0.2), strict=True))
PER_WEEK, WEEKS, AFTER, IMAGES, NEW_CLASS = 24 * 12 / 52, 52, 26, 15, 0.25
YEARS_BY_IMAGES = 20
COMPONENTS = 8  # of the vectors, for the row-wise test
_FOLDS, _RIDGE, _HEAT = 5, 30.0, 0.12  # the call is right of four patients in five, as the demo's is
_NO_DOUBT = 0.15
_SHARPNESS = manifest.NUMBERS.index("sharpness")
CHANGES = {
    "stain batch": "stain",
    "another scanner": "scanner",
    "defocus": "focus",
    "a new leukaemia, every 4th": cohort.ON_DEMAND,
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """What patients are drawn from, over numbers and vector together `(columns,)`: see `drift_pool`."""

    means: dict[str, Floats]
    residuals: dict[str, Floats]  # by class, `(images, columns)`
    deviations: Floats  # of patients from their class, without the share of their images' noise
    moved: dict[str, Floats]  # by "<class> <change>"
    axes: Floats  # of the vectors, `(dimension, COMPONENTS)`


@dataclass(frozen=True)
class Drawn:
    """Patients as drift sees them, and their images' features for the row-wise test."""

    table: pd.DataFrame
    vectors: Floats
    features: list[Floats]


@cache
def pool() -> Pool:
    """From the drawn patients."""
    kept = drift_pool.read()

    def rows(key: str) -> Floats:
        numbers = kept[f"{key}/numbers"].astype(np.float64)
        numbers[:, _SHARPNESS] = np.log1p(numbers[:, _SHARPNESS])
        return np.hstack([numbers, kept[f"{key}/vectors"]]).astype(np.float64)

    means, residuals, deviations, noise, moved = {}, {}, [], [], {}
    for name in (*drift_pool.CLASSES, cohort.ON_DEMAND):
        values, patients = rows(name), kept[f"{name}/patients"]
        own = np.stack([values[patients == patient].mean(axis=0) for patient in np.unique(patients)])
        means[name], residuals[name] = own.mean(axis=0), values - own[patients]
        deviations.append(own - means[name])
        noise.append(residuals[name].var(axis=0) / (len(values) / len(own)))
        for change in drift_pool.OTHERWISE:
            if f"{name} {change}/numbers" in kept:
                after = rows(f"{name} {change}")
                moved[f"{name} {change}"] = (after - values[: len(after)]).mean(axis=0)
    all_deviations = np.concatenate(deviations)
    share = 1 - np.mean(noise, axis=0) / np.maximum(all_deviations.var(axis=0), 1e-12)
    seven = len(manifest.NUMBERS)
    _, _, axes = np.linalg.svd(all_deviations[:, seven:], full_matrices=False)
    return Pool(means, residuals, all_deviations * np.sqrt(np.clip(share, 0.05, 1)), moved, axes[:COMPONENTS].T)


def draw(classes: list[str], rng: np.random.Generator, change: str = "") -> Drawn:
    """Patients of these classes, seen by a changed laboratory if one is named."""
    known, seven = pool(), len(manifest.NUMBERS)
    own = rng.normal(size=(len(classes), len(known.deviations))) @ known.deviations / np.sqrt(len(known.deviations))
    rows, vectors, features = [], [], []
    for name, deviation in zip(classes, own, strict=True):
        residuals = known.residuals[name]
        images = known.means[name] + deviation + residuals[rng.integers(len(residuals), size=IMAGES)]
        images = images + known.moved.get(f"{name} {change}", 0.0)
        sharp = images[:, _SHARPNESS]
        numbers = pd.DataFrame(images[:, :seven], columns=list(manifest.NUMBERS)).assign(sharpness=np.expm1(sharp))
        rows.append(summaries.of_patient(numbers.assign(pixels_sha256="")))
        vectors.append(images[:, seven:].mean(axis=0))
        features.append(np.hstack([images[:, :seven], images[:, seven:] @ known.axes]))
    table = summaries.table(rows)
    table["vector"] = pd.Series(list(vectors), dtype=object)
    return Drawn(table, np.array(vectors), features)


class Call:
    """A ridge regression of classes on vectors, as a call is one: of the training patients by models that never saw them."""

    def __init__(self, vectors: Floats, classes: list[str], rng: np.random.Generator) -> None:
        """Learn by fold."""
        self.names = sorted(set(classes))
        self._mean, self._sd = vectors.mean(axis=0), vectors.std(axis=0) + 1e-9
        self._known, folds = self._scaled(vectors), rng.permutation(np.arange(len(classes)) % _FOLDS)
        hot = np.array([[float(one == name) for name in self.names] for one in classes])
        self._weights, self.out_of_fold = [], np.zeros_like(hot)
        for fold in range(_FOLDS):
            inside = folds != fold
            x, y = self._known[inside], hot[inside] - hot[inside].mean(axis=0)
            dual = np.linalg.solve(x @ x.T + _RIDGE * np.eye(len(x)), y / hot[inside].mean(axis=0))
            self._weights.append(x.T @ dual)
            self.out_of_fold[~inside] = self._known[~inside] @ self._weights[-1]

    def logits(self, vectors: Floats) -> Floats:
        """Of new patients: the mean over the folds."""
        return np.asarray(self._scaled(vectors) @ np.mean(self._weights, axis=0))

    def _scaled(self, vectors: Floats) -> Floats:
        return np.asarray((vectors - self._mean) / self._sd / np.sqrt(vectors.shape[1]) * 10)

    def answered(self, drawn: Drawn, logits: Floats) -> pd.DataFrame:
        """The patients' table with calls and probabilities."""
        e = np.exp((logits - logits.max(axis=1, keepdims=True)) / _HEAT)
        probabilities = e / e.sum(axis=1, keepdims=True)
        called = [self.names[place] for place in probabilities.argmax(axis=1)]
        return drawn.table.assign(call=called, probabilities=pd.Series(list(probabilities), dtype=object))


def weeks(
    rules: Drift, mix: dict[str, float], change: str, rng: np.random.Generator, many: int, by_images: Callable[[], bool]
) -> Iterator[tuple[bool, bool]]:
    """Whether each week's look is an alarm, by patients and, while that is asked for, by images.

    The window is full from the first week on, of patients from before the change.
    """
    classes = [name for name, count in TRAINING.items() for _ in range(count)]
    training = draw(classes, rng)
    call = Call(training.vectors, classes, rng)
    known = call.answered(training, call.out_of_fold)
    rows_known = np.concatenate(training.features)
    new, images = call_new(call, draw(arriving(rules.window, mix, "", rng), rng), None, [])
    for number in range(many):
        drawn = draw(arriving(int(rng.poisson(PER_WEEK)), mix, change, rng), rng, change)
        if len(drawn.table):
            new, images = call_new(call, drawn, new, images)
        new, images = new.tail(rules.window), images[-rules.window :]
        yield alarms(known, new, rules, number), by_images() and ks_alarms(rows_known, np.concatenate(images), rules)


def alarms(known: pd.DataFrame, new: pd.DataFrame, rules: Drift, seed: int) -> bool:
    """As `look` says; where a tenth of the exchanges leaves no doubt, the others are not made."""
    first = look.look(known, new, rules.model_copy(update={"permutations": rules.permutations // 10}), seed)
    if first.found is not None and first.found.p_value > _NO_DOUBT:
        return False
    return look.look(known, new, rules, seed).alarm


def ks_alarms(known: Floats, new: Floats, rules: Drift) -> bool:
    """Images as rows, a feature at a time, at the same level."""
    found = [ks_2samp(known[:, column], new[:, column], method="asymp").pvalue for column in range(known.shape[1])]
    return bool(min(found) * len(found) < look.level(rules))


def call_new(call: Call, drawn: Drawn, before: pd.DataFrame | None, images: list[Floats]) -> tuple[pd.DataFrame, list[Floats]]:
    """New patients called, behind those who came before."""
    table = call.answered(drawn, call.logits(drawn.vectors))
    return table if before is None else pd.concat([before, table], ignore_index=True), images + drawn.features


def arriving(count: int, mix: dict[str, float], change: str, rng: np.random.Generator) -> list[str]:
    """The classes of so many new patients."""
    names = [str(name) for name in rng.choice(list(mix), size=count, p=list(mix.values()))]
    if change == cohort.ON_DEMAND:
        names = [cohort.ON_DEMAND if rng.random() < NEW_CLASS else name for name in names]
    return names


def year(rules: Drift, mix: dict[str, float], number: int) -> list[tuple[bool, bool]]:
    """A quiet year's looks; by images in the first years alone, since so many alarms are soon counted."""
    return list(weeks(rules, mix, "", np.random.default_rng([1, number]), WEEKS, lambda: number < YEARS_BY_IMAGES))


def delays(rules: Drift, mix: dict[str, float], change: str, number: int) -> tuple[float, float]:
    """In which week after the change the first alarm comes, by patients and by images; infinite where it doesn't."""
    first = [np.inf, np.inf]
    rng = np.random.default_rng([2, number])
    for week, seen in enumerate(weeks(rules, mix, change, rng, AFTER, lambda: np.isinf(first[1])), start=1):
        for test, alarm in enumerate(seen):
            first[test] = min(first[test], week if alarm else np.inf)
        if np.isfinite(first).all():
            break
    return first[0], first[1]


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=100, help="quiet years, of a training cohort each (100); 0: none")
    parser.add_argument("--trials", type=int, default=60, help="trials of each change (60); 0: none")
    options = parser.parse_args()
    rules = config.load().drift
    training = {name: count / sum(TRAINING.values()) for name, count in TRAINING.items()}
    quiet, found = [], []
    pool()
    with ProcessPoolExecutor() as workers:
        for words, mix in (("as in training", training), ("another", OTHER_MIX)) if options.years else ():
            seen = np.array(list(workers.map(partial(year, rules, mix), range(options.years))))
            for test, own in (("patients", seen[..., 0]), ("images (KS)", seen[:YEARS_BY_IMAGES, :, 1])):
                quiet.append(
                    {
                        "mix of classes": words,
                        "test over": test,
                        "false alarms a year": f"{own.sum(axis=1).mean():.2f}",
                        "allowed": f"{rules.false_alarms_per_year:g}",
                        "years with any": f"{own.any(axis=1).mean():.0%}",
                        "weeks with one": f"{own.mean():.1%}",
                    }
                )
            print(pd.DataFrame(quiet).tail(2).to_string(index=False), flush=True)
        for words, change in CHANGES.items() if options.trials else ():
            weeks_of = np.array(list(workers.map(partial(delays, rules, OTHER_MIX, change), range(options.trials))))
            for test, own in zip(("patients", "images (KS)"), weeks_of.T, strict=True):
                within = {f"within {weeks} weeks": f"{(own <= weeks).mean():.0%}" for weeks in (4, 8, AFTER)}
                middle = f"{np.median(own):.0f} weeks" if np.isfinite(np.median(own)) else f"over {AFTER} weeks"
                found.append({"change": words, "test over": test, **within, "median delay": middle})
            print(pd.DataFrame(found).tail(2).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
