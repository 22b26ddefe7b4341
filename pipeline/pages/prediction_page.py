"""One patient's page: what the champions make of his or her images, and the cells that speak most for each subtype.

One file, filled into prediction_page.html.j2. Of the images only those shown are read again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common.config import Config
from pipeline.drift import summaries
from pipeline.drift.look import Watched
from pipeline.evaluation import genetics
from pipeline.evaluation.pooling import probabilities
from pipeline.images import decoding, reading
from pipeline.pages import contact_sheet, explained_page, rendering
from pipeline.registry.champions import Champion

TEMPLATE, INDEX_TEMPLATE = "prediction_page.html.j2", "prediction_index.html.j2"
INDEX = "index.html"
_ON_A_SHEET = 8
_CELL_PX = 144
_MANY_UNLIKE = 0.1  # share of a patient's images from which the page speaks of it


@dataclass(frozen=True)
class Found:
    """What was found in all patients, by which models, in images of how many micrometres."""

    models: Sequence[Champion]
    um: float
    table: pd.DataFrame  # a row a patient and subtype
    scored: pd.DataFrame  # a row an image and subtype
    left_out: pd.DataFrame  # a row a file that does not count
    call: Champion | None = None  # gives one answer of all classes
    calls: pd.DataFrame = field(default_factory=pd.DataFrame)  # a row a patient, as it answers
    why: Mapping[tuple[str, str], explained_page.Why] = field(default_factory=dict)  # by patient and subtype, if asked
    watched: Watched | None = None  # of the newest patients together


def file_name(patient: str) -> str:
    """The file name of a patient's page; nobody's is the index's."""
    return f"{patient}.html" if f"{patient}.html".lower() != INDEX else f"patient {patient}.html"


def render(config: Config, found: Found, patient: str, files: Mapping[str, Path]) -> str:
    """The page of one patient, whose image files are in `files`, by name."""
    own = found.scored[found.scored["patient"] == patient]
    rows = {str(row["subtype"]): row for row in found.table[found.table["patient"] == patient].to_dict("records")}
    unlike = own[own["unlike"] != ""].groupby("image", sort=False)
    here = config.validate_.min_images_per_patient  # where a model of an earlier version does not say
    fewest = max(int(model.settings.get("fewest_images", here)) for model in found.models)

    def by_name(image: str) -> NDArray[np.uint8]:
        return reading.pixels(files[image])

    return rendering.template(TEMPLATE).render(
        aml=genetics.all_known(model.subtype for model in found.models),
        patient=patient,
        images=own["image"].nunique(),
        known=max((row["images_known"] for row in rows.values()), default=0),
        few=own["image"].nunique() < fewest,
        fewest=fewest,
        many_unlike=unlike.ngroups > _MANY_UNLIKE * own["image"].nunique(),
        unlike=[(image, list(zip(of_image["subtype"], of_image["unlike"], strict=True))) for image, of_image in unlike],
        left_out=found.left_out[found.left_out["patient"] == patient].to_dict("records"),
        threshold=config.evaluate.threshold,
        control=config.control,
        drifted=found.watched is not None and found.watched.look.alarm,
        um=found.um,
        call=_call(found, patient),
        why=[
            {"subtype": subtype, "why": why, "sheets": list(explained_page.sheets(why, by_name))}
            for (who, subtype), why in found.why.items()
            if who == patient
        ],
        tests=[
            {
                **rows[model.subtype],
                "genetics": genetics.NAMES.get(model.subtype, {}),
                "settings": model.settings,
                "point": point_name(model),
                "tested": {label: probabilities(own["logit"]).tolist() for label, own in model.tested.groupby("label")},
                "sheet": None if model.of_patients else _sheet(own[own["subtype"] == model.subtype], files),
            }
            for model in found.models
        ],
    )


