"""Sets of classes that hold a patient's own as often as is stated, over patients and class by class: conformal prediction.

A class stays in a patient's set unless at most 1 - coverage of its patients look as strange in it. Several classes left mean
"can't say", none "none of these". As it is done class by class, coverage holds whatever the mix of classes is where the
call is used; what it rests on is that the patients there look like those here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.calling import answer
from pipeline.calling.answer import Floats, Ints
from pipeline.calling.crossed import Crossed

_TINY = 1e-9
_LOWEST = 0.5  # coverage that can be asked for


@dataclass(frozen=True)
class Promise:
    """Whether so many patients of a class can keep a coverage by less than everything.

    Where they cannot, the class could never be ruled out of anybody's set: that would be coverage by saying nothing.
    """

    patients: int
    kept: bool
    highest: float  # the highest coverage that can be kept with so many
    needed: int  # patients for the coverage asked for

    @property
    def advice(self) -> str:
        """What would do."""
        lower = math.floor(100 * self.highest) / 100
        return f"More patients, or call.coverage of {lower:.2f} at most" if lower > _LOWEST else "More patients"


def promise(patients: int, coverage: float) -> Promise:
    """Of n known patients and a new one, the share `1 - coverage` of n + 1 ranks is ruled out: one rank, or nobody ever is."""
    needed = int(np.ceil(1 / (1 - coverage) - _TINY)) - 1
    return Promise(patients, patients >= needed, patients / (patients + 1), needed)


def promises(scores: Crossed, labels: Ints, classes: int, coverage: float) -> list[Promise]:
    """For each class the promise to those patients who are held against fewest of that class."""
    against = np.stack([_against(scores, labels, k, classes) for k in scores.numbers])
    return [promise(int(fewest), coverage) for fewest in against.min(axis=0)]


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
