"""Patients scored by frozen models: what each says of every image, and of every patient.

Pixels are in memory for some hundred images at a time, of a patient where a model scores patients alone; of such a model
images have no score.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from pipeline.common import console
from pipeline.evaluation.pooling import patient_scores, probabilities
from pipeline.images import decoding
from pipeline.registry import training_range
from pipeline.registry.champions import Champion
from pipeline.scoring import looking
from pipeline.scoring.looking import Seen

_IMAGES_AT_ONCE = 256

PatientLogits: TypeAlias = dict[tuple[str, str], float]  # by patient and subtype
# Told of each patient: usable images as `summaries.of_patient` takes them, the call's answer, and the mean of its vectors.
Told: TypeAlias = Callable[[str, pd.DataFrame, Mapping[str, Any], list[float]], None]
# Told of each patient: its images by name and side, and logits by subtype and name, where models score images.
Asked: TypeAlias = Callable[[str, Mapping[str, Mapping[int, decoding.Pixels]], Mapping[tuple[object, object], object]], None]


def score(
    patients: Mapping[str, Mapping[str, Path]],
    models: Sequence[Champion],
    call: Champion | None,
    um: float,
    ask: Asked | None = None,
    tell: Told | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, PatientLogits, pd.DataFrame]:
    """A row an image and subtype: patient, image, subtype, score, logit, unlike, known; and a row a file left out.

    Known is a picture that the model, or the call, was made from: what it says of it is not what it would say of a new one.

    Score and logit are NaN of a champion that scores patients alone: its logits are the third answer. The fourth is a row a
    patient, as `call` answers.
    """
    chunks = [
        (patient, list(files.items())[start : start + _IMAGES_AT_ONCE])
        for patient, files in patients.items()
        for start in range(0, len(files), _IMAGES_AT_ONCE)
    ]
    sides = {int(model.settings["px"]) for model in (*models, *([call] if call else []))}
    scored: list[tuple[object, ...]] = []
    left_out: list[tuple[str, str, str]] = []
    first_with: dict[str, tuple[str, str]] = {}  # SHA-256 of the pixels -> patient and image
    own: dict[str, str] = {}  # the same of one patient -> image
    shared: list[str] = []
    of_patients: PatientLogits = {}
    bags = [model for model in models if model.of_patients]
    calls: list[dict[str, object]] = []
    bag: list[Seen] = []
    looks: list[dict[str, Any]] = []  # what the patient's images look like, without their pixels
    lasts = {patient: number for number, (patient, _) in enumerate(chunks)}
    with ThreadPoolExecutor() as pool:
        steps = console.track(chunks, len(chunks), f"scoring patients, up to {_IMAGES_AT_ONCE} images a step")
        for number, (patient, files) in enumerate(steps):
            usable = []
            for seen in pool.map(partial(looking.look, sides=sides), files):
                if seen.reason:
                    left_out.append((patient, seen.image, seen.reason))
                elif (same := own.setdefault(seen.sha256, seen.image)) != seen.image:
                    left_out.append((patient, seen.image, f"same pixels as {same}"))
                else:
                    usable.append(seen)
                    owner, first = first_with.setdefault(seen.sha256, (patient, seen.image))
                    shared += [f"{owner}/{first} and {patient}/{seen.image}"] if owner != patient else []
            for model in models if usable else []:
                scored += _rows(patient, usable, model, um, call.made_of if call else frozenset())
            bag += usable if bags or call or ask else []
            looks += [{"pixels_sha256": seen.sha256, **(seen.numbers or {})} for seen in usable] if tell else []
            if number == lasts[patient]:
                answer, vector = call.call_and_vector(_pixels(bag, call), um) if bag and call else ({}, [])
                if call and answer:
                    calls.append({"patient": patient, **answer, "model_version": call.version})
                if tell and looks:
                    tell(patient, pd.DataFrame(looks), answer, vector)
                looks = []
                for model in bags if bag else []:
                    of_patients[patient, model.subtype] = model.patient_logit(_pixels(bag, model), um)
                if bag and ask:
                    logits = {(row[2], row[1]): row[4] for row in scored[-len(bag) * len(models) :]}
                    ask(patient, {one.image: one.resized or {} for one in bag}, logits)
                bag, own = [], {}
    if shared:
        console.warn(f"{len(shared):,} images are the same in two patients, first {shared[0]}: were they mixed up?")
    columns = ["patient", "image", "subtype", "score", "logit", "unlike", "known"]
    left = pd.DataFrame(left_out, columns=["patient", "image", "reason"])
    return pd.DataFrame(scored, columns=columns), left, of_patients, pd.DataFrame(calls)


def _pixels(seen: Sequence[Seen], model: Champion) -> list[decoding.Pixels]:
    return [image.resized[int(model.settings["px"])] for image in seen if image.resized]


def _rows(
    patient: str, usable: Sequence[Seen], model: Champion, um: float, also_known: Collection[str]
) -> Iterator[tuple[object, ...]]:
    known = model.settings["reference"]
    logits = np.full(len(usable), np.nan) if model.of_patients else model.logits(_pixels(usable, model), um)
    for seen, logit, probability in zip(usable, logits, probabilities(logits), strict=True):
        unlike = "; ".join(training_range.differences(seen.side_px, seen.numbers or {}, known))
        is_known = seen.sha256 in model.made_of or seen.sha256 in also_known
        yield patient, seen.image, model.subtype, float(probability), float(logit), unlike, is_known


def by_patient(scored: pd.DataFrame, models: Sequence[Champion], of_patients: PatientLogits, threshold: float) -> pd.DataFrame:
    """A table with a row a patient and subtype: the scores of images pooled, or the patient's own.

    `threshold` is above which an image's score is counted among its patient's `images_above`.
    """
    scored = scored.assign(above=scored["score"] > threshold, differs=scored["unlike"] != "")
    grouped = scored.groupby(["patient", "subtype"], sort=False)
    table = grouped.agg(images=("image", "size"), images_above=("above", "sum"), images_unlike=("differs", "sum"))
    table = table.assign(images_known=grouped["known"].sum()).reset_index()
    by_subtype = {model.subtype: model for model in models}
    points = table["subtype"].map({name: model.settings["operating_point"] for name, model in by_subtype.items()})
    pooled = pd.concat(
        patient_scores(rows, ["patient", "subtype"], **by_subtype[str(name)].settings.get("patient_calibration", {}))
        for name, rows in scored.groupby("subtype")
    )
    table = table.merge(pooled[["patient", "subtype", "score"]], on=["patient", "subtype"]).assign(operating_point=points)
    if of_patients:  # calibrated as they come
        own = [of_patients.get(row) for row in table[["patient", "subtype"]].itertuples(index=False, name=None)]
        alone = pd.Series([logit is not None for logit in own])
        table["score"] = table["score"].where(~alone, probabilities(pd.Series(own, dtype="float64")))
        table["images_above"] = table["images_above"].astype("Int64").mask(alone)  # not known: no image has a score
    versions = table["subtype"].map({name: model.version for name, model in by_subtype.items()})
    return table.assign(called=table["score"] > table["operating_point"], model_version=versions)
