"""Score new patients with the champions: predictions/<name>/. Not a stage: no result of the pipeline depends on it.

A patient is a folder of images. Every image is held against what its model was made from, and counts all the same; what
training would quarantine is left out, with its reason. Pixels are in memory for some hundred images at a time, of a patient
where a champion scores patients alone; of such a champion images have no score. Where the call has a champion, every patient
gets one answer of all classes too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from pipeline.cohort import new_patients
from pipeline.common import console, paths
from pipeline.common.config import Config
from pipeline.common.errors import FULL, DataError, ModelError
from pipeline.common.files import folder_in_one_step
from pipeline.evaluation import genetics
from pipeline.evaluation.pooling import patient_scores, probabilities
from pipeline.explanation.new_patients import Whys
from pipeline.images import decoding, manifest, reading
from pipeline.names import image_paths
from pipeline.pages import prediction_page, rendering
from pipeline.registry import champions, mlflow_server, training_range
from pipeline.registry.champions import Champion

TABLE, IMAGES, QUARANTINE, CALLS = "predictions.csv", "images.csv", "quarantine.csv", "calls.csv"
_IMAGES_AT_ONCE = 256
_PATIENTS_SHOWN = 25  # on the terminal; the table has all
_LONGEST_NAME = 255  # bytes, of a file on Linux


PatientLogits: TypeAlias = dict[tuple[str, str], float]  # by patient and subtype


@dataclass(frozen=True)
class Seen:
    """A file that was looked at: why it is left out ("" if it counts), what it looks like, and its pixels by their side."""

    image: str
    reason: str
    side_px: int = 0
    numbers: Mapping[str, float] | None = None
    sha256: str = ""
    resized: Mapping[int, decoding.Pixels] | None = None


def run(config: Config, folder: Path, um: float | None, output: Path | None, explain: bool = False) -> None:
    """Write the tables and the pages, and print what was found; with `explain` pages also say why."""
    um = config.image_um if um is None else um
    patients, without = new_patients.find(folder)
    if without:
        console.warn(f"{len(without)} of the folders hold no image and are left out, first {without[0]}")
    if too_long := [name for name in patients if len(prediction_page.file_name(name).encode()) > _LONGEST_NAME]:
        raise DataError(f"{folder}/{too_long[0]}: too long a name for a patient's page; shorten it")
    target = output or paths.PREDICTIONS / folder.resolve().name
    _require_free(target)
    with _gathered(target.resolve()) as unfinished:
        models = _champions(config, um)
        call = champions.load_call(mlflow_server.connect(), um) if config.call.candidates else None
        why = Whys(models, config.explain, um) if explain else None
        scored, left_out, of_patients, calls = _score(patients, models, call, um, why)
        if scored.empty:
            first = left_out.iloc[0]
            raise DataError(f"{folder}: no usable image; first {first['patient']}/{first['image']}: {first['reason']}")
        table = _by_patient(config, scored, models, of_patients)
        for name, rows in ((TABLE, table), (IMAGES, scored.drop(columns="logit")), (QUARANTINE, left_out)):
            rows.to_csv(unfinished / name, index=False)
        if call:
            calls.to_csv(unfinished / CALLS, index=False)
        found = prediction_page.Found(models, um, table, scored, left_out, call, calls, why.found if why else {})
        names = list(dict.fromkeys(table["patient"]))
        for patient in console.track(names, len(names), "writing pages"):
            page = prediction_page.render(config, found, patient, patients[patient])
            (unfinished / prediction_page.file_name(patient)).write_text(page, encoding="utf-8", newline="\n")
        index = prediction_page.render_index(config, found, list(patients))
        (unfinished / prediction_page.INDEX).write_text(index, encoding="utf-8", newline="\n")
    _show(target, table, left_out, list(patients))
    _warn_of_few(table, models)
    if call:
        _show_calls(target, calls, call)
    if why:
        console.say(f"predict: why: {why.took()}")


def _require_free(target: Path) -> None:
    """What lies at the target may be replaced only if it is an earlier prediction and nothing else."""
    if not os.path.lexists(target):
        return
    names = {entry.name for entry in target.iterdir()} if target.is_dir() else {""}
    tables = {TABLE, IMAGES, QUARANTINE}
    if names and not (tables <= names and all(name.endswith(".html") for name in names - tables - {CALLS})):
        raise DataError(f"{target}: exists and is no earlier prediction; name another folder with --output")


def _champions(config: Config, um: float) -> list[Champion]:
    client = mlflow_server.connect()
    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.machine import device

    device.prepare("auto")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it takes several networks for one that is traced again and again
    found = []
    with mlflow_server.answering():
        for subtype in console.track(config.subtypes, len(config.subtypes), "loading champions"):
            champion = champions.load(client, subtype)
            if champion is None:
                console.warn(f"{subtype}: has no champion in MLflow; the other subtypes are scored without it")
            else:
                found.append(champion)
    if not found:
        raise ModelError(
            f"MLFLOW_TRACKING_URI: no subtype of params.yaml has a champion at {mlflow_server.shown_address()}; "
            "run `python -m pipeline register` where the models were trained, or name another address"
        )
    for champion in [champion for champion in found if not champion.takes_images]:
        console.warn(
            f"{champion.subtype} v{champion.version}: knows vectors that are made elsewhere, and no images; scored without it"
        )
        found.remove(champion)
    if not found:
        raise ModelError("no champion takes images: the vectors that they know are made elsewhere; promote a model that does")
    for champion in found:
        if champion.settings["um"] != um:
            raise DataError(
                f"images of {um:g} um: {champion.subtype} v{champion.version} knows a field of view of "
                f"{champion.settings['um']:g} um and no other; resizing would not undo it (--um, params.yaml's image_um)"
            )
    return found


def _score(
    patients: Mapping[str, Mapping[str, Path]], models: Sequence[Champion], call: Champion | None, um: float, why: Whys | None
) -> tuple[pd.DataFrame, pd.DataFrame, PatientLogits, pd.DataFrame]:
    """A row an image and subtype: patient, image, subtype, score, logit, unlike; and a row a file left out.

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
    shared: list[str] = []
    of_patients: PatientLogits = {}
    bags = [model for model in models if model.of_patients]
    calls: list[dict[str, object]] = []
    bag: list[Seen] = []
    lasts = {patient: number for number, (patient, _) in enumerate(chunks)}
    with ThreadPoolExecutor() as pool:
        steps = console.track(chunks, len(chunks), f"scoring patients, up to {_IMAGES_AT_ONCE} images a step")
        for number, (patient, files) in enumerate(steps):
            usable = []
            for seen in pool.map(partial(_look, sides=sides), files):
                owner, first = (patient, "") if seen.reason else first_with.setdefault(seen.sha256, (patient, seen.image))
                if seen.reason:
                    left_out.append((patient, seen.image, seen.reason))
                elif owner == patient and first != seen.image:
                    left_out.append((patient, seen.image, f"same pixels as {first}"))
                else:
                    usable.append(seen)
                    shared += [f"{owner}/{first} and {patient}/{seen.image}"] if owner != patient else []
            for model in models if usable else []:
                scored += _rows(patient, usable, model, um)
            bag += usable if bags or call or why else []
            if number == lasts[patient]:
                if bag and call:
                    calls.append({"patient": patient, **call.call(_pixels(bag, call), um), "model_version": call.version})
                for model in bags if bag else []:
                    of_patients[patient, model.subtype] = model.patient_logit(_pixels(bag, model), um)
                if bag and why:
                    logits = {(row[2], row[1]): row[4] for row in scored[-len(bag) * len(models) :]}
                    why.ask(patient, {one.image: one.resized or {} for one in bag}, logits)
                bag = []
    if shared:
        console.warn(f"{len(shared):,} images are the same in two patients, first {shared[0]}: were they mixed up?")
    columns = ["patient", "image", "subtype", "score", "logit", "unlike"]
    left = pd.DataFrame(left_out, columns=["patient", "image", "reason"])
    return pd.DataFrame(scored, columns=columns), left, of_patients, pd.DataFrame(calls)


