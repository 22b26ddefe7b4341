"""A tiny cohort as vectors, its split, and settings with a bag candidate beside the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import weights
from conftest import write_params

from pipeline.common import config, paths

DIMENSION, FOLDS, SUBTYPE, ENCODER = 12, 3, "NPM1", "drawn"
POOLED = {"name": "pooled", "quantiles": [0.75, 0.9], "penalties": [0.001, 0.01, 0.1], "inner_folds": 3}
INSTANCES = {"name": "instances", "images_per_patient": 20, "penalties": [0.001, 0.1], "inner_folds": 3}
ATTENTION = {
    "name": "attention",
    "images_per_patient": 16,
    "hidden": 8,
    "attention": 4,
    "dropout": 0.1,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "batch_size": 8,
    "max_epochs": 12,
    "patience": 5,
    "members": 2,
    "inner_folds": 3,
}


def bags(counts: tuple[int, int], seed: int = 0, blasts: float = 0.4) -> tuple[list[np.ndarray], np.ndarray]:
    """Bags of controls, then of the subtype's patients, of whose images a share lies elsewhere."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], counts)
    found = []
    for label in labels:
        bag = rng.normal(size=(rng.integers(15, 30), DIMENSION))
        bag[: round(blasts * len(bag) * label), 0] += 4
        found.append(rng.permutation(bag).astype(np.float32))
    return found, labels


def settings(tmp_path: Path, learner: dict[str, Any] = POOLED, **more: Any) -> config.Config:
    """Of params.yaml, with the one candidate `bags` and all of three folds."""
    changes = {
        "subtypes": [SUBTYPE],
        "folds": list(range(FOLDS)),
        "split.n_folds": FOLDS,
        "kinds": {"cnn": [], "bag": ["bags"]},
        "candidates": {"bags": {"kind": "bag", "encoder": ENCODER, "learner": learner}},
        "encoders": {ENCODER: {"kind": "package", "px": 48, "weights_sha256": "e5" * 32}},
        **more,
    }
    return config.load(write_params(tmp_path / "params.yaml", changes))


def cohort_files(counts: tuple[int, int] = (15, 12), seed: int = 0) -> None:
    """Vectors, their tables, the encoder's file and the split, as the stages before leave them."""
    vectors, labels = bags(counts, seed)
    names = [f"P{number:02}" for number in range(len(labels))]
    rows = []
    for label, name in enumerate(("control", SUBTYPE)):
        own = [number for number in range(len(labels)) if labels[number] == label]
        paths.vectors(ENCODER, name).parent.mkdir(parents=True, exist_ok=True)
        np.save(paths.vectors(ENCODER, name), np.concatenate([vectors[number] for number in own]))
        table = [(names[n], f"{name}/{names[n]}/image_{k}.tif") for n in own for k in range(len(vectors[n]))]
        pd.DataFrame(table, columns=["patient", "path"]).to_parquet(paths.vector_rows(ENCODER, name), index=False)
        rows += [(names[n], label, place % FOLDS, len(vectors[n])) for place, n in enumerate(own)]
    about = {"sha256": "e5" * 32, "px": 48, "dimension": DIMENSION}
    paths.encoder(ENCODER).write_text(json.dumps(about))
    paths.SPLITS.mkdir(parents=True)
    pd.DataFrame(rows, columns=["patient", "label", "fold", "images"]).to_csv(paths.split_table(SUBTYPE), index=False)
    weights.all_the_same(SUBTYPE, "bags")
