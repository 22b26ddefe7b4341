"""Score new patients with the champions: predictions/<name>/. Not a stage: no result of the pipeline depends on it.

A patient is a folder of images. Every image is held against what its model was made from, and counts all the same; what
training would quarantine is left out, with its reason. Where the call has a champion, every patient gets one answer of all
classes too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.cohort import new_patients
from pipeline.common import console, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, ModelError
from pipeline.evaluation import genetics
from pipeline.explanation.new_patients import Whys
from pipeline.pages import prediction_page, rendering
from pipeline.registry import champions, mlflow_server
from pipeline.registry.champions import Champion
from pipeline.scoring import patients as scoring
from pipeline.scoring import results_folder
from pipeline.scoring.new_patients import Seen

TABLE, IMAGES, QUARANTINE, CALLS = "predictions.csv", "images.csv", "quarantine.csv", "calls.csv"
_PATIENTS_SHOWN = 25  # on the terminal; the table has all
_LONGEST_NAME = 255  # bytes, of a file on Linux


def run(
    config: Config, folder: Path, um: float | None, output: Path | None, explain: bool = False, aside: bool = False
) -> None:
    """Write the tables and the pages, and print what was found; with `explain` pages also say why.

    Unless they are put `aside` the patients count among the new ones that drift looks at.
    """
    um = config.image_um if um is None else um
    patients, without = new_patients.find(folder)
    if without:
        console.warn(f"{len(without)} of the folders hold no image and are left out, first {without[0]}")
    if too_long := [name for name in patients if len(prediction_page.file_name(name).encode()) > _LONGEST_NAME]:
        raise DataError(f"{folder}/{too_long[0]}: too long a name for a patient's page; shorten it")
    target = output or paths.PREDICTIONS / folder.resolve().name
    results_folder.require_free(target, _is_earlier, "prediction")
    with results_folder.gathered(target) as unfinished:
        models = _champions(config, um)
        call = champions.load_call(mlflow_server.connect(), um) if config.call.candidates else None
        why = Whys(models, config.explain, um) if explain else None
        seen = Seen(call or models[0])
        scored, left_out, of_patients, calls = scoring.score(patients, models, call, um, why.ask if why else None, seen.tell)
        if scored.empty:
            first = left_out.iloc[0]
            raise DataError(f"{folder}: no usable image; first {first['patient']}/{first['image']}: {first['reason']}")
        table = scoring.by_patient(scored, models, of_patients, config.evaluate.threshold)
        for name, rows in ((TABLE, table), (IMAGES, scored.drop(columns="logit")), (QUARANTINE, left_out)):
            rows.to_csv(unfinished / name, index=False)
        if call:
            calls.to_csv(unfinished / CALLS, index=False)
        watched = seen.look(config, aside)
        found = prediction_page.Found(models, um, table, scored, left_out, call, calls, why.found if why else {}, watched)
        names = list(dict.fromkeys(table["patient"]))
        for patient in console.track(names, len(names), "writing pages"):
            page = prediction_page.render(config, found, patient, patients[patient])
            (unfinished / prediction_page.file_name(patient)).write_text(page, encoding="utf-8", newline="\n")
        index = prediction_page.render_index(config, found, list(patients))
        (unfinished / prediction_page.INDEX).write_text(index, encoding="utf-8", newline="\n")
    _show(target, table, left_out, list(patients))
    _warn_of_few(table, models)
    _warn_of_known(table)
    if call:
        _show_calls(target, calls, call)
    if not aside:
        seen.keep()
    if watched and watched.look.new:
        console.say(f"drift: {watched.look.in_words()}; `python -m pipeline drift` says more")
    if why:
        console.say(f"predict: why: {why.took()}")


def _is_earlier(names: set[str]) -> bool:
    """Whether a folder with these files in it is an earlier prediction and nothing else."""
    tables = {TABLE, IMAGES, QUARANTINE}
    return tables <= names and all(name.endswith(".html") for name in names - tables - {CALLS})


def _champions(config: Config, um: float) -> list[Champion]:
    client = mlflow_server.connect()
    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.machine import device

    device.prepare("auto")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it takes several networks for one that is traced again and again
    with mlflow_server.answering():
        named = console.track(config.subtypes, len(config.subtypes), "loading champions")
        loaded = {subtype: champions.load(client, subtype) for subtype in named}
    found = [champion for champion in loaded.values() if champion]
    if not found:
        raise ModelError(
            f"MLflow: no subtype of params.yaml has a champion at {mlflow_server.shown_address()}; `dvc repro` makes them, "
            "`python -m pipeline register` takes them there from where they are, MLFLOW_TRACKING_URI names another address"
        )
    for subtype in [subtype for subtype, champion in loaded.items() if champion is None]:
        console.warn(f"{subtype}: has no champion in MLflow; the other subtypes are scored without it")
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


def _warn_of_known(table: pd.DataFrame) -> None:
    """Say who is in the cohort of a model or of the call."""
    known = table[table["images_known"] > 0].sort_values("images_known", ascending=False).drop_duplicates("patient")
    if len(known):
        first = known.iloc[0]
        console.warn(
            f"{len(known)} of {table['patient'].nunique()} patients are in the cohort that models were made from, first "
            f"{first['patient']} ({first['images_known']} of {first['images']} images): what is said of them says nothing of "
            "new patients; those of tested folds have their scores out of fold in the report"
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
