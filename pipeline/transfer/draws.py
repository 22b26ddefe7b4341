"""Who learns and who is tested when few patients of a new subtype are known: the same people for every way of learning.

A fold's networks of the other subtypes trained on all controls but those of two folds: whom they test (the fold's own) and whom
they validated on (the next fold's). The former are tested here too, the latter learn here: no vector of a control is one that
its network learned by heart. No network has seen a patient of the new subtype; those who learn are of all folds but the tested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from pipeline.common.errors import ConfigError, LeakError
from pipeline.folds import split_table

_SHARE = 4  # one in so many of those who learn tells a network when to stop


@dataclass(frozen=True)
class Draw:
    """One fold with `size` patients of the new subtype: rows of the split, patient, label, fold, images."""

    fold: int
    size: int
    learners: pd.DataFrame
    more_controls: pd.DataFrame  # whom the networks of the others trained on: for vectors that none of those made
    tested: pd.DataFrame


def possible(split: pd.DataFrame, learnable: Collection[str], folds: list[int], sizes: list[int]) -> list[int]:
    """The sizes for which every fold leaves enough of the `learnable` patients, who have an image to learn from.

    Raises:
        ConfigError: there is none.
    """
    own = split.loc[(split["label"] == 1) & split["patient"].isin(learnable), "fold"]
    most = min(int((own != fold).sum()) for fold in folds)
    found = [size for size in sizes if size <= most]
    if not found:
        raise ConfigError(f"transfer.patients: only {most} patients are outside the tested fold; name smaller numbers")
    return found


def draw(split: pd.DataFrame, learnable: Collection[str], fold: int, size: int, n_folds: int, seed: int) -> Draw:
    """The people of one fold, those who learn `learnable`; with more patients of the subtype those of the smaller numbers stay.

    Raises:
        ConfigError: there are too few controls to learn from.
    """
    roles = split_table.roles(split, fold, n_folds).to_numpy()
    control, may_learn = (split["label"] == 0).to_numpy(), split["patient"].isin(learnable).to_numpy()
    new = split[~control & may_learn & (roles != "test")]
    controls = split[control & may_learn & (roles == "val")]
    if len(controls) < 2:
        raise ConfigError(f"transfer: fold {fold} has one control to learn from, two are needed; lower split.n_folds")
    lots = [hashlib.sha256(f"{seed} {fold} {patient}".encode()).digest() for patient in new["patient"]]
    chosen = new.assign(lot=lots).sort_values("lot").head(size).drop(columns="lot")
    learners = pd.concat([controls, chosen], ignore_index=True)
    return Draw(fold, size, learners, split[control & may_learn & (roles == "train")], split[roles == "test"])


def require_unseen(draw: Draw, other: str, others: pd.DataFrame, n_folds: int) -> None:
    """Refuse a network of subtype `other`, by its split, that trained on somebody who learns or is tested here.

    Raises:
        LeakError: names one.
    """
    roles = split_table.roles(others, draw.fold, n_folds)
    for patient in pd.concat([draw.learners["patient"], draw.tested["patient"]]):
        if roles.get(patient) == "train":
            raise LeakError(
                f"patient {patient} trained the network of {other}, fold {draw.fold}, whose vectors are asked for here; run "
                "`dvc repro`: all subtypes share one dealing"
            )


def stoppers(draw: Draw) -> list[str]:
    """Those of the learners who tell a network when to stop: one in four of each class, one at least."""
    chosen: list[str] = []
    for _, own in draw.learners.groupby("label"):
        chosen += own["patient"].tolist()[::_SHARE]
    return chosen
