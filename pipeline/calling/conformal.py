"""Sets of classes that hold a patient's own as often as is stated, over patients and class by class: conformal prediction.

A class stays in a patient's set unless at most 1 - coverage of its patients look as strange in it. Several classes left mean
"can't say", none "none of these". As it is done class by class, coverage holds whatever the mix of classes is where the
call is used; what it rests on is that the patients there look like those here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.calling import answer
from pipeline.calling.answer import Floats, Ints
from pipeline.calling.crossed import Crossed

_TINY = 1e-9


@dataclass(frozen=True)
class Promise:
    """What coverage a class's number of patients can keep: `coverage` of them or more, and less than everything if `kept`.

    Where it is not kept, the class could never be ruled out of anybody's set: that would be coverage by saying nothing.
    """

    patients: int
    coverage: float
    kept: bool
    highest: float  # the highest coverage that can be kept with so many
    needed: int  # patients for the coverage asked for


def promise(patients: int, coverage: float) -> Promise:
    """Of n known patients and a new one, `floor((1 - coverage) (n + 1))` ranks of n + 1 are ruled out."""
    ruled_out = int(np.floor((1 - coverage) * (patients + 1) + _TINY))
    needed = int(np.ceil(1 / (1 - coverage) - _TINY)) - 1
    return Promise(patients, 1 - ruled_out / (patients + 1), ruled_out > 0, patients / (patients + 1), needed)


def promises(scores: Crossed, labels: Ints, classes: int, coverage: float) -> list[Promise]:
    """For each class the promise to those patients who are held against fewest of that class."""
    against = np.stack([_against(scores, labels, k, classes) for k in scores.numbers])
    return [promise(int(fewest), coverage) for fewest in against.min(axis=0)]


def expected(scores: Crossed, labels: Ints, coverage: float) -> float:
    """What coverage the sets of these patients have on average by the numbers alone: never less than asked for."""
    kept = []
    for k in scores.numbers:
        against = _against(scores, labels, k, int(labels.max()) + 1)
        kept += [promise(int(against[label]), coverage).coverage for label in labels[scores.rows(k)]]
    return float(np.mean(kept))


def _against(scores: Crossed, labels: Ints, k: int, classes: int) -> Ints:
    """How many patients of each class those of fold k are held against, `(classes,)`."""
    return np.bincount(labels[np.isin(scores.folds, scores.partners(k))], minlength=classes).astype(np.int64)


def out_of_fold(scores: Crossed, labels: Ints) -> Floats:
    """The p-value of every class for every patient, `(patients, classes)`.

    A patient of fold k is held against those of fold j by the model without both, so that he or she is to it as they are.
    """
    found = np.full((len(labels), next(iter(scores.pairs.values())).shape[1]), np.nan)
    for k in scores.numbers:
        others = scores.partners(k)
        known = []
        for j in others:
            classes = labels[scores.rows(j)]
            known.append((classes, answer.strangeness(scores.without(k, j, j))[np.arange(len(classes)), classes]))
        own = [answer.strangeness(scores.without(k, j, k)) for j in others]
        found[scores.rows(k)] = answer.p_values(known, own)
    return found
