"""Train the learners of kind `bag`, all folds of a candidate in one process: models/<subtype>/<candidate>/fold-<k>/.

Writes the coefficients, the spec that says how they score, and the logits of the validation and test patients, one a patient.
MLflow is not asked: it takes seconds, and `register` brings what is in these files there.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from pipeline.bags import patients, recipe, scoring
from pipeline.bags.patients import Patients
from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.folds import image_weights, split_table

COEFFICIENTS = "coefficients.npz"
_FEWEST = 2  # training patients of a class


def run(config: Config, subtypes: list[str], candidates: list[str]) -> None:
    """Train all folds of each candidate of each subtype.

    Raises:
        DataError: vectors are missing, or do not fit the split.
        LeakError: a patient is to be scored by vectors of a network that trained on him or her.
    """
    for subtype, candidate in itertools.product(subtypes, candidates):
        encoder, start = config.bag_of(candidate).encoder, time.monotonic()
        target = paths.fold(subtype, candidate, 0).parent
        unfinished = paths.CHECKPOINTS / f"{subtype}-{candidate}-unfinished"
        # One thread: several wait for each other more than they help, and their number may change the last digits.
        with threadpool_limits(1), files.folder_in_one_step(target, unfinished) as folder:
            places: list[str] = []
            for fold in sorted(config.folds):
                before, places = places, patients.places(config, subtype, encoder, fold)
                if places != before:  # those of a network are others for each fold
                    everybody = patients.read(config, subtype, encoder, fold)
                    inputs = recipe.digests(config, subtype, places)
                place = folder / paths.fold(subtype, candidate, fold).name
                place.mkdir()
                weights = image_weights.read(paths.existing(paths.weights(subtype, candidate, fold)))
                spec = recipe.spec(config, subtype, candidate, fold, places[0], everybody.encoder, inputs, weights)
                (place / "spec.json").write_text(json.dumps(spec, indent=2) + "\n")
                _train(config, subtype, candidate, fold, everybody, frozenset(weights.index), place)
        took = console.duration(time.monotonic() - start)
        console.say(f"train_bags: {target}: {len(config.folds)} folds of {len(everybody.bags)} patients, {took}")


def _train(
    config: Config, subtype: str, candidate: str, fold: int, everybody: Patients, left_out: frozenset[str], place: Path
) -> None:
    roles = split_table.roles(everybody.split, fold, config.split.n_folds).to_numpy()
    learned = {row: everybody.without(row, left_out) for row in np.flatnonzero(roles == "train").tolist()}
    training = [row for row, bag in learned.items() if len(bag)]
    for label, name in enumerate((config.control, subtype)):
        if (count := int((everybody.labels[training] == label).sum())) < _FEWEST:
            raise DataError(
                f"{subtype} fold {fold}: {count} training patients of {name}; {_FEWEST} are needed, to hold one out: "
                "bring more patients, or leave the fold out of params.yaml's folds"
            )
    coefficients = recipe.fit(
        config,
        candidate,
        [learned[row] for row in training],
        everybody.labels[training],
        recipe.seed(config.seed, subtype, fold),
    )
    np.savez(place / COEFFICIENTS, allow_pickle=False, **coefficients)  # the same bytes again: no time is in it
    learner = config.bag_of(candidate).learner.name
    parts = []
    for role in ("val", "test"):
        rows = np.flatnonzero(roles == role).tolist()
        bags = [everybody.bags[row] for row in rows]
        table = everybody.split.iloc[rows][["patient", "label"]]
        logits = scoring.logits(learner, coefficients, bags)
        parts.append(table.assign(split=role, images=[len(bag) for bag in bags], logit=logits))
    columns = ["patient", "split", "label", "images", "logit"]
    pd.concat(parts, ignore_index=True)[columns].to_parquet(place / "predictions.parquet", index=False)