def _pixels(seen: Sequence[Seen], model: Champion) -> list[decoding.Pixels]:
    return [image.resized[int(model.settings["px"])] for image in seen if image.resized]


def _look(named: tuple[str, Path], sides: set[int]) -> Seen:
    name, file = named
    fault = image_paths.name_fault(f"class/patient/{name}")
    data, _, unreadable = (b"", "", "") if fault else reading.read(file)
    if fault or unreadable:
        return Seen(name, fault or unreadable)
    return decoding.in_turn(data, partial(_seen, name, data, sides))


def _seen(name: str, data: bytes, sides: set[int]) -> Seen:
    seen = decoding.inspect(data, None)
    if seen.pixels is None:
        return Seen(name, seen.reason)
    statistics = decoding.statistics(seen.pixels)
    numbers = dict(zip(manifest.NUMBERS, (*statistics.mean, *statistics.std, statistics.sharpness), strict=True))
    resized = {px: decoding.resize(seen.pixels, px) for px in sides}
    return Seen(name, "", seen.width, numbers, statistics.sha256, resized)


def _rows(patient: str, usable: Sequence[Seen], model: Champion, um: float) -> Iterator[tuple[object, ...]]:
    known = model.settings["reference"]
    logits = np.full(len(usable), np.nan) if model.of_patients else model.logits(_pixels(usable, model), um)
    for seen, logit, score in zip(usable, logits, probabilities(logits), strict=True):
        unlike = "; ".join(training_range.differences(seen.side_px, seen.numbers or {}, known))
        yield patient, seen.image, model.subtype, float(score), float(logit), unlike


