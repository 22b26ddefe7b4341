"""Write which training images count less than others: data/weights.

What persons take out of the training, by data/review.csv, is left out of it; and of a candidate that is down-weighted the
images of leukaemia patients count as `suspect` says. Where neither says anything the tables are empty.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.curation import review
from pipeline.folds import image_weights, split_table
from pipeline.names import image_paths


def run(config: Config) -> None:
    """Write a table for every candidate of every subtype, and one of the images that nobody is trained on.

    Raises:
        DataError: review.csv names what is not there, or `suspect` has not run.
    """
    known = set(made.table(paths.MANIFEST, columns=["path"])["path"])
    decisions = review.read(paths.REVIEW, known, config.ingest.pseudonyms)
    left_out = review.left_out(decisions, config.control)
    with files.folder_in_one_step(paths.WEIGHTS) as folder:
        _write(pd.DataFrame({"path": left_out}), folder / paths.LEFT_OUT.name)
        candidates = [*config.kinds.cnn, *config.kinds.bag]
        folds = range(config.split.n_folds)  # of those that are not trained, for `tune`
        for subtype, candidate, fold in itertools.product(config.subtypes, candidates, folds):
            target = folder / paths.weights(subtype, candidate, fold).relative_to(paths.WEIGHTS)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(_weights(config, subtype, candidate, fold, known, left_out), target)
    console.say(f"weigh: {len(left_out):,} images left out of the training; {len(decisions):,} decisions in {paths.REVIEW}")


def _weights(
    config: Config, subtype: str, candidate: str, fold: int, known: Collection[str], left_out: list[str]
) -> pd.DataFrame:
    """Path and weight of the images that count less in a fold's training: of those who train in it alone."""
    split = split_table.read(subtype)
    roles = split_table.roles(split, fold, config.split.n_folds)
    learners = set(roles.index[roles == "train"])
    gone = [path for path in left_out if image_paths.place(path)[0] in (config.control, subtype)]
    rows = [(path, 0.0) for path in gone if image_paths.place(path)[1] in learners]
    if candidate in config.down_weighted and fold in config.folds:
        table = paths.suspicion(subtype, candidate, fold)
        found = image_weights.read(paths.existing(table))
        strangers = [path for path in found.index if path not in known or image_paths.place(path)[1] not in learners]
        if strangers:
            raise DataError(f"{table}: nobody trains on {min(strangers)!r} in fold {fold}; run `dvc checkout --force {table}`")
        rows += [(str(path), weight) for path, weight in found.items() if path not in gone]
    return pd.DataFrame(rows, columns=image_weights.COLUMNS)


def _write(table: pd.DataFrame, target: Path) -> None:
    table.to_csv(target, index=False, lineterminator="\n")
