"""Write which training images count less than others: data/weights.

By data/review.csv, of which what persons take out of the training is left out of it; and of a candidate with `down_weight` by
how healthy an image of a leukaemia patient looks to a regression that has not seen the patient, nor anybody who validates or is
tested in that fold. Where neither says anything the tables are empty, and no training depends on a vector.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from pipeline.bags import patients, recipe
from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.curation import review, suspicion
from pipeline.folds import image_weights, split_table
from pipeline.names import image_paths


def run(config: Config) -> None:
    """Write a table for every candidate of every subtype.

    Raises:
        DataError: review.csv names what is not there, or vectors are missing or do not fit the splits.
    """
    known = set(pd.read_parquet(paths.existing(paths.MANIFEST), columns=["path"])["path"])
    decisions = review.read(paths.REVIEW, known, config.ingest.pseudonyms)
    left_out = review.left_out(decisions, config.control)
    with files.folder_in_one_step(paths.WEIGHTS) as folder:
        (folder / paths.LEFT_OUT.name).write_text(_lines(pd.DataFrame({"path": left_out}, dtype="str")))
        for subtype, candidate in itertools.product(config.subtypes, config.candidates):
            target = folder / paths.weights(subtype, candidate).relative_to(paths.WEIGHTS)
            target.parent.mkdir(exist_ok=True)
            own = [path for path in left_out if image_paths.place(path)[0] in (config.control, subtype)]
            target.write_text(_lines(_weights(config, subtype, candidate, own)))
    console.say(
        f"weigh: {len(left_out):,} images left out of the training, by {len(decisions):,} decisions of "
        f"{len(review.counts(review.latest(decisions)))} reviewers"
    )


def _weights(config: Config, subtype: str, candidate: str, left_out: list[str]) -> pd.DataFrame:
    """Fold, path and weight of the images that count less."""
    found = _down_weights(config, subtype, candidate) if config.down_weight_of(candidate) else []
    gone = set(left_out)
    rows = [row for row in found if row[1] not in gone]
    rows += [(fold, path, 0.0) for fold in sorted(config.folds) for path in left_out]
    return pd.DataFrame(rows, columns=image_weights.COLUMNS).astype({"fold": "int64", "path": "str", "weight": "float64"})


def _down_weights(config: Config, subtype: str, candidate: str) -> list[tuple[int, str, float]]:
    settings = config.down_weight_of(candidate)
    assert settings is not None
    everybody = patients.read(config, subtype, settings.encoder, fold=0)  # one encoder, so the same vectors for all folds
    rows = []
    for fold in sorted(config.folds):
        roles = split_table.roles(everybody.split, fold, config.split.n_folds).to_numpy()
        training = np.flatnonzero(roles == "train").tolist()
        bags, labels = [everybody.bags[row] for row in training], everybody.labels[training]
        # One thread: several wait for each other more than they help, and their number may change the last digits.
        with threadpool_limits(1):
            weights = suspicion.weights(bags, labels, settings, recipe.seed(config.seed, subtype, fold))
        for row, own, label in zip(training, weights, labels, strict=True):
            if label:
                shares = np.maximum(own.round(image_weights.DECIMALS), 10.0**-image_weights.DECIMALS)
                rows += [(fold, path, float(share)) for path, share in zip(everybody.images[row], shares, strict=True)]
    return rows


def _lines(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))
