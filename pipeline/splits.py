"""Folds by patient.

A split is a table with one row per patient: patient, label (0 control, 1 subtype), fold, images. Training fold k tests on
fold k, validates on fold k + 1 (cyclic) and trains on the rest. There is no way to split by image.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from pipeline.errors import DataError, LeakError

Role = Literal["train", "val", "test"]
COLUMNS = ["patient", "label", "fold", "images"]
CSV_FORMAT: dict[str, Any] = {
    "dtype": {"patient": "str"},
    "keep_default_na": False,
}  # patients 007 and NA are no numbers


def deal(patients: pd.DataFrame, n_folds: int, seed: int) -> pd.DataFrame:
    """Deal patients (columns patient, label, images) to folds, stratified by label.

    The controls' folds do not depend on the other class, so they are the same for every subtype.

    Raises:
        DataError: a label has fewer patients than there are folds.
        LeakError: a patient has both labels.
    """
    patients = patients.sort_values(["label", "patient"], ignore_index=True)
    twice = patients.loc[patients["patient"].duplicated(), "patient"]
    if len(twice):
        raise LeakError(f"patient {twice.iloc[0]} is in two classes; exclude one of them in data/exclude.csv")
    for label, name in ((0, "control"), (1, "subtype")):
        count = int((patients["label"] == label).sum())
        if count < n_folds:
            raise DataError(
                f"{count} patients of the {name} class cannot fill {n_folds} folds; lower split.n_folds or add patients"
            )
    folds = np.empty(len(patients), dtype=np.int64)
    splitter = StratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    for fold, (_, members) in enumerate(splitter.split(patients, patients["label"])):
        folds[members] = fold
    return patients.assign(fold=folds)[COLUMNS]


def role(patient_fold: int, trained_fold: int, n_folds: int) -> Role:
    """What a patient of `patient_fold` is for when `trained_fold` is trained."""
    if patient_fold == trained_fold:
        return "test"
    if patient_fold == (trained_fold + 1) % n_folds:
        return "val"
    return "train"


def roles(split: pd.DataFrame, trained_fold: int, n_folds: int) -> pd.Series:
    """Role of every row of `split`, indexed by patient.

    Raises:
        LeakError: a patient stands in `split` more than once.
    """
    twice = split.loc[split["patient"].duplicated(), "patient"]
    if len(twice):
        raise LeakError(f"patient {twice.iloc[0]} stands in the split more than once; run the split stage again")
    return pd.Series(
        [role(fold, trained_fold, n_folds) for fold in split["fold"]],
        index=pd.Index(split["patient"], name="patient"),
        name="split",
        dtype=object,
    )


def require_no_shared_pixels(split: pd.DataFrame, images: pd.DataFrame) -> None:
    """Refuse identical pixels in two folds; `images` has columns path, patient, pixels_sha256.

    Raises:
        LeakError: names two such images.
    """
    placed = images.merge(split[["patient", "fold"]], on="patient").sort_values(["pixels_sha256", "path"])
    first = placed.groupby("pixels_sha256")[["fold", "path"]].transform("first")
    leaks = placed[placed["fold"] != first["fold"]]
    if len(leaks):
        path, other = leaks["path"].iloc[0], first.loc[leaks.index[0], "path"]
        raise LeakError(
            f"{path} and {other} are the same picture in two folds ({len(leaks)} such); "
            "exclude one of the patients or images in data/exclude.csv"
        )
