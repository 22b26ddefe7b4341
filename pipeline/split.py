"""Write data/splits/<subtype>.csv: which fold every patient of a subtype and of control is in."""

from __future__ import annotations

import pandas as pd

from pipeline import console, paths, splits
from pipeline.config import Config


def run(config: Config) -> None:
    """Deal the usable patients of each subtype and of control."""
    manifest = pd.read_parquet(paths.existing(paths.MANIFEST), columns=["path", "class", "patient", "pixels_sha256", "error"])
    usable = manifest[manifest["error"] == ""]
    counts = usable.groupby(["class", "patient"], sort=True).size().rename("images").reset_index()
    rows = []
    for subtype in config.subtypes:
        patients = counts[counts["class"].isin([config.control, subtype])]
        patients = patients.assign(label=(patients["class"] == subtype).astype("int64"))
        split = splits.deal(patients, config.split.n_folds, config.seed)
        splits.require_no_shared_pixels(split, usable)
        split.to_csv(paths.fresh(paths.split_table(subtype)), index=False)
        per_fold = split.groupby(["fold", "label"]).size().unstack("label")
        rows.append([subtype, *(f"{row[0]} + {row[1]}" for _, row in per_fold.iterrows())])
    console.table(
        "patients per fold (control + subtype)",
        ["subtype", *(f"fold {k}" for k in range(config.split.n_folds))],
        rows,
    )