def _by_patient(config: Config, scored: pd.DataFrame, models: Sequence[Champion], of_patients: PatientLogits) -> pd.DataFrame:
    """A table with a row a patient and subtype: the scores of images pooled, or the patient's own."""
    scored = scored.assign(above=scored["score"] > config.evaluate.threshold, differs=scored["unlike"] != "")
    grouped = scored.groupby(["patient", "subtype"], sort=False)
    table = grouped.agg(images=("image", "size"), images_above=("above", "sum"), images_unlike=("differs", "sum")).reset_index()
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


@contextmanager
def _gathered(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, which takes its place in one step."""
    with ExitStack() as made:
        try:
            unfinished = made.enter_context(folder_in_one_step(target))
        except OSError as error:
            if error.errno in FULL:
                raise
            raise DataError(f"{target}: cannot be made ({error.strerror}); name another folder with --output") from None
        yield unfinished


def _show(target: Path, table: pd.DataFrame, left_out: pd.DataFrame, patients: Sequence[str]) -> None:
    subtypes = list(dict.fromkeys(table["subtype"]))
    by_patient = {str(patient): rows.to_dict("records") for patient, rows in table.groupby("patient", sort=False)}
    counts = left_out["patient"].value_counts()
    lines = []
    for patient in patients[:_PATIENTS_SHOWN]:
        rows = by_patient.get(patient, [])
        scores = [f"{rendering.score(row['score'])}{' called' if row['called'] else ''}" for row in rows]
        scores = scores or ["no usable image", *["–"] * (len(subtypes) - 1)]
        images, unlike = (max((row[key] for row in rows), default=0) for key in ("images", "images_unlike"))
        lines.append([patient, images, counts.get(patient, 0), *scores, unlike])
    columns = ["patient", "images", "left out", *subtypes, "unlike training"]
    console.table("a score a test, each of one subtype against control", columns, lines)
    if (more := len(patients) - _PATIENTS_SHOWN) > 0:
        console.say(f"and {more:,} more patients")
    if len(left_out):
        console.say(f"left out: {len(left_out):,} files; the reasons are in {target / QUARANTINE}")
    disease = "leukaemia" if genetics.all_known(subtypes) else "disease"
    console.say(f"All tests may fire on any {disease}: a call does not say which. For research only, not for diagnosis.")
    console.say(f"predict: {target}: {TABLE}, {IMAGES}, {prediction_page.INDEX} and a page for each patient")


def _warn_of_few(table: pd.DataFrame, models: Sequence[Champion]) -> None:
    """Say of whom there are fewer images than of anybody in training."""
    fewest = max(int(model.settings.get("fewest_images", 0)) for model in models)  # an earlier version did not say
    few = table[table["images"] < fewest].drop_duplicates("patient")
    if len(few):
        first = few.iloc[0]
        console.warn(
            f"{len(few)} of {table['patient'].nunique()} patients have fewer images than anybody in training ({fewest}), first "
            f"{first['patient']} ({first['images']}): what is said of them is unsure"
        )


def _show_calls(target: Path, calls: pd.DataFrame, call: Champion) -> None:
    """One line a patient: the likeliest class, its probability, and what cannot be ruled out."""
    lines = [
        [row["patient"], row["call"], rendering.score(row["probability"]), row["answer"] or "–"]
        for row in calls.head(_PATIENTS_SHOWN).to_dict("records")
    ]
    coverage = call.settings["coverage"]
    sets = "no sets: too few patients are known" if coverage is None else f"sets at coverage {coverage:g}"
    console.table(
        f"one answer of all classes, call v{call.version}; {sets}", ["patient", "likeliest", "probability", "answer"], lines
    )
    console.say(f"call: {target / CALLS}; it knows {', '.join(call.settings['classes'])} and nothing else")
