"""Why, of a patient who is new: what the champions make of each cell, and maps of pixels that have passed their checks.

The checks are those that `explain` made of the very folds that the champion holds, told by their digests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.bags import scoring
from pipeline.bags.scoring import Floats
from pipeline.common import paths
from pipeline.common.params_judging import Explain
from pipeline.explanation import cells, occlusion
from pipeline.explanation.occlusion import Images, Score
from pipeline.images.decoding import Pixels
from pipeline.pages.explained_page import Why
from pipeline.registry.champions import Champion, FoldBag


class Whys:
    """What is found, patient by patient, by all champions, and how long that takes."""

    def __init__(self, models: Sequence[Champion], settings: Explain, um: float) -> None:
        self._models, self._settings, self._um = models, settings, um
        self.found: dict[tuple[str, str], Why] = {}  # by patient and subtype
        self._patients, self._seconds = 0, 0.0

    def ask(
        self, patient: str, images: Mapping[str, Mapping[int, Pixels]], logits: Mapping[tuple[object, object], object]
    ) -> None:
        """Of all images of a patient, by name and side; `logits` by subtype and name, where the champion scores images."""
        start = time.monotonic()
        for model in self._models:
            seen = {name: by_side[int(model.settings["px"])] for name, by_side in images.items()}
            own = None if model.of_patients else np.array([logits[model.subtype, name] for name in seen], dtype=np.float64)
            self.found[patient, model.subtype] = explain(
                model, seen, own, self._um, self._settings.cells, self._settings.blocks
            )
        self._patients, self._seconds = self._patients + 1, self._seconds + time.monotonic() - start

    def took(self) -> str:
        """How long, in words."""
        return f"{self._seconds / max(self._patients, 1):.1f} s a patient"


def explain(model: Champion, images: Mapping[str, Pixels], logits: Floats | None, um: float, maps: int, blocks: int) -> Why:
    """Of one patient; `images` by name, in the side that the model sees, `logits` those of a model that scores images."""
    names, pixels = list(images), np.stack(list(images.values()))
    folds = model.bags(list(pixels)) if logits is None else []
    if logits is None:
        without = [cells.left_out(one.learner, one.coefficients, one.vectors) / one.temperature for one in folds]
        whole = [scoring.logits(one.learner, one.coefficients, [one.vectors])[0] / one.temperature for one in folds]
        changes = np.asarray(np.mean(whole) - np.mean(without, axis=0))
    else:
        changes = logits.mean() - cells.mean_left_out(logits)
    order = np.argsort(-np.nan_to_num(changes), kind="stable")
    parts = cells.shares(np.nan_to_num(changes))
    no_cells, no_maps = left_away(model)
    shares = {} if no_cells else {names[row]: float(parts[row]) for row in order}
    if no_maps:
        return Why(shares, {}, no_cells, no_maps)
    chosen = [int(row) for row in order[:maps]]
    colour = occlusion.mean_colour(pixels[chosen])
    found = {names[row]: occlusion.heat(_score(model, folds, row, um), pixels[row], colour, blocks) for row in chosen}
    return Why(shares, found)


def left_away(model: Champion) -> tuple[str, str]:
    """Why the champion's order of cells, and why its maps, are not to be shown; empty of what nothing speaks against.

    Cells left out are exact whatever was checked; maps are shown only if they passed.
    """
    command = f"`python -m pipeline explain {model.subtype}` checks them, where the model was trained"
    why_none = f"no checks of this model’s maps are here; {command}"
    for file in sorted(paths.explained(model.subtype, "any").parent.glob("*/checks.json")):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["weights"] != model.weights:
                continue
            left_out, failed = found["cells"][0]["passed"], [one["key"] for one in found["pixels"] if not one["passed"]]
            no_maps = f"its maps failed “{'”, “'.join(failed)}”" if failed else found["no_maps"]
        except (ValueError, KeyError, TypeError, IndexError):
            why_none = f"{file} cannot be read; {command}"  # of this model or of another: nobody can tell
            continue
        return "" if left_out else "their order failed its check, which is deletion", no_maps
    return "", why_none


def _score(model: Champion, folds: Sequence[FoldBag], row: int, um: float) -> Score:
    """What other pixels at `row` make of the patient's logit, as `scorers` has it of one fold."""
    if not folds:
        return lambda images: model.logits(list(images), um)

    def score(images: Images) -> Floats:
        new = model.bags(list(images))
        of_folds = [
            len(one.vectors) * cells.exchanged(one.learner, one.coefficients, one.vectors, row, other.vectors) / one.temperature
            for one, other in zip(folds, new, strict=True)
        ]
        return np.asarray(np.mean(of_folds, axis=0))

    return score
