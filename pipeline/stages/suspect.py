"""Ask which training images look healthy: data/suspicion/<candidate>/<subtype>.csv, for each candidate of `down_weighted`.

By a regression on vectors that has not seen the image's patient, nor anybody who validates or is tested in that fold. A row
an image of a leukaemia patient and fold in which the patient trains: fold, path, weight. Healthy donors' images all count the
same.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from pipeline.bags import patients, recipe
from pipeline.common import config as settings
from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.curation import suspicion
from pipeline.folds import image_weights, split_table


def run(config: Config, candidates: list[str]) -> None:
    """Write a table for every subtype, of each candidate that is down-weighted.

    Raises:
        ConfigError: the encoder is not there.
        DataError: vectors are missing, or do not fit the splits.
    """
    settings.chosen_encoders(config, config.suspect.encoder)
    for candidate in candidates:
        if candidate not in config.down_weighted:
            console.say(f"suspect: {candidate}: not in params.yaml's down_weighted, so all its images count the same")
            continue
        target = paths.suspicion("", candidate).parent
        with files.folder_in_one_step(target, paths.CHECKPOINTS / f"suspect-{candidate}-unfinished") as folder:
            for subtype in config.subtypes:
                weights = _weights(config, subtype)
                weights.to_csv(folder / paths.suspicion(subtype, candidate).name, index=False, lineterminator="\n")
        console.say(f"suspect: {target}: {len(config.subtypes)} subtypes, {len(config.folds)} folds")


def _weights(config: Config, subtype: str) -> pd.DataFrame:
    everybody = patients.read(config, subtype, config.suspect.encoder, fold=0)  # one encoder, so the same for all folds
    least, rows = 10.0**-image_weights.DECIMALS, []
    for fold in sorted(config.folds):
        roles = split_table.roles(everybody.split, fold, config.split.n_folds).to_numpy()
        training = np.flatnonzero(roles == "train").tolist()
        bags, labels = [everybody.bags[row] for row in training], everybody.labels[training]
        # One thread: several wait for each other more than they help, and their number may change the last digits.
        with threadpool_limits(1):
            weights = suspicion.weights(bags, labels, config.suspect, recipe.seed(config.seed, subtype, fold))
        for row, own, label in zip(training, weights, labels, strict=True):
            if label:
                shares = np.maximum(own.round(image_weights.DECIMALS), least)
                rows += [(fold, path, share) for path, share in zip(everybody.images[row], shares, strict=True)]
    return pd.DataFrame(rows, columns=image_weights.COLUMNS)
