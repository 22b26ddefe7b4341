"""Write data/splits/<subtype>.csv: which fold every patient of a subtype and of control is in."""

from __future__ import annotations

import pandas as pd

from pipeline.common import console, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, LeakError
from pipeline.folds import dealing
from pipeline.images import look_alikes
from pipeline.names import patient_names

_COLUMNS = ["path", "class", "patient", "pixels_sha256", "look_alike", "error"]


def run(config: Config) -> None:
    """Deal the usable patients of each subtype and of control."""
    manifest = pd.read_parquet(paths.existing(paths.MANIFEST), columns=_COLUMNS)
    usable = manifest[manifest["error"] == ""]
    for spellings in patient_names.spelled_apart(usable["patient"].unique()).values():
        raise LeakError(
            f"{patient_names.shown(*spellings)} are one patient's name; make them one folder in the source, or rename one of "
            "them, and run ingest again"
        )
    counts = usable.groupby(["class", "patient"], sort=True).size().rename("images").reset_index()
    counts["set"] = counts["patient"].map(look_alikes.link(usable["patient"].tolist(), usable["look_alike"].tolist()))
    rows = []
    for subtype in config.subtypes:
        patients = counts[counts["class"].isin([config.control, subtype])]
        patients = patients.assign(label=(patients["class"] == subtype).astype("int64"))
        try:
            split = dealing.deal(patients, config.split.n_folds, config.seed)
        except DataError as error:
            raise type(error)(f"{subtype}: {error}") from None
        dealing.require_no_shared_pictures(split, usable)
        split.to_csv(paths.fresh(paths.split_table(subtype)), index=False)
        per_fold = split.groupby(["fold", "label"]).size().unstack("label")
        rows.append([subtype, *(f"{row[0]} + {row[1]}" for _, row in per_fold.iterrows())])
    _say_linked(counts)
    console.table(
        "patients per fold (control + subtype)",
        ["subtype", *(f"fold {k}" for k in range(config.split.n_folds))],
        rows,
    )


def _say_linked(patients: pd.DataFrame) -> None:
    for _, together in patients[patients["set"].duplicated(keep=False)].groupby("set")["patient"]:
        console.say(f"split: in one fold, because they share a picture: {', '.join(together)}")
