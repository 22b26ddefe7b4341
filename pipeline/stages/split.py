"""Write data/splits/<subtype>.csv: which fold every patient of a subtype and of control is in, as data/folds.csv says."""

from __future__ import annotations

import pandas as pd

from pipeline.common import console, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.folds import ledger, split_table
from pipeline.names import patient_names

_COLUMNS = ["path", "class", "patient", "pixels_sha256", "look_alike", "error"]


def run(config: Config) -> None:
    """Split the usable patients of each subtype and of control."""
    manifest = pd.read_parquet(paths.existing(paths.MANIFEST), columns=_COLUMNS)
    usable = manifest[manifest["error"] == ""]
    patients = usable.groupby(["class", "patient"], sort=True).size().rename("images").reset_index()
    patients["fold"] = _folds(patients["patient"], config.split.n_folds)
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
