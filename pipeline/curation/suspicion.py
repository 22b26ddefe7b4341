"""How leukaemic an image looks, by a logistic regression on vectors that has not seen the patient.

It learns the label of the patients, controls against a subtype. Controls are clean negatives; of the subtype's patients many
images show normal cells. So it learns twice: the second time an image of theirs counts by its rank among the patient's images
in a first pass over inner folds, in which nobody is ranked by what was learned on him or her.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.bags import inner_folds, instances, scoring
from pipeline.bags.inner_folds import Ints
from pipeline.bags.scoring import Bag, Floats
from pipeline.common.errors import DataError
from pipeline.common.params_searching import Suspect

_FEWEST = 2  # patients of a class


def require_enough(labels: Ints, what: str) -> None:
    """Refuse to learn from fewer than two patients of a class, of whom one is held out in turn.

    Raises:
        DataError: says of what.
    """
    if (fewest := int(np.bincount(labels, minlength=2).min())) < _FEWEST:
        raise DataError(f"{what}: {fewest} patients of a class to learn from, {_FEWEST} are needed; bring more patients")


def by_others(bags: Sequence[Bag], labels: Ints, settings: Suspect, folds: Iterable[tuple[Ints, Ints]]) -> list[Floats]:
    """Logits of every bag's images, by a regression once learned on the first rows of the pair that holds the bag second."""
    found = [np.empty(0)] * len(bags)
    for rows, others in folds:
        learned = instances.of_images([_shown(bags[row], settings) for row in rows], labels[rows], settings.penalty)
        for row in others:
            found[row] = scoring.image_logits(learned, bags[row])
    return found


def weights(bags: Sequence[Bag], labels: Ints, settings: Suspect, seed: int) -> list[Floats]:
    """How much every image counts among its patient's: 1 of a control, of the others the rank of its logit, from 0 to 1."""
    logits = by_others(bags, labels, settings, inner_folds.deal(labels, settings.inner_folds, seed))
    return [ranks(own) if label else np.ones(len(own)) for own, label in zip(logits, labels, strict=True)]


def learn(bags: Sequence[Bag], labels: Ints, settings: Suspect, seed: int) -> dict[str, Floats]:
    """The regression learned twice, as `scoring.image_logits` reads it."""
    shown = [_shown(bag, settings) for bag in bags]
    return instances.of_images(shown, labels, settings.penalty, weights(shown, labels, settings, seed))


def ranks(logits: Floats) -> Floats:
    """Ranks as shares of their number, in the middle of their steps: of four images 1/8, 3/8, 5/8 and 7/8; ties by order."""
    found = np.empty(len(logits))
    found[np.argsort(logits, kind="stable")] = (np.arange(len(logits)) + 0.5) / len(logits)
    return found


def _shown(bag: Bag, settings: Suspect) -> Bag:
    return instances.evenly(bag, settings.images_per_patient)
