"""A cohort of brightness, and a search on it that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import weights
from conftest import write_params

from pipeline.common import config, paths
from pipeline.folds import split_table

PATIENTS, IMAGES, PX, FOLDS = 8, 4, 16, 4  # patients of each class, images of each patient


TINY: dict[str, Any] = {
    "subtypes": ["NEW"],
    "ingest.demo.patients": {"control": PATIENTS, "NEW": PATIENTS},
    "split.n_folds": FOLDS,
    "pack.px": PX,
    "train.batch_size": 16,
    "train.max_epochs": 2,
    "train.min_epochs": 1,
    "train.precision": "float32",
    "candidates.published.networks": {"NEW": {"first_conv": 2, "conv": [4], "dense": [4], "learning_rate": 0.01}},
    "evaluate.draws": 200,
    "tune.trials": 3,
    "tune.max_epochs": 2,
    "tune.pruning": {"after_trials": 1, "after_epochs": 1},
    "tune.finalists": 1,
    "tune.seeds": 2,
    "tune.space": {
        "first_conv": {"low": 2, "high": 6, "step": 2},
        "blocks": {"low": 1, "high": 2, "step": 1},
        "conv": {"low": 2, "high": 8, "step": 2},
        "dense": {"low": 2, "high": 8, "step": 2},
        "learning_rate": {"low": 0.001, "high": 0.1},
        "px": [8, 16],
        "pooling": ["flatten", "mean"],
        "dropout": [0.0, 0.3],
        "weight_decay": [0.0, 0.1],
        "stain_jitter": [0.0, 0.2],
    },
}


def cohort(folder: Path, **changes: Any) -> config.Config:
    """Data of a subtype whose cells are brighter, and params.yaml; the folder becomes the working directory of the test."""
    rng = np.random.default_rng(4)
    split = []
    for label, name in enumerate(("control", "NEW")):
        (folder / paths.cells(name)).parent.mkdir(parents=True, exist_ok=True)
        people = [f"{'QZ'[label]}{chr(65 + n)}X" for n in range(PATIENTS)]
        pixels = rng.integers(60, 160, (PATIENTS * IMAGES, PX, PX, 3)) + 30 * label
        np.save(folder / paths.cells(name), pixels.astype(np.uint8))
        rows = [(patient, f"{name}/{patient}/image_{i}.tif") for patient in people for i in range(IMAGES)]
        pd.DataFrame(rows, columns=["patient", "path"]).to_parquet(folder / paths.cell_rows(name), index=False)
        split += [(patient, label, n % FOLDS, IMAGES) for n, patient in enumerate(people)]
    (folder / paths.SPLITS).mkdir(parents=True, exist_ok=True)
    pd.DataFrame(split, columns=split_table.COLUMNS).to_csv(folder / paths.split_table("NEW"), index=False)
    weights.all_the_same("NEW", "published", folder=folder)
    return config.load(write_params(folder / "params.yaml", TINY | changes))
