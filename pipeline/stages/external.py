"""Try a registered version on another hospital's labelled patients: external/<model>-v<version>/<cohort>/, and a run in MLflow.

Nothing is trained, and nothing of the model changes. A cohort that holds a picture which the model was made from is refused:
what it reached on that would be no evidence. Patients have keyed names in all that is written, but for left_out.csv and
names.csv, which stay here.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.auditing import outside
from pipeline.cohort import labelled_patients
from pipeline.cohort import patients as listed
from pipeline.cohort.labelled_patients import Delivered
from pipeline.common import console, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, ModelError, PipelineError
from pipeline.evaluation import elsewhere, every_class, recalibration
from pipeline.evaluation.figures import Interval
from pipeline.images import manifest
from pipeline.pages import external_page, external_results
from pipeline.pages.external_page import Tried
from pipeline.registry import champions, external_run, known_pictures, mlflow_server, trained_files, versions
from pipeline.registry.champions import Champion
from pipeline.scoring import admission, results_folder
from pipeline.scoring import manifest as scoring_manifest
from pipeline.scoring import patients as scoring

_DRAWS = 200  # of k patients, whose recalibration is tried on the others
_NAME = re.compile(r"[^\w.-]+")
_LONGEST = 200  # letters of a cohort's name, by which a tag of MLflow's is called
_MODEL = re.compile(r"[A-Za-z0-9]\w*", re.ASCII)  # as params.yaml may call a class
_FEWEST = 2  # patients of either class, without whom there is no interval


@dataclass(frozen=True)
class Asked:
    """What the command line says beside the model and the folder."""

    classes: str = ""
    name: str = ""
    um: float | None = None
    output: Path | None = None
    despite_look_alikes: bool = False


def run(config: Config, model: str, place: Path, asked: Asked) -> None:
    """Score everybody, measure, and write tables, page and run.

    Raises:
        TrackingError: MLflow does not answer. At the end, after hours of scoring, the files are there already.
        LeakError: a picture of the cohort was in the training.
        DataError, ModelError: names the file, patient or version that is not what it must be.
    """
    subtype, version = _named(model)
    mapping = labelled_patients.pairs(asked.classes)
    client = mlflow_server.connect()
    with mlflow_server.answering():
        registered = _registered(client, subtype, version)
        known = known_pictures.read(client, registered)
        home = external_run.home(client, registered)
    source = labelled_patients.opened(place, config.ingest.archive)
    delivered = labelled_patients.find(source, mapping, (config.control, subtype))
    if delivered.left_out:
        console.say(f"left out, as --classes says: {', '.join(delivered.left_out)}")
    cohort = _NAME.sub("-", asked.name or place.resolve().name.removesuffix(".zip")).strip("-.") or "cohort"
    if len(cohort) > _LONGEST:
        raise DataError(f"{cohort[:20]}...: {len(cohort)} letters, MLflow takes {_LONGEST}: give it a shorter name with --name")
    target = asked.output or paths.external(subtype, str(registered.version), cohort)
    results_folder.require_free(target, _is_result, "result")
    with ExitStack() as opened:
        unpacked = opened.enter_context(tempfile.TemporaryDirectory())
        patients = labelled_patients.fetched(source, delivered, Path(unpacked))
        frame = scoring_manifest.of(patients, delivered.class_of)
        images = manifest.usable(frame)
        admission.require_usable(frame, config.validate_.max_quarantined_share, place)
        alike = admission.require_unknown(images, known, f"{subtype} v{registered.version}", asked.despite_look_alikes)
        _require_enough(config, images, (config.control, subtype))
        champion = _champion(client, subtype, str(registered.version), config.image_um if asked.um is None else asked.um)
        console.say(f"external: {len(images):,} images of {images['patient'].nunique():,} patients, none known to the model")
        unfinished = opened.enter_context(results_folder.gathered(target))  # scoring takes long: after everything that can fail
        scored, _, of_patients, _ = scoring.score(patients, [champion], None, champion.settings["um"])
        table = scoring.by_patient(scored, [champion], of_patients, config.evaluate.threshold)
        everybody = _everybody(config, table, images, delivered, champion)
        judged = everybody[~everybody["few"] & (everybody["label"] >= 0)].reset_index(drop=True)
        about = {
            "model": subtype,
            "version": str(registered.version),
            "candidate": registered.tags.get("candidate", ""),
            "cohort": cohort,
            "demo": champion.settings["cohort"]["source"] == "demo",
            "home_cohort": str(champion.settings["cohort"]["cohort"]),
            "control": config.control,
            "classes": _counts(everybody),
            "judged": _counts(judged),
            "images": int(judged["images"].sum()),
            "patients": len(judged),
            "too_few_images": int(everybody["few"].sum()),
            "fewest_images": config.validate_.min_images_per_patient,
            "left_out_images": int((frame["error"] != "").sum()),
            "look_alikes_said_to_be_others": alike,
            "unlike": external_page.unlike(images, champion.settings["reference"]),
            "unlike_images": int(judged["images_unlike"].sum()),
        }
        tried = _tried(config, champion, home, about, images, scored, everybody, judged)
        external_results.write(unfinished, config, tried, frame)
        params = {"classes": asked.classes, "um": champion.settings["um"]}
        told = external_run.told(about, tried.found, tried.curve, images, params)
    external_results.show(config, target, tried)
    try:
        with mlflow_server.answering():
            run_id = external_run.log(client, registered, told, [target / name for name in external_results.SENT])
    except PipelineError as error:
        missing = f"(the files in {target} are whole; the run in MLflow and the card's line are missing)"
        raise type(error)(f"{error} {missing}") from None
    console.say(f"MLflow: run {run_id} of experiment {external_run.EXPERIMENT}, and the model card")


def _is_result(names: set[str]) -> bool:
    return {external_results.METRICS, external_results.PATIENTS} <= names <= set(external_results.FILES)


def _named(model: str) -> tuple[str, str]:
    subtype, sign, version = model.partition("@")
    if not (_MODEL.fullmatch(subtype) and sign and version):
        raise ModelError(f"{model}: name a model and a version of it, NPM1@champion or NPM1@3")
    if subtype == champions.CALL:
        raise ModelError(f"{model}: answers of all classes are not tried elsewhere by this command; name a subtype's model")
    return subtype, version


def _registered(client: mlflow_server.Client, subtype: str, name: str) -> versions.Version:
    found = versions.called(client, subtype, name)
    if found is None:
        known = ", ".join(f"{subtype}@{model.version}" for model in versions.versions(client, subtype))
        known = known or f"none; `python -m pipeline register {subtype}` where it was trained brings one"
        raise ModelError(f"{subtype}@{name}: not in MLflow at {mlflow_server.shown_address()}; there are: {known}")
    return found


def _champion(client: mlflow_server.Client, subtype: str, version: str, um: float) -> Champion:
    from pipeline.machine import device  # TensorFlow takes seconds and memory: after everything that can fail

    device.prepare("auto")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with mlflow_server.answering():
        champion = champions.load(client, subtype, version)
    if champion is None:
        raise ModelError(f"{subtype} v{version}: is gone from MLflow; run it again")
    if not champion.takes_images:
        raise ModelError(f"{subtype} v{version}: knows vectors that are made elsewhere, and no images; name another version")
    if champion.settings["um"] != um:
        raise DataError(
            f"images of {um:g} um: {subtype} v{version} knows a field of view of {champion.settings['um']:g} um and no other; "
            "resizing would not undo it (--um, params.yaml's image_um)"
        )
    return champion


def _everybody(
    config: Config, table: pd.DataFrame, images: pd.DataFrame, delivered: Delivered, champion: Champion
) -> pd.DataFrame:
    """A row a patient who has a usable image: patient, key, class, label (-1: of neither), few, fold, what was found."""
    keys = trained_files.keys(images)
    classes = table["patient"].map(delivered.class_of)
    known = listed.table(zip(classes, table["patient"], strict=True), delivered.metadata).set_index("patient")
    known = known.loc[table["patient"]]
    return table.assign(
        key=[keys[patient][0] for patient in table["patient"]],
        **{"class": classes},
        label=classes.map({config.control: 0, champion.subtype: 1}).fillna(-1).astype(int),
        logit=elsewhere.logits(table["score"]),
        few=table["images"] < config.validate_.min_images_per_patient,
        fold=0,
        sex=known["sex"].to_numpy(),
        age=known["age"].to_numpy(),
    )


def _require_enough(config: Config, images: pd.DataFrame, needed: tuple[str, str]) -> None:
    """Refuse a cohort of which nothing could be said after hours of scoring."""
    fewest = config.validate_.min_images_per_patient
    enough = images.groupby(["class", "patient"]).size() >= fewest
    patients = enough.groupby("class").sum().reindex(needed, fill_value=0)
    for name, n in patients.items():
        if n < _FEWEST:
            raise DataError(
                f"{name}: {n} patients with {fewest} usable images or more, it takes {_FEWEST}: bring more, or lower "
                "validate.min_images_per_patient"
            )


def _counts(everybody: pd.DataFrame) -> dict[str, int]:
    return {str(name): int(n) for name, n in everybody["class"].value_counts().sort_index().items()}


def _tried(
    config: Config,
    champion: Champion,
    home: Mapping[str, Interval],
    about: Mapping[str, Any],
    images: pd.DataFrame,
    scored: pd.DataFrame,
    everybody: pd.DataFrame,
    judged: pd.DataFrame,
) -> Tried:
    """All figures: of those `judged` (control and subtype, with images enough), and whom of the other classes it calls."""
    point, confidence = float(champion.settings["operating_point"]), config.evaluate.confidence
    rows = None if champion.of_patients else scored.merge(judged[["patient", "label", "fold"]], on="patient")
    return Tried(
        about,
        elsewhere.found(rows, judged, champion.tested, point, home, config.evaluate, config.seed),
        everybody,
        _every_class(config, champion, everybody[~everybody["few"]]),
        recalibration.curve(judged, point, _DRAWS, config.seed),
        outside.check(images[images["patient"].isin(judged["patient"])], judged, config.audit, confidence, config.seed),
    )


def _every_class(config: Config, champion: Champion, enough: pd.DataFrame) -> pd.DataFrame:
    """Whom the model calls its subtype, a row a class: its own two first."""
    own = [config.control, champion.subtype]
    names = [*own, *sorted(set(enough["class"]) - set(own))]
    rows = [
        every_class.row(
            champion.subtype,
            name,
            external_page.ELSEWHERE if name in own else every_class.OTHERS,
            enough.loc[enough["class"] == name, "called"],
            config.evaluate.confidence,
        )
        for name in names
    ]
    return pd.DataFrame(rows, columns=every_class.COLUMNS)
