"""Write data/splits/<subtype>.csv: which fold every patient of a subtype and of control is in.

As data/folds.csv says, or the published dealing that `split.file` names; what is to be known of that is in protocol.json there.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.folds import ledger, protocol, split_table
from pipeline.folds.protocol import Dealing
from pipeline.images import look_alikes
from pipeline.names import patient_names

_COLUMNS = ["path", "class", "patient", "pixels_sha256", "look_alike", "error"]


def run(config: Config) -> None:
    """Split the usable patients of each subtype and of control."""
    manifest = made.table(paths.MANIFEST, columns=_COLUMNS)
    usable = manifest[manifest["error"] == ""]
    patients = usable.groupby(["class", "patient"], sort=True).size().rename("images").reset_index()
    if config.split.file is None:
        patients["fold"] = _folds(patients["patient"], config.split.n_folds)
        paths.fresh(paths.PROTOCOL)
    else:
        dealing = _published(config, Path(config.split.file), manifest)
        patients["fold"] = patients["patient"].map(patient_names.identity).map(dealing.folds)
        files.write(paths.PROTOCOL, json.dumps(dealing.described(), indent=2) + "\n")
    rows = []
    for subtype in config.subtypes:
        split = split_table.split(patients, config.control, subtype, config.split.n_folds)
        split_table.require_no_shared_pictures(split, usable)
        split.to_csv(paths.fresh(paths.split_table(subtype)), index=False)
        per_fold = split.groupby(["fold", "label"]).size().unstack("label")
        rows.append([subtype, *(f"{row[0]} + {row[1]}" for _, row in per_fold.iterrows())])
    console.table(
        "patients per fold (control + subtype)",
        ["subtype", *(f"fold {k}" for k in range(config.split.n_folds))],
        rows,
    )


def _folds(patients: pd.Series, n_folds: int) -> pd.Series:
    """The fold of each of `patients`."""
    dealt = ledger.read(paths.existing(paths.FOLDS), patient_names.identity)
    if ledger.n_folds(dealt) != n_folds:
        raise DataError(
            f"{paths.FOLDS}: has {ledger.n_folds(dealt)} folds, split.n_folds is {n_folds}; `{ledger.COMMAND}` deals anew"
        )
    folds = patients.map(patient_names.identity).map(dict(zip(dealt["who"], dealt["fold"], strict=True)))
    if missing := patients[folds.isna()].tolist():
        raise DataError(
            f"{paths.FOLDS}: {len(missing)} patients have no fold, first {missing[0]}; `{ledger.COMMAND}` deals them"
        )
    return folds.astype("int64")


def _published(config: Config, file: Path, manifest: pd.DataFrame) -> Dealing:
    """The dealing of a file for all patients of the manifest, those included of whom nothing is usable."""
    patients = manifest.assign(usable=manifest["error"] == "")
    patients = patients.groupby(["class", "patient"], sort=True)["usable"].any().reset_index()
    patients["who"] = patients["patient"].map(patient_names.identity)
    usable = manifest[manifest["error"] == ""]
    linked = look_alikes.link(usable["patient"].tolist(), usable["look_alike"].tolist())
    patients["set"] = patients["patient"].map(linked).fillna(-1).astype("int64")
    split_table.require_one_class(patients.loc[patients["usable"], "who"])
    dealing = protocol.read(
        file,
        patients,
        config.split.n_folds,
        sorted(config.folds),
        config.seed,
        patient_names.identity,
        config.ingest.pseudonyms,
    )
    if dealing.absent:
        console.say(f"split: {file}: {dealing.absent} of its patients have no usable image here, and are left out")
    if dealing.val_dealt:
        console.say(f"split: {file} names nobody who validates: {dealing.val_dealt} of those who train were dealt to it")
    return dealing
