"""Scores of patients by models that have seen neither of two folds, for every two of them.

A patient of fold k is scored by the models without k and another fold j. Whatever is fitted for fold k, to what the models
without k and j say of the patients of j, is therefore fitted to patients who were not learned from, and nothing of fold k has
gone into it, not by way of the models either. A model without k and j treats the patients of k and of j alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.calling.answer import Floats, Ints

Scores = Callable[[Ints], Floats]  # of rows of patients, `(rows, columns)`


@dataclass(frozen=True)
class Crossed:
    """`pairs[k, j]`, with k below j, are the scores `(patients, columns)` of the model without k and j; NaN of all others."""

    folds: Ints  # (patients,)
    pairs: dict[tuple[int, int], Floats]

    @property
    def numbers(self) -> list[int]:
        """The folds that there are."""
        return sorted(set(self.folds.tolist()))

    def rows(self, k: int) -> Ints:
        """The patients of fold k."""
        return np.flatnonzero(self.folds == k)

    def without(self, k: int, j: int, of: int) -> Floats:
        """What the model without k and j says of the patients of fold `of`, which is one of the two."""
        return self.pairs[min(k, j), max(k, j)][self.rows(of)]

    def tested(self, k: int) -> Floats:
        """What is said of the patients of fold k: the mean of the models without it."""
        return np.asarray(np.mean([self.without(k, j, k) for j in self.numbers if j != k], axis=0))

    def out_of_fold(self) -> Floats:
        """`tested` of everybody, `(patients, columns)`."""
        found = np.empty_like(next(iter(self.pairs.values())))
        for k in self.numbers:
            found[self.rows(k)] = self.tested(k)
        return found

    def others(self, k: int) -> tuple[Ints, Floats]:
        """Rows of the patients of all folds but k, and what the models without k and their own fold say of them."""
        others = [j for j in self.numbers if j != k]
        return np.concatenate([self.rows(j) for j in others]), np.concatenate([self.without(k, j, j) for j in others])


def cross(folds: Ints, fit: Callable[[Ints, tuple[int, int]], Scores]) -> Crossed:
    """`fit` learns from rows of patients, and is told which two folds these are without; it answers with what scores others."""
    pairs = {}
    for k, j in itertools.combinations(sorted(set(folds.tolist())), 2):
        left_out = np.isin(folds, (k, j))
        found = fit(np.flatnonzero(~left_out), (k, j))(np.flatnonzero(left_out))
        pairs[k, j] = np.full((len(folds), found.shape[1]), np.nan)
        pairs[k, j][left_out] = found
    return Crossed(folds, pairs)
