"""A tiny cohort as the stages before `evaluate` and `report` leave it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from pipeline.common import config, paths
from pipeline.evaluation import every_class
from pipeline.folds import split_table

SUBTYPES = ["NPM1", "NEW"]  # with and without published figures


PX = 8


STRANGE = "<b>&</b>"  # a folder may be called so


def cohort_files(settings: config.Config) -> None:
    """Data, splits, cells and predictions of a tiny cohort, as the other stages leave them."""
    rng = np.random.default_rng(5)
    paths.REQUIREMENTS.write_text("numpy==1.0\n")
    paths.CELLS.mkdir(parents=True)
    paths.SPLITS.mkdir()
    patients = {name: [f"{name[0]}{number:02}" for number in range(10)] for name in settings.classes}
    patients["NPM1"][0] = STRANGE
    for name, members in patients.items():
        rows = [(patient, f"{name}/{patient}/image_{n}.tif") for patient in members for n in range(7)]
        np.save(paths.cells(name), rng.integers(0, 256, (len(rows), PX, PX, 3), dtype=np.uint8))
        pd.DataFrame(rows, columns=["patient", "path"]).to_parquet(paths.cell_rows(name), index=False)
    people = [
        {"patient": patient, "class": name, "sex": ("f", "m", "")[number % 3], "age": "" if number == 9 else str(20 + number)}
        for name, members in patients.items()
        for number, patient in enumerate(members)
    ]
    blood = dict.fromkeys(["blast_share", "promyelocyte_share", "leucocytes_per_ul"], "")
    pd.DataFrame(people).assign(**blood).to_csv(paths.PATIENTS, index=False)
    count = {"patients": 10, "images": 70, "patients_delivered": 10, "files": 72, "quarantined": 2}
    counts = dict.fromkeys(settings.classes, count)
    rules = [
        {
            "name": "patient_in_one_class",
            "expectation": "a patient is in one class",
            "state": "pass",
            "success": True,
            "observed": "0 of 30",
            "advice": "",
        },
        {
            "name": "no_i",
            "expectation": "no <i>",
            "state": "FAIL",
            "success": False,
            "observed": "1 of 30",
            "advice": "mend it",
        },
        {
            "name": "class_as_listed",
            "expectation": "as listed",
            "state": "nothing to judge",
            "success": True,
            "observed": "no listed classes",
            "advice": "",
        },
    ]
    source = {"source": settings.ingest.source, "files": 216, "bytes": 123456, "sha256": "ab" * 32}
    paths.SOURCE.write_text(json.dumps(source))
    paths.VALIDATION.mkdir(parents=True)
    (paths.VALIDATION / "validation.json").write_text(json.dumps({"success": False, "classes": counts, "rules": rules}))
    for subtype in settings.subtypes:
        split = pd.DataFrame(
            [
                (patient, label, number % settings.split.n_folds, 7)
                for label, name in enumerate((settings.control, subtype))
                for number, patient in enumerate(patients[name])
            ],
            columns=["patient", "label", "fold", "images"],
        )
        split.to_csv(paths.split_table(subtype), index=False)
        other_classes_file(settings, subtype)
        for k in settings.folds:
            training_files(settings, subtype, k, split, rng)


def training_files(settings: config.Config, subtype: str, k: int, split: pd.DataFrame, rng: np.random.Generator) -> None:
    folder = paths.fold(subtype, "published", k)
    folder.mkdir(parents=True)
    rows = pd.concat([pd.read_parquet(paths.cell_rows(name)) for name in (settings.control, subtype)])
    roles = split_table.roles(split, k, settings.split.n_folds).rename("split").reset_index()
    rows = rows.merge(split[["patient", "label"]], on="patient").merge(roles[roles["split"] != "train"], on="patient")
    rows["logit"] = np.where(rows["label"] == 1, 2.0, -2.0) + rng.normal(0, 1.5, len(rows))
    rows.to_parquet(folder / "predictions.parquet", index=False)
    epochs = {
        "epoch": [0, 1],
        "loss": [0.7, 0.5],
        "val_loss": [0.8, 0.6],
        "accuracy": [0.5, 0.8],
        "val_accuracy": [0.5, 0.7],
        "kept": [0, 1],
    }
    pd.DataFrame(epochs).to_csv(folder / "history.csv", index=False)
    spec = {
        "px": PX,
        "um": settings.image_um,
        "normalisation": {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]},
        "precision": "float32",
        "layers": [
            {"kind": "conv", "filters": 64, "kernel_px": 3, "batch_norm_momentum": None, "pool": True},
            {"kind": "dense", "units": 128},
        ],
        "knobs": {"px": PX, "conv": [256, 192], "learning_rate": 1e-05, "images_per_class": None, "augment_flips": True},
        "machine": {"kind": "cpu", "name": "Some & Processor", "threads": 2},
        "inputs": {"cells": "c0" * 32, "split": "51" * 32, "code": "ed" * 32},
        "training": "7a" * 32,
    }
    (folder / "spec.json").write_text(json.dumps(spec))


def other_classes_file(settings: config.Config, subtype: str) -> None:
    """Whom the networks of a subtype call that: of another class four of ten."""
    rows = [(subtype, name, every_class.OWN if name in ("control", subtype) else every_class.OTHERS, 10, 4, 0.4, 0.1, 0.7)
            for name in settings.classes]  # fmt: skip
    file = paths.fresh(paths.other_classes(subtype, "published"))
    pd.DataFrame(rows, columns=every_class.COLUMNS).to_csv(file, index=False)


def audit_file(subtype: str) -> None:
    """What `audit` finds: something red, something not known, and groups."""
    sides = {"control": {"patients": 4, "right": 3}, "subtype": {"patients": 2, "right": 2}}
    group = {"group": "<women>", **sides, "patient_auroc": None, "note": "too few to say: 2 subtype"}
    common = {"rule": "red when so", "advice": "restain"}
    found, clear, nothing = (
        {"state": state, "red": state == "red", "answered": state != "nothing to judge", **common}
        for state in ("red", "clear", "nothing to judge")
    )
    checks = [
        {"name": "colour_only", "question": "Do colours tell?", "found": "AUROC 0.9", "value": {}, **found},
        {"name": "by_sex", "question": "By sex?", "found": "alike", "value": {"groups": [group]}, **clear},
        {"name": "by_age", "question": "By age?", "found": "not known", "value": None, **nothing},
    ]
    paths.audit(subtype, "published").parent.mkdir(parents=True, exist_ok=True)
    paths.audit(subtype, "published").write_text(json.dumps({"red": 1, "checks": checks}))
