"""Does an explanation point at what the score rests on? What it names first is taken away first, against a random order.

A curve holds logits `(steps,)` after each share of the parts is gone. The area between two curves is the mean of their
difference over the steps, in logits: above 0 the explanation's order lowers the logit faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from pipeline.bags.scoring import Floats
from pipeline.evaluation.figures import Interval

Ints = NDArray[np.int64]
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the parts taken away; beyond, little is left to score


def gone(order: Ints) -> list[Ints]:
    """The first of `order` `(parts,)`, by each of `SHARES`; at least one part, and never all."""
    counts = [min(max(1, round(share * len(order))), len(order) - 1) for share in SHARES]
    return [order[:count] for count in counts]


def curve(left: Callable[[Ints], float], order: Ints) -> Floats:
    """Logits by `left`, of the parts that stay when the first of `order` are gone."""
    return np.array([left(np.setdiff1d(order, some)) for some in gone(order)])


def random_orders(parts: int, draws: int, seed: Sequence[int]) -> list[Ints]:
    """So many orders of the parts."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(parts).astype(np.int64) for _ in range(draws)]


def area(explained: Floats, random: Sequence[Floats]) -> float:
    """Between the mean of the random curves and the explanation's."""
    return float((np.mean(random, axis=0) - explained).mean())


def over_patients(values: Sequence[float], confidence: float) -> Interval:
    """Their mean, with bounds by Student's t; of one patient there are none, of nobody no mean either."""
    known = np.asarray(values, dtype=np.float64)
    if len(known) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = float(known.mean())
    if len(known) == 1:
        return Interval(mean, float("nan"), float("nan"))
    reach = float(t.ppf((1 + confidence) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return Interval(mean, mean - reach, mean + reach)
