"""Whose images lie next to an image among the vectors: of the same class, of the same batch, or of the same patient?

In the spirit of the robustness index (de Jong et al. 2025, arXiv:2501.18055; Koemen et al. 2026, Nature Communications 17,
doi 10.1038/s41467-026-73923-2), by patient: neighbours are of other patients, every patient weighs the same, and chance is what
labels reach that were exchanged among patients, never among images. No file is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.auditing.check_result import AMBER, CLEAR, NOTHING, RED, Check
from pipeline.auditing.permutation import Floats, Integers, shuffled

NEIGHBOURS, IMAGES = 10, 30  # of an image; of a patient, at most: the first, so that none is drawn
_ROWS = 256  # images held against all others at a time: bounds the memory
_NAME, _QUESTION = "neighbours", "Do the vectors lie together by class rather than by {}?"
_RULE = (
    "red when batches lie together by more than chance and classes do not, or more neighbours share the batch alone than the "
    "class alone (robustness index below .5); clear when classes do by more than chance; else, or when no batch holds both "
    "classes, amber (p below {:g}, labels exchanged among patients); of single patients, who may be alike for good reasons, "
    "never red"
)
_ADVICE = (
    "the learner may tell by the laboratory: compare with colour_only, augment colours more strongly, bring patients of both "
    "classes from each batch, or try another encoder"
)
_MORE = "bring patients of both classes from each batch, and more of them: until then nothing is said either way"


@dataclass(frozen=True)
class Near:
    """Images and those nearest to them."""

    patients: Integers  # by number, of every image `(n,)`
    nearest: Integers  # `(n, NEIGHBOURS)`, the places of the nearest of all other images, or of all where these are fewer
    shares: Floats  # `(patients, patients)`: of the nearest images of others, how many are of whom; a row adds up to 1


def near(bags: Sequence[NDArray[np.float32]]) -> Near:
    """Of patients' vectors `(images, dimension)`, by the angle between them."""
    used = [np.asarray(bag[:IMAGES], dtype=np.float32) for bag in bags]
    patients = np.repeat(np.arange(len(used)), [len(bag) for bag in used])
    vectors = np.concatenate(used)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    nearest, counts = list[Integers](), np.zeros((len(used), len(used)))
    for start in range(0, len(vectors), _ROWS):
        here = np.arange(start, min(start + _ROWS, len(vectors)))
        alike = vectors[here] @ vectors.T
        alike[np.arange(len(here)), here] = -np.inf
        nearest.append(_first(alike)[:, : len(vectors) - 1])
        alike[patients[here, None] == patients] = -np.inf
        others = _first(alike)
        row, place = np.nonzero(np.isfinite(np.take_along_axis(alike, others, axis=1)))  # who has few others has no more
        np.add.at(counts, (patients[here[row]], patients[others[row, place]]), 1.0)
    return Near(patients, np.concatenate(nearest), counts / counts.sum(axis=1, keepdims=True))


def _first(alike: NDArray[np.float32]) -> Integers:
    """Of every row the columns of the highest values, the first of equal ones first."""
    return np.argsort(-alike, axis=1, kind="stable")[:, :NEIGHBOURS]


def check(
    bags: Sequence[NDArray[np.float32]],
    classes: Integers,
    batches: Sequence[str],
    permutations: int,
    seed: int,
    significance: float,
) -> Check:
    """The answer for patients of these classes and batches ("" where it is not known)."""
    known = len({batch for batch in batches if batch}) > 1 and all(batches)
    found, rng = near(bags), np.random.default_rng(seed)
    batch = np.unique(np.array(batches), return_inverse=True)[1].astype(np.int64) if known else np.zeros(len(bags), np.int64)
    of_class = _against_chance(_together(found.shares, classes), classes, batch, permutations, rng)
    own = _own_share(found, classes, permutations, rng)
    value: dict[str, Any] = {"class": of_class, "patient": own, "patients": len(bags), "images": len(found.patients)}
    of_chance = f"by chance {of_class['chance']:.0%}, p {of_class['p_value']:.3f}"
    told = f"neighbours of the same class {of_class['share']:.0%} ({of_chance})"
    by_class = of_class["p_value"] < significance
    if known:
        of_batch = _against_chance(_together(found.shares, batch), batch, classes, permutations, rng)
        class_alone, batch_alone = _alone(found.shares, classes, batch), _alone(found.shares, batch, classes)
        mixed = any(len(set(classes[batch == one].tolist())) > 1 for one in set(batch.tolist()))
        index = class_alone / (class_alone + batch_alone) if class_alone + batch_alone else float("nan")
        value |= {"batch": of_batch, "robustness_index": index}
        told += f", of the same batch {of_batch['share']:.0%} ({of_batch['chance']:.0%}, p {of_batch['p_value']:.3f})"
        told += f"; robustness index {index:.2f}" if mixed else "; no batch holds both classes"
        red = mixed and of_batch["p_value"] < significance and (not by_class or index < 0.5)
    else:
        told += f", of the same patient {own['share']:.0%} of all ({own['chance']:.0%}, p {own['p_value']:.3f})"
        red, mixed = False, True
    state = RED if red else CLEAR if by_class and mixed else AMBER
    asked = _QUESTION.format("batch" if known else "patient")
    return Check(_NAME, asked, told, value, _RULE.format(significance), state, {RED: _ADVICE, AMBER: _MORE, CLEAR: ""}[state])


def no_vectors(why: str) -> Check:
    """The check where there is nothing to look at."""
    return Check(_NAME, _QUESTION.format("batch or patient"), f"nothing: {why}", None, "not asked", NOTHING, "")


def _together(shares: Floats, labels: Integers) -> Callable[[Integers], float]:
    """The share of neighbours with one's own label, of labels given anew; every label weighs the same."""
    weights = 1 / np.bincount(labels)[labels] / len(np.unique(labels))

    def share(given: Integers) -> float:
        return float(((shares * (given[:, None] == given[None, :])).sum(axis=1) * weights).sum())

    return share


def _against_chance(
    share: Callable[[Integers], float], labels: Integers, within: Integers, permutations: int, rng: np.random.Generator
) -> dict[str, float]:
    """The share with the labels as they are, and exchanged among patients of one of `within`."""
    observed = share(labels)
    drawn = np.array([share(shuffled(labels, within, rng)) for _ in range(permutations)])
    return _summed_up(observed, drawn)


def _own_share(found: Near, classes: Integers, permutations: int, rng: np.random.Generator) -> dict[str, float]:
    """The share of images of the same patient among the nearest; by chance, with images exchanged within a class."""

    def share(patients: Integers) -> float:
        return float((patients[found.nearest] == patients[:, None]).mean())

    drawn = np.array([share(shuffled(found.patients, classes[found.patients], rng)) for _ in range(permutations)])
    return _summed_up(share(found.patients), drawn)


def _summed_up(observed: float, drawn: Floats) -> dict[str, float]:
    p_value = (1 + int((drawn >= observed - 1e-12).sum())) / (1 + len(drawn))
    return {"share": observed, "chance": float(drawn.mean()), "p_value": p_value}


def _alone(shares: Floats, same: Integers, other: Integers) -> float:
    """The share of neighbours with one's own label of the first kind and another of the second."""
    here, there = (labels[:, None] == labels[None, :] for labels in (same, other))
    return float((shares * (here & ~there)).sum(axis=1).mean())
