"""What a bag model follows from: encoder, learner's settings, data, split and code; and its fit, by the learner's name."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.bags import instances, pooled
from pipeline.bags.inner_folds import Ints
from pipeline.bags.scoring import Bag, Floats
from pipeline.common import files, paths
from pipeline.common.config import Config
from pipeline.common.params_learning import InstancesLearner, PooledLearner
from pipeline.folds import image_weights, split_table

_PACKAGE = Path(__file__).parents[1]
CODE = ("bags", "folds", "stages/train_bags.py")


def fit(config: Config, candidate: str, bags: Sequence[Bag], labels: Ints, seed: int) -> dict[str, Floats]:
    """The coefficients of the candidate's learner, as `scoring` reads them, from training patients."""
    learner = config.bag_of(candidate).learner
    if isinstance(learner, PooledLearner):
        return pooled.fit(bags, labels, learner, seed)
    if isinstance(learner, InstancesLearner):
        return instances.fit(bags, labels, learner, seed)
    from pipeline.bags import attention  # TensorFlow takes seconds and memory

    return attention.fit(bags, labels, learner, seed)


def seed(seed: int, subtype: str, fold: int) -> int:
    """A seed of its own for every subtype and fold."""
    return int.from_bytes(hashlib.sha256(f"{seed} {subtype} {fold} bags".encode()).digest()[:4], "big")


def digests(config: Config, subtype: str, places: Sequence[str]) -> dict[str, str]:
    """SHA-256 of the vectors, which lie at `places` below data/vectors, the split and the code behind a bag model."""
    classes = [(place, name) for place in places for name in (config.control, subtype)]
    vectors = [path for of_class in classes for path in (paths.vectors(*of_class), paths.vector_rows(*of_class))]
    code = [module for place in CODE for module in _modules(_PACKAGE / place)]
    return {
        "vectors": files.sha256_of_all(vectors),
        "split": files.sha256_of_all([paths.split_table(subtype)]),
        "code": files.sha256_of_all(code),
    }


def spec(
    config: Config,
    subtype: str,
    candidate: str,
    fold: int,
    place: str,
    encoder: dict[str, Any],
    inputs: dict[str, str],
    weights: pd.Series,
) -> dict[str, Any]:
    """All that is needed to score with a fold's coefficients, and what they follow from.

    `place` is where its vectors lie; `weights` are of the images that it did not learn from.
    """
    known = config.bag_of(candidate)
    learner, searched_on = known.learner.model_dump(), config.tuned_on(subtype, candidate)
    contents = {
        "kind": "bag",
        "subtype": subtype,
        "candidate": candidate,
        "control": config.control,
        "fold": fold,
        "um": config.image_um,
        "encoder": {"name": place, **encoder},
        "learner": known.learner.name,
        "knobs": {
            "encoder": known.encoder,
            "learner": learner.pop("name"),
            **learner,
            "seed": config.seed,
            "n_folds": config.split.n_folds,
        },
        "machine": {"kind": "cpu", "name": platform.machine()},
        "inputs": inputs,
        **image_weights.curated(weights),
        **({"tuned_on": split_table.told_apart(searched_on)} if searched_on else {}),
    }
    return {**contents, "training": hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()}


def _modules(place: Path) -> list[Path]:
    return sorted(place.glob("*.py")) if place.is_dir() else [place]
