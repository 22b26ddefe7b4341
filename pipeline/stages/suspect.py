"""Ask which training images look healthy: data/suspicion/<candidate>/<subtype>/, for each candidate of `down_weighted`.

By a regression on vectors that has not seen the image's patient, nor anybody who validates or is tested in that fold. A
table for each fold has a row an image of a leukaemia patient who trains in it: path, weight. Healthy donors' images all count
the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from pipeline.bags import patients, recipe
from pipeline.common import console, files, paths, selection
from pipeline.common.config import Config
from pipeline.curation import suspicion
from pipeline.folds import image_weights, split_table


def run(config: Config, candidates: list[str]) -> None:
    """Write a table for every subtype, of each candidate that is down-weighted.

    Raises:
        ConfigError: the encoder is not there.
        DataError: vectors are missing, or do not fit the splits.
    """
    selection.encoders(config, config.suspect.encoder)
    for candidate in candidates:
        if candidate not in config.down_weighted:
            console.say(f"suspect: {candidate}: not in params.yaml's down_weighted, so all its images count the same")
            continue
        target = paths.SUSPICION / candidate
        with files.folder_in_one_step(target, paths.CHECKPOINTS / f"suspect-{candidate}-unfinished") as folder:
            for subtype in config.subtypes:
                for fold, weights in _weights(config, subtype):
                    table = folder / paths.suspicion(subtype, candidate, fold).relative_to(target)
                    table.parent.mkdir(exist_ok=True)
                    weights.to_csv(table, index=False, lineterminator="\n")
        console.say(f"suspect: {target}: {len(config.subtypes)} subtypes, {len(config.folds)} folds")


def _weights(config: Config, subtype: str) -> Iterator[tuple[int, pd.DataFrame]]:
    """Fold by fold."""
    everybody = patients.read(config, subtype, config.suspect.encoder, fold=0)  # one encoder, so the same for all folds
    least = 10.0**-image_weights.DECIMALS
    for fold in sorted(config.folds):
        roles = split_table.roles(everybody.split, fold, config.split.n_folds).to_numpy()
        training, rows = np.flatnonzero(roles == "train").tolist(), list[tuple[str, float]]()
        bags, labels = [everybody.bags[row] for row in training], everybody.labels[training]
        suspicion.require_enough(labels, f"suspect: {subtype} fold {fold}")
        # One thread: several wait for each other more than they help, and their number may change the last digits.
        with threadpool_limits(1):
            weights = suspicion.weights(bags, labels, config.suspect, recipe.seed(config.seed, subtype, fold))
        for row, own, label in zip(training, weights, labels, strict=True):
            if label:
                rows += zip(everybody.images[row], np.maximum(own.round(image_weights.DECIMALS), least).tolist(), strict=True)
        yield fold, pd.DataFrame(rows, columns=image_weights.COLUMNS)
