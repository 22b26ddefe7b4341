"""The patients of all classes, each once, with their vectors and the fold that all subtypes' splits share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bags import patients
from pipeline.bags.scoring import Bag
from pipeline.common import paths
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError, DataError, LeakError
from pipeline.folds import image_weights, split_table

_FEWEST = 2  # patients of a class, to learn from and to choose a penalty by


@dataclass(frozen=True)
class Everybody:
    """Controls first, then the subtypes in their order; a row a patient: patient, class, fold, images."""

    table: pd.DataFrame
    bags: Sequence[Bag]
    names: Sequence[str]
    encoder: dict[str, Any]
    learned: Sequence[Bag] | None = None  # the bags without images that nobody is trained on; None: there are none such
    left_out: frozenset[str] = frozenset()

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
        DataError: vectors and splits do not fit each other, or a class is too small.
        LeakError: the splits do not deal a patient alike.
        ConfigError: the encoder is a network of one subtype and one fold.
    """
    if encoder in config.embed_networks:
        raise ConfigError(
            f"call: the vectors by {encoder} are of another network for every subtype and fold, and one answer of all classes "
            "needs the same ones of everybody; leave the candidate that learns on them out, or give it an encoder of `encoders`"
        )
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
    _require_enough(table, config)
    return Everybody(table, bags, config.classes, about, learned if left_out else None, left_out)


def _require_enough(table: pd.DataFrame, config: Config) -> None:
    """Refuse a class of whom, without any two folds, too few are left."""
    for name in config.classes:
        by_fold = table.loc[table["class"] == name, "fold"].value_counts()
        left = int(by_fold.sum() - by_fold.nlargest(2).sum())
        if left < _FEWEST:
            raise DataError(
                f"class {name}: {left} of {by_fold.sum()} patients are left to learn from without two of the folds; a call "
                f"needs {_FEWEST}: more patients, or more folds (split.n_folds)"
            )
