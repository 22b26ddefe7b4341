"""Whether one order of the same patients is better than another by more than chance: exchanges of their places.

`places` `(..., 2, n)` are those of n patients in the order of their fold, by a candidate and by a champion; `y` and `fold` are
`(n,)`. Leading axes are other comparisons of as many patients in the same folds, each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
_LEAST = 1e-9  # sums are rounded


@dataclass(frozen=True)
class Compared:
    """The AUROCs within folds of both `(..., 2)`, the gain of the first, its spread and its chance under exchanges `(...)`."""

    aurocs: Floats
    gain: Floats
    spread: Floats
    chance: Floats


def places(logits: Floats, folds: NDArray[Any]) -> Floats:
    """Each patient's place `(..., n)` in the order of the fold, between 0 and 1, ties in the middle."""
    found = np.empty(logits.shape)
    for fold in np.unique(folds):
        own = folds == fold
        found[..., own] = rankdata(logits[..., own], axis=-1) / (own.sum() + 1)
    return found


def compare(places: Floats, y: NDArray[np.int64], fold: NDArray[Any], draws: int, seed: int) -> Compared:
    """Hold the first against the second.

    Were the candidate no better, each patient's two places might as well be exchanged: `chance` is the share of `draws` such
    exchanges, by a coin for each patient, that have as high a gain (Bandos, Rockette & Gur 2005, Statistics in Medicine
    24:2873; Venkatraman & Begg 1996, Biometrika 83:835). Where they spread less than the gain itself they are stretched:
    what is of a pair and not of its two patients is halved between them, and where one class spreads more than the other a few
    of its patients decide.
    """
    shares, aurocs, variance = _shares(places, y, fold)
    gain, spread = shares.sum(axis=-1), (shares**2).sum(axis=-1)
    wider = np.sqrt(np.maximum(np.divide(variance, spread, out=np.ones_like(spread), where=spread > 0), 1))
    coins = np.random.default_rng(seed).integers(2, size=(draws, len(y)), dtype=np.int8).astype(np.float64)
    exchanged = wider * (2 * np.tensordot(coins, shares, axes=(1, -1)) - gain)
    reached = (1 + (exchanged >= gain - _LEAST).sum(axis=0)) / (1 + draws)
    return Compared(aurocs, gain, wider * np.sqrt(spread), np.where(gain > _LEAST, reached, 1.0))


def _shares(places: Floats, y: NDArray[np.int64], fold: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """What each patient `(..., n)` adds to the gain, both AUROCs `(..., 2)`, and the gain's variance `(...)`.

    Exchanging a patient's two places turns the sign of his or her share and leaves the others' shares alone. The variance is
    right on average, whoever is better: the covariances of any two pairs that share a patient, about the squared mean as pairs
    have it that share none.
    """
    shares, aurocs = np.zeros((*places.shape[:-2], len(y))), np.zeros(places.shape[:-1])
    products, together, pairs = np.zeros(places.shape[:-2]), 0, 0
    for own in (fold == number for number in np.unique(fold)):
        controls, others = np.flatnonzero(own & (y == 0)), np.flatnonzero(own & (y == 1))
        # above[..., a, b, i, j]: whether place a of patient j lies above place b of control i
        of_others, of_controls = places[..., others], places[..., controls]
        above = np.sign(of_others[..., :, None, None, :] - of_controls[..., None, :, :, None])
        same, crossed = above[..., 0, 0, :, :] - above[..., 1, 1, :, :], above[..., 0, 1, :, :] - above[..., 1, 0, :, :]
        shares[..., others] += (same + crossed).sum(axis=-2) / 4
        shares[..., controls] += (same - crossed).sum(axis=-1) / 4
        aurocs += np.stack([(1 + above[..., model, model, :, :]).sum(axis=(-1, -2)) / 2 for model in (0, 1)], axis=-1)
        pairs += len(controls) * len(others)
        gains = same / 2
        squares = sum((gains.sum(axis=axis) ** 2).sum(axis=-1) for axis in (-1, -2))
        products += squares - (gains**2).sum(axis=(-1, -2))
        together += len(controls) * len(others) * (len(controls) + len(others) - 1)
    shares, share = shares / pairs, together / pairs**2  # of all two pairs, those that share a patient
    off = products / pairs**2 - share * shares.sum(axis=-1) ** 2
    return shares, aurocs / pairs, off / (1 - share) if share < 1 else np.zeros_like(off)
