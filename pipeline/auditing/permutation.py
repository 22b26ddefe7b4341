"""What chance alone reaches: labels shuffled, and an observed figure held against those of the shuffled labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Null:
    """What chance reaches: the AUROC once the labels were shuffled.

    Between `low` and `high` lie 95 % of the draws; `p_value` is the chance to reach the observed AUROC or more, `least_p` that
    to reach 1, below which no p can be.
    """

    mean: float
    low: float
    high: float
    p_value: float
    least_p: float
    permutations: int


def shuffled(labels: ArrayLike, groups: ArrayLike, rng: np.random.Generator) -> Integers:
    """Shuffle `labels` `(n,)` within each of `groups` `(n,)`."""
    drawn = np.array(labels)
    of = np.asarray(groups)
    for group in np.unique(of):
        drawn[of == group] = rng.permutation(drawn[of == group])
    return drawn


def null(observed: float, drawn: Floats) -> Null:
    """Sum up `drawn` `(permutations,)`. The observed value counts as one of the draws, so that p is never 0."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    p_value, least_p = ((1 + int((drawn >= least).sum())) / (1 + len(drawn)) for least in (observed, 1.0))
    return Null(float(drawn.mean()), float(low), float(high), p_value, least_p, len(drawn))