def _call(found: Found, patient: str) -> dict[str, Any] | None:
    """The answer of all classes for a patient, and the classes by falling probability."""
    if found.call is None:
        return None
    (row,) = found.calls[found.calls["patient"] == patient].to_dict("records")
    ranked = sorted(found.call.settings["classes"], key=lambda name: -row[f"probability_{name}"])
    classes = [{"name": name, "probability": row[f"probability_{name}"], "kept": name in row["set"].split()} for name in ranked]
    return {**{str(key): value for key, value in row.items()}, "classes": classes, "coverage": found.call.settings["coverage"]}


def render_index(config: Config, found: Found, patients: Sequence[str]) -> str:
    """A page with a row a patient, also those of whom no image counts, that links to theirs."""
    rows = {patient: own.set_index("subtype") for patient, own in found.table.groupby("patient", sort=False)}
    answers = dict(zip(found.calls["patient"], found.calls["answer"], strict=True)) if found.call else {}
    subtypes = [model.subtype for model in found.models]
    return rendering.template(INDEX_TEMPLATE).render(
        aml=genetics.all_known(subtypes),
        control=config.control,
        subtypes=subtypes,
        demo=any(model.settings["cohort"]["source"] == "demo" for model in found.models),
        drift=_drift(found.watched),
        points=_points(found.models),
        called_jointly=found.call is not None,
        known=found.table.loc[found.table["images_known"] > 0, "patient"].nunique(),
        patients=[
            {
                "name": patient,
                "page": quote(file_name(patient)),
                "images": int(rows[patient]["images"].max()) if patient in rows else 0,
                "left_out": int((found.left_out["patient"] == patient).sum()),
                "tests": rows[patient].loc[subtypes].to_dict("records") if patient in rows else [],
                "answer": answers.get(patient),
            }
            for patient in patients
        ],
    )


def _points(models: Sequence[Champion]) -> str:
    """Above what a patient is called: once where it is the same for all models."""
    said = {model.subtype: f"the {point_name(model)} {model.settings['operating_point']:.3f}" for model in models}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return ", ".join(f"{subtype}: {point}" for subtype, point in said.items())


def _drift(watched: Watched | None) -> dict[str, Any] | None:
    """A look as the page shows it: by view its figures, and how far every patient stands from those of training."""
    if watched is None or not watched.look.new:
        return None
    views = watched.look.found.views if watched.look.found else {}
    farthest = max((far for parts in watched.standing.values() for part in parts for far in part), default=1.0)
    shown = [
        {
            "name": name,
            "looks_at": summaries.VIEWS[name],
            "found": views.get(name),
            "known": [100 * far / farthest for far in known],
            "new": [100 * far / farthest for far in new],
            "middle": 100 / farthest,
        }
        for name, (known, new) in watched.standing.items()
    ]
    return {"look": watched.look, "model": watched.model, "views": shown}


def point_name(model: Champion) -> str:
    """What the threshold of a model is called: where no fold had controls enough, no operating point was chosen."""
    return "usual threshold" if model.settings.get("operating_point_chosen") == [] else "operating point"


def _sheet(scored: pd.DataFrame, files: Mapping[str, Path]) -> dict[str, Any]:
    """The images that speak most for the subtype, as a picture, and what stands below each."""
    prefix = _common_start([_stem(name) for name in scored["image"]])
    chosen = scored.sort_values(["logit", "image"], ascending=[False, True]).head(_ON_A_SHEET)
    shown_as = zip(chosen["image"], chosen["score"], strict=True)
    captions = [f"{_stem(name).removeprefix(prefix)}: {rendering.score(score)}" for name, score in shown_as]
    cells = np.stack([decoding.resize(reading.pixels(files[name]), _CELL_PX) for name in chosen["image"]])
    return {
        "captions": captions,
        "prefix": prefix,
        "picture": rendering.data_uri(contact_sheet.png(contact_sheet.compose(cells, captions))),
    }


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _common_start(names: Sequence[str]) -> str:
    """What all names begin with, up to their number: `image_` of image_1 and image_10."""
    first, last = min(names), max(names)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return re.sub(r"\d+$", "", first[:same])
