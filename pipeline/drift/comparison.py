"""Two groups of patients compared by what is known of each, a row a patient: a permutation test. No file is read here.

The patient is what is exchanged: 400 images of one patient are one witness. Views are looked at together: one p-value for all
of them, and one a view that is corrected for their number. Patients are exchanged within a stratum alone (a class), so that
another mix of classes is no difference. Nothing is fitted to one group: whatever is scaled is scaled over both, so the test
is exact however few the new patients are; of a single one it is the rank of its distance among those of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
_SAME = 1e-9  # statistics that differ by no more, of the largest, are a tie: sums in another order are not the same


@dataclass(frozen=True)
class ViewFound:
    """What one view says: how far apart the groups are, in how many of the distances that exchange gives, and how rarely that.

    `times` is the distance of the groups by that of exchanged patients on average: 1 where nothing differs. `p_value` stands
    alone, `p_of_all` is that of the view among all that were looked at (Westfall & Young 1993, single step).
    """

    times: float
    p_value: float
    p_of_all: float


@dataclass(frozen=True)
class Found:
    """The comparison: how many were compared, the chance of such a difference in any view, and what each view says."""

    known: int
    new: int
    p_value: float
    least_p: float  # below which no p can be, with so few patients and exchanges
    views: dict[str, ViewFound]


def compare(
    known: Mapping[str, Floats],
    new: Mapping[str, Floats],
    known_strata: ArrayLike,
    new_strata: ArrayLike,
    permutations: int,
    seed: int,
) -> Found | None:
    """Compare patients by views, each `(patients, numbers)` of the same names and columns in both groups.

    A new patient of a stratum that no known one belongs to is left out; None where nobody is left.
    """
    old, fresh = np.asarray(known_strata, dtype=object), np.asarray(new_strata, dtype=object)
    shared = sorted(set(old) & set(fresh), key=str)
    if not shared:
        return None
    rng = np.random.default_rng(seed)
    statistics = np.zeros((permutations + 1, len(known)))
    ways, counted, compared = 1.0, 0, 0
    scaled = {name: _scaled(known[name], new[name]) for name in known}
    for stratum in shared:
        here, there = np.flatnonzero(old == stratum), np.flatnonzero(fresh == stratum)
        rows, n = np.concatenate([here, len(old) + there]), len(there)
        chosen = _exchanged(len(here), n, permutations, rng)
        for column, values in enumerate(scaled.values()):
            statistics[:, column] += _energy(cdist(values[rows], values[rows]), chosen, n)
        counted, compared = counted + len(here), compared + n
        ways = min(ways * _choose(len(rows), n), 1e12)
    alone = np.column_stack([_ranks(column) for column in statistics.T])
    smallest = alone.min(axis=1)
    views = {
        name: ViewFound(
            float(statistics[0, column] / max(float(statistics[1:, column].mean()), 1e-300)),
            float(alone[0, column]),
            _share(smallest, float(alone[0, column])),
        )
        for column, name in enumerate(scaled)
    }
    return Found(counted, compared, _share(smallest, float(smallest[0])), max(1 / (permutations + 1), 1 / ways), views)


def distances(known: Floats, new: Floats, known_strata: ArrayLike, new_strata: ArrayLike) -> tuple[list[float], list[float]]:
    """How far each patient is, on average, from the known ones of the stratum but for him- or herself; 1 is the known's median.

    Whoever has nobody to be held against has no distance.
    """
    old, fresh = np.asarray(known_strata, dtype=object), np.asarray(new_strata, dtype=object)
    apart = cdist(_scaled(known, new), _scaled(known, new)[: len(known)])
    others = np.concatenate([old, fresh])[:, None] == old[None, :]
    others[: len(old)] &= ~np.eye(len(old), dtype=bool)
    counts = others.sum(axis=1)
    mean = np.where(counts > 0, (apart * others).sum(axis=1) / np.maximum(counts, 1), np.nan)
    middle = np.nanmedian(mean[: len(old)]) if (counts[: len(old)] > 0).any() else np.nan
    relative = mean / middle if middle > 0 else np.full(len(mean), np.nan)
    parts = relative[: len(old)], relative[len(old) :]
    first, second = ([float(one) for one in part if np.isfinite(one)] for part in parts)
    return first, second


def _scaled(known: Floats, new: Floats) -> Floats:
    """Both groups below each other, every number by its spread over all of them; one that is the same of all says nothing."""
    values = np.concatenate([known, new]).astype(np.float64)
    values = values - values.mean(axis=0)
    spread = values.std(axis=0)
    return np.asarray(values / np.where(spread > _SAME, spread, np.inf) / np.sqrt(values.shape[1]))


def _exchanged(known: int, new: int, permutations: int, rng: np.random.Generator) -> Floats:
    """Who is taken for new, 1 or 0 `(1 + permutations, known + new)`; as it was in the first row, where these come last."""
    ranks = rng.random((permutations, known + new)).argsort(axis=1)
    first = np.repeat([0.0, 1.0], [known, new])
    return np.concatenate([first[None, :], (ranks < new).astype(np.float64)])


def _energy(distances: Floats, chosen: Floats, new: int) -> Floats:
    """The energy statistic of every row of `chosen` (Szekely & Rizzo 2013, J. Stat. Plan. Inference 143:1249)."""
    known = distances.shape[0] - new
    to_chosen = chosen @ distances
    within = (to_chosen * chosen).sum(axis=1)
    to_all = chosen @ distances.sum(axis=1)
    apart, others = to_all - within, distances.sum() - 2 * to_all + within
    energy = 2 * apart / (new * known) - within / new**2 - others / known**2
    return np.asarray(energy * (new * known / (new + known)), dtype=np.float64)


def _ranks(statistic: Floats) -> Floats:
    """Of every exchange, the share of all that reach as much."""
    tolerance = _SAME * max(float(np.abs(statistic).max()), 1e-300)
    ordered = np.sort(statistic)
    return np.asarray((len(statistic) - np.searchsorted(ordered, statistic - tolerance, "left")) / len(statistic))


def _share(smallest: Floats, p_value: float) -> float:
    return float((smallest <= p_value + _SAME).mean())


def _choose(of: int, taken: int) -> float:
    ways = 1.0
    for number in range(min(taken, of - taken)):
        ways *= (of - number) / (number + 1)
        if ways > 1e12:
            return 1e12
    return ways
