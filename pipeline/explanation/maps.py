"""Maps of the most suspicious cells of some test patients, and all that is asked of each to judge them.

What is measured of a map is here, in numbers; which of it is good enough is `checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import spearmanr

from pipeline.bags.scoring import Floats
from pipeline.common.params_judging import Explain
from pipeline.demo.cells import Place
from pipeline.explanation import occlusion
from pipeline.explanation.occlusion import Images
from pipeline.explanation.scorers import Scorer
from pipeline.explanation.tested import Patient
from pipeline.images import decoding

Reader = Callable[[str], Images]  # of an image by its path, as delivered


@dataclass
class Map:
    """One cell's map `(blocks, blocks)`, and what was found of it; None where it could not be asked.

    `suspicious`: it is one of the patient's most suspicious cells; others were looked at for their marks. `area`: how much
    faster the score falls in the map's order than in a random one. `mass`, `size`: parts of the map's mass and of the image
    that lie in the cell. `hit`, `chance`: parts of the block that it points at, and of the cell, that planted marks cover.
    `likeness`: how like it was, by rank, after each layer that was made random.
    """

    patient: str
    image: str
    heat: Floats
    area: float
    suspicious: bool
    mass: float | None = None
    size: float | None = None
    hit: float | None = None
    chance: float | None = None
    likeness: dict[str, float] = field(default_factory=dict)


def chosen(one: Patient, cells: int, places: Mapping[str, Place]) -> tuple[list[int], list[int]]:
    """The patient's images that speak most for the subtype, as rows; and of those with planted marks the first others.

    So the pointing game is played on as many cells, whether or not the model suspects the right ones.
    """
    changes = np.where(np.isnan(one.changes), one.alone, one.changes)
    ranked = [int(row) for row in np.argsort(-changes, kind="stable")]
    marked = [row for row in ranked if (place := places.get(one.images[row])) and place.marks.any()][:cells]
    return ranked[:cells], [row for row in marked if row not in ranked[:cells]]


def look(
    scorer: Scorer, people: Sequence[Patient], settings: Explain, read: Reader, places: Mapping[str, Place], seed: int
) -> list[Map]:
    """The maps of the chosen cells of `people`, all of one fold, whose scorer this is.

    Layers are made random once for all: of each patient the first cell is looked at again after every one.
    """
    found, again = [], []
    for number, one in enumerate(people):
        suspicious, marked = chosen(one, settings.cells, places)
        images = {row: decoding.resize(read(one.images[row]), scorer.px) for row in (*suspicious, *marked)}
        colour = occlusion.mean_colour(np.stack([images[row] for row in suspicious]))
        for place, (row, image) in enumerate(images.items()):
            score = scorer.score(one.bag, row)
            heat = occlusion.heat(score, image, colour, settings.blocks)
            area = occlusion.deletion_area(score, image, colour, heat, settings.random_orders, [seed, number, row])
            one_map = Map(one.patient, one.images[row], heat, area, place < len(suspicious))
            _look_inside(one_map, places.get(one.images[row]))
            found.append(one_map)
            if place == 0:
                again.append((one_map, one, row, image, colour))
    for layer in scorer.randomised(np.random.default_rng(seed)):
        for one_map, one, row, image, colour in again:
            heat = occlusion.heat(scorer.score(one.bag, row), image, colour, settings.blocks)
            one_map.likeness[layer] = likeness(one_map.heat, heat)
    return found


def likeness(one: Floats, other: Floats) -> float:
    """Spearman's correlation of two maps, whatever its sign: a map turned over shows the same places. 0 if either is flat."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return abs(float(spearmanr(one, other, axis=None).statistic))


def _look_inside(found: Map, place: Place | None) -> None:
    if place is None:
        return
    found.mass, found.size = occlusion.mass_inside(found.heat, place.body), float(place.body.mean())
    if place.marks.any():
        found.hit = occlusion.pointed_at(found.heat, place.marks)
        found.chance = float(place.marks.sum() / place.body.sum())
