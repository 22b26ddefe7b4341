"""The patients of all classes, each once, with their vectors and the fold that all subtypes' splits share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bags import patients
from pipeline.bags.scoring import Bag
from pipeline.common import made, paths
from pipeline.common.config import Config
from pipeline.common.errors import LeakError
from pipeline.folds import image_weights, protocol, split_table

FEWEST = 2  # patients of a class, to learn from and to choose a penalty by


@dataclass(frozen=True)
class Everybody:
    """Controls first, then the subtypes in their order; a row a patient: patient, class, fold, images."""

    table: pd.DataFrame
    bags: Sequence[Bag]
    names: Sequence[str]
    encoder: dict[str, Any]
    roles: bool = False  # the folds are those of a published dealing's roles, of which one is tested
    learned: Sequence[Bag] | None = None  # the bags without images that nobody is trained on; None: there are none such
    left_out: frozenset[str] = frozenset()

    def only(self, rows: NDArray[np.int64]) -> Everybody:
        """Some of them, without their vectors."""
        return replace(self, table=self.table.iloc[rows].reset_index(drop=True), bags=[], learned=None)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The place of every patient's class among `names`, `(patients,)`."""
        return pd.Index(self.names).get_indexer(pd.Index(self.table["class"])).astype(np.int64)

    @property
    def learners(self) -> NDArray[np.bool_]:
        """Who has an image to learn from, `(patients,)`."""
        return np.array([len(bag) > 0 for bag in self.learned]) if self.learned else np.full(len(self.table), True)

    @property
    def folds(self) -> NDArray[np.int64]:
        """The fold of every patient, `(patients,)`."""
        return self.table["fold"].to_numpy(np.int64)


def read(config: Config, encoder: str) -> Everybody:
    """The patients of all subtypes' splits.

    Raises:
        DataError: vectors and splits do not fit each other.
        LeakError: the splits do not deal a patient alike.
    """
    tables, bags, learned = [], [], list[Bag]()
    left_out: frozenset[str] = frozenset()
    about: dict[str, Any] = {}
    controls: pd.DataFrame | None = None
    for subtype in config.subtypes:
        found = patients.read(config, subtype, encoder, fold=0)  # one encoder, so the same vectors for all folds
        about, left_out = found.encoder, image_weights.left_out(paths.existing(paths.LEFT_OUT))
        own = found.split["label"].to_numpy() == 1
        theirs = found.split.loc[~own, ["patient", "fold", "images"]].reset_index(drop=True)
        if controls is None:
            controls = theirs
            tables.append(theirs.assign(**{"class": config.control}))
            bags += [found.bags[row] for row in np.flatnonzero(~own).tolist()]
            learned += [found.without(row, left_out) for row in np.flatnonzero(~own).tolist()]
        elif not controls.equals(theirs):
            raise LeakError(
                f"{paths.split_table(subtype)}: does not deal the controls as {paths.split_table(config.subtypes[0])} does; "
                "run `dvc repro split`"
            )
        tables.append(found.split.loc[own, ["patient", "fold", "images"]].assign(**{"class": subtype}))
        bags += [found.bags[row] for row in np.flatnonzero(own).tolist()]
        learned += [found.without(row, left_out) for row in np.flatnonzero(own).tolist()]
    table = pd.concat(tables, ignore_index=True)[["patient", "class", "fold", "images"]]
    split_table.require_one_class(table["patient"])
    return Everybody(table, bags, config.classes, about, _has_roles(), learned if left_out else None, left_out)


def too_few(everybody: Everybody) -> str:
    """Why no call can be made: a class of whom too few are left to learn from; "" where enough are of all."""
    for name in everybody.names:
        by_fold = everybody.table.loc[(everybody.table["class"] == name) & everybody.learners, "fold"].value_counts()
        if everybody.roles:
            left, how = int(by_fold.get(protocol.ROLES["train"], 0)), "with role train"
            mend = "give more of them that role in the published dealing"
        else:
            left, how = int(by_fold.sum() - by_fold.nlargest(2).sum()), "without two of the folds"
            mend = "more patients, or more folds (split.n_folds)"
        if left < FEWEST:
            of = f"{by_fold.sum()} patients{' with images to learn from' if everybody.left_out else ''}"
            return f"class {name}: {left} of {of} are left to learn from {how}; it takes {FEWEST}: {mend}"
    return ""


def _has_roles() -> bool:
    """Whether the splits are of a published dealing with roles."""
    return paths.PROTOCOL.is_file() and bool(made.values(paths.PROTOCOL)["form"] == "role")
