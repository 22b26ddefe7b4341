"""From delivered files to tested patients: who and what is left at each step, as TRIPOD+AI and CLAIM ask a report to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.folds import split_table


@dataclass(frozen=True)
class Step:
    """Patients and images at one step, as (control, subtype); `networks` that work on them.

    `at_most` are the images of a class that one network is given, where there are more.
    """

    name: str
    patients: tuple[int, int]
    images: tuple[int, int]
    networks: int = 0
    at_most: int | None = None


def steps(
    counts: Sequence[Mapping[str, int]],
    split: pd.DataFrame,
    folds: Sequence[int],
    n_folds: int,
    images_per_class: int | None,
) -> list[Step]:
    """The steps of one subtype.

    Args:
        counts: of control and of the subtype: patients_delivered, files, patients, images, as validation.json has them.
        split: patient, label, fold, images.
        folds: that are trained.
        n_folds: that there are.
        images_per_class: that one network is trained on at most; None for all.

    Returns:
        delivered, usable, and for each of train, val and test those who are it for any trained network.
    """
    control, subtype = counts
    found = []
    for name, people, what in (("delivered", "patients_delivered", "files"), ("usable", "patients", "images")):
        found.append(Step(name, (control[people], subtype[people]), (control[what], subtype[what])))
    for role in ("train", "val", "test"):
        of_folds = [_in_role(split, fold, n_folds, role) for fold in folds]
        by_label = pd.concat(of_folds).drop_duplicates("patient").groupby("label")["images"].agg(["size", "sum"])
        by_label = by_label.reindex([0, 1], fill_value=0)
        patients, images = ((int(column[0]), int(column[1])) for column in (by_label["size"], by_label["sum"]))
        most = max(int(members.groupby("label")["images"].sum().max()) for members in of_folds)
        capped = role == "train" and images_per_class is not None and most > images_per_class
        found.append(Step(role, patients, images, len(folds), images_per_class if capped else None))
    return found


def _in_role(split: pd.DataFrame, fold: int, n_folds: int, role: str) -> pd.DataFrame:
    return split[(split_table.roles(split, fold, n_folds) == role).to_numpy()]
