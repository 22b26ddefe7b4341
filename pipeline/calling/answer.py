"""What a call says of a patient: a probability for every class, and the set of classes that cannot be ruled out.

Arrays of classes are in the order control, subtypes. This file travels with every registered call, so that a patient is
answered by it as the figures were measured; it imports nothing of this package, and nothing but NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_TINY = 1e-9  # a coverage in decimals is not exact
_SAME = 1e-12  # strangeness that differs by less is the same
UNSURE, NONE = "can't say", "none of these"


def logits(coefficients: Mapping[str, Floats], table: Floats) -> Floats:
    """A logit for every class, `(patients, classes)`, of features `(patients, features)`."""
    return np.asarray(table @ coefficients["weights"] + coefficients["intercept"], dtype=np.float64)


def probabilities(values: Floats, temperature: float = 1.0) -> Floats:
    """Logits `(..., classes)` as probabilities, which add up to 1 over the classes."""
    x = values / temperature
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def strangeness(values: Floats) -> Floats:
    """How unlike a class a patient with these logits is, `(..., classes)`: the higher, the less probable the class is."""
    return 1 - probabilities(values)


def p_values(known: Sequence[tuple[Ints, Floats]], own: Sequence[Floats]) -> Floats:
    """The share of a class's known patients who are as strange in it, the patient counted in, `(patients, classes)`.

    By fold, each by a model that has seen neither: `known` has the class and the strangeness in it of patients whose class is
    known, `own` the strangeness in every class of the patients asked about, `(patients, classes)`. Class by class (Vovk,
    Gammerman & Shafer 2005, Algorithmic Learning in a Random World, 4.5), over the folds together (Vovk 2015, Annals of
    Mathematics and Artificial Intelligence 74:9). A patient between two known ones has a rank between theirs, in proportion
    (Hutson 1999, Journal of Applied Statistics 26:343): whole ranks of few patients would keep more than is asked for.
    """
    patients, classes = own[0].shape
    found = np.ones((patients, classes))
    for label in range(classes):
        stranger = np.concatenate(
            [strange[of == label] - values[:, label, None] for (of, strange), values in zip(known, own, strict=True)], axis=1
        )
        as_strange = stranger >= -_SAME
        next_above = np.where(as_strange, stranger, np.inf).min(axis=1, initial=np.inf)
        next_below = np.where(as_strange, -np.inf, stranger).max(axis=1, initial=-np.inf)
        between = (next_above > _SAME) & np.isfinite(next_above) & np.isfinite(next_below)
        part = np.divide(-next_below, next_above - next_below, out=np.zeros(patients), where=between)
        found[:, label] = (1 + as_strange.sum(axis=1) - part) / (1 + stranger.shape[1])
    return found


def inside(p_values: Floats, coverage: float) -> NDArray[np.bool_]:
    """Which classes cannot be ruled out, of the shape of `p_values`."""
    return np.asarray(p_values > 1 - coverage + _TINY)


def in_words(chosen: Sequence[str]) -> str:
    """The answer that a set of classes amounts to."""
    if not chosen:
        return NONE
    return chosen[0] if len(chosen) == 1 else f"{UNSURE}: {' or '.join(chosen)}"
