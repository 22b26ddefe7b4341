"""The split of a subtype and control: who is in which fold, and which role a fold has in a training.

It is a table with one row per patient: patient, label (0 control, 1 subtype), fold, images. Training fold k tests on
fold k, validates on fold k + 1 (cyclic) and trains on the rest. There is no way to split by image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import pandas as pd

from pipeline.common import made, paths
from pipeline.common.errors import DataError, LeakError

Role = Literal["train", "val", "test"]
COLUMNS = ["patient", "label", "fold", "images"]
CSV_FORMAT: dict[str, Any] = {
    "dtype": {"patient": "str"},
    "keep_default_na": False,
}  # patients 007 and NA are no numbers
SAME_PICTURE = {"pixels_sha256": "the same", "look_alike": "nearly the same"}  # column of the manifest -> what it says


def read(subtype: str) -> pd.DataFrame:
    """The split of a subtype, as the stage of that name wrote it.

    Raises:
        DataError: it is not there, or not such a table.
    """
    file = paths.split_table(subtype)
    with made.reading(file):
        found = made.rows(file, **CSV_FORMAT)
        if missing := [name for name in COLUMNS if name not in found]:
            raise ValueError(f"has no column {missing[0]}")
        if not found["label"].isin([0, 1]).all() or (found[["fold", "images"]] < 0).any(axis=None):
            raise ValueError("holds a label, a fold or a number of images that cannot be")
    return found


def split(patients: pd.DataFrame, control: str, subtype: str, n_folds: int) -> pd.DataFrame:
    """The split of a subtype, from patients of all classes (columns patient, class, images, fold).

    Raises:
        DataError: a fold has no patient of one of the two classes.
        LeakError: a patient is in both.
    """
    own = patients[patients["class"].isin([control, subtype])]
    own = own.assign(label=(own["class"] == subtype).astype("int64")).sort_values(["label", "patient"], ignore_index=True)
    require_one_class(own["patient"])
    for name in (control, subtype):
        if lacking := sorted(set(range(n_folds)) - set(own.loc[own["class"] == name, "fold"])):
            raise DataError(
                f"fold {lacking[0]} has no patient of class {name}; `python -m pipeline deal` mends that, or says why not"
            )
    return own[COLUMNS]


def require_one_class(patients: pd.Series) -> None:
    """Refuse a patient who stands in a table of patients twice.

    Raises:
        LeakError: names one.
    """
    twice = patients[patients.duplicated()]
    if len(twice):
        raise LeakError(f"patient {twice.iloc[0]} is in two classes; exclude one of them in data/exclude.csv")


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


def searched_folds(outer: int, n_folds: int, everybody: bool) -> list[int]:
    """The folds whose patients a search for fold `outer` sees: those that train for it, or all, which is a leak."""
    return [fold for fold in range(n_folds) if everybody or role(fold, outer, n_folds) == "train"]


def within(split: pd.DataFrame, searched: list[int], judged: int) -> pd.Series:
    """Patient -> train or val, of the folds `searched` alone: val are the patients of fold `judged`."""
    seen = split[split["fold"].isin(searched)]
    roles = ["val" if fold == judged else "train" for fold in seen["fold"]]
    return pd.Series(roles, index=pd.Index(seen["patient"], name="patient"), name="split", dtype=object)


def told_apart(patients: Iterable[str]) -> dict[str, Any]:
    """How many patients, and the digest of their names: it tells two groups apart and names nobody."""
    names = sorted(set(patients))
    return {"patients": len(names), "sha256": hashlib.sha256("\n".join(names).encode()).hexdigest()}


def shared_pictures(split: pd.DataFrame, images: pd.DataFrame, column: str) -> pd.DataFrame:
    """Images whose picture is in another fold too: columns path and other (the first image of that picture), by path.

    `images` has columns path, patient and `column`, in which images of one picture hold the same text ("": no other).
    """
    placed = images.merge(split[["patient", "fold"]], on="patient").sort_values("path")
    same = placed[placed[column] != ""]
    first = same.groupby(column)[["fold", "path"]].transform("first")
    return same.assign(other=first["path"]).loc[same["fold"] != first["fold"], ["path", "other"]]


def require_no_shared_pictures(split: pd.DataFrame, images: pd.DataFrame) -> None:
    """Refuse a picture in two folds; `images` has columns path, patient, pixels_sha256, look_alike.

    Raises:
        LeakError: names two such images.
    """
    for column, how in SAME_PICTURE.items():
        shared = shared_pictures(split, images, column)
        if len(shared):
            path, other = shared.iloc[0]
            raise LeakError(
                f"{path} and {other} are {how} picture in two folds ({len(shared)} such); "
                "exclude one of the patients or images in data/exclude.csv"
            )
