"""Scores of patients by models that have seen neither of two folds, for every two of them.

A patient of fold k is scored by the models without k and another fold j. Whatever is fitted for fold k, to what the models
without k and j say of the patients of j, is therefore fitted to patients who were not learned from, and nothing of fold k has
gone into it, not by way of the models either. A model without k and j treats the patients of k and of j alike.

Where a published dealing gives roles, there is one such pair: the fold that is tested and the one that validates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from pipeline.calling.answer import Floats, Ints
from pipeline.folds import protocol

Scores = Callable[[Ints], Floats]  # of rows of patients, `(rows, columns)`


@dataclass(frozen=True)
class Crossed:
    """`pairs[k, j]`, with k below j, are the scores `(patients, columns)` of the model without k and j; NaN of all others."""

    folds: Ints  # (patients,)
    pairs: dict[tuple[int, int], Floats]
    numbers: list[int]  # the folds whose patients are answered

    def rows(self, k: int) -> Ints:
        """The patients of fold k."""
        return np.flatnonzero(self.folds == k)

    def without(self, k: int, j: int, of: int) -> Floats:
        """What the model without k and j says of the patients of fold `of`, which is one of the two."""
        return self.pairs[min(k, j), max(k, j)][self.rows(of)]

    def partners(self, k: int) -> list[int]:
        """The folds each of which is left out together with fold k."""
        return sorted(j for pair in self.pairs if k in pair for j in pair if j != k)

    @property
    def known(self) -> list[int]:
        """The folds whose patients the answered ones, and new ones, are held against."""
        return sorted({j for k in self.numbers for j in self.partners(k)})

    def tested(self, k: int) -> Floats:
        """What is said of the patients of fold k: the mean of the models without it."""
        return np.asarray(np.mean([self.without(k, j, k) for j in self.partners(k)], axis=0))

    def out_of_fold(self, numbers: Collection[int]) -> tuple[Ints, Floats]:
        """Rows of the patients of these folds, in their order, and `tested` of them, `(rows, columns)`."""
        found = np.empty_like(next(iter(self.pairs.values())))
        for k in numbers:
            found[self.rows(k)] = self.tested(k)
        rows = np.flatnonzero(np.isin(self.folds, list(numbers)))
        return rows, found[rows]

    def others(self, k: int) -> tuple[Ints, Floats]:
        """Rows of the patients of the other folds, and what the models without k and their own fold say of them."""
        others = self.partners(k)
        return np.concatenate([self.rows(j) for j in others]), np.concatenate([self.without(k, j, j) for j in others])


def cross(folds: Ints, fit: Callable[[Ints, tuple[int, int]], Scores], *, roles: bool = False) -> Crossed:
    """`fit` learns from rows of patients, and is told which two folds these are without; it answers with what scores others.

    With `roles` the one model that there is learns from those who train, and answers those who test.
    """
    pairs = {}
    numbers = [protocol.ROLES["test"]] if roles else sorted(set(folds.tolist()))
    left_out_together = [(protocol.ROLES["test"], protocol.ROLES["val"])] if roles else itertools.combinations(numbers, 2)
    for k, j in left_out_together:
        left_out = np.isin(folds, (k, j))
        found = fit(np.flatnonzero(~left_out), (k, j))(np.flatnonzero(left_out))
        pairs[k, j] = np.full((len(folds), found.shape[1]), np.nan)
        pairs[k, j][left_out] = found
    return Crossed(folds, pairs, numbers)
