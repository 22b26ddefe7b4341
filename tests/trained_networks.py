"""Cells, splits and networks of several subtypes that nobody trained: what they learned makes no difference to a test."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.common import files, paths
from pipeline.folds import split_table

FOLDS, PX, UNITS = 3, 16, 6
PATIENTS, IMAGES = 9, 5  # of each class, of each patient
LAYERS = [{"kind": "conv", "filters": 4, "kernel_px": 3, "batch_norm_momentum": 0.9, "pool": True},
          {"kind": "dense", "units": UNITS}]  # fmt: skip


def build(subtypes: Sequence[str], trained: Sequence[str]) -> None:
    """What the stages before leave: cells and splits of all, and of those `trained` a network a fold."""
    from pipeline.machine import device

    device.prepare("float32")
    from pipeline.networks import model

    rng = np.random.default_rng(0)
    for place in (paths.CELLS, paths.SPLITS):
        place.mkdir(parents=True)
    people = {name: [f"{name[0]}{n}" for n in range(PATIENTS)] for name in ("control", *subtypes)}
    for name, own in people.items():
        np.save(paths.cells(name), rng.integers(0, 256, (PATIENTS * IMAGES, PX, PX, 3), dtype=np.uint8))
        rows = [(who, f"{name}/{who}/image_{n}.tif") for who in own for n in range(IMAGES)]
        pd.DataFrame(rows, columns=["patient", "path"]).to_parquet(paths.cell_rows(name), index=False)
    for name in subtypes:
        split = [(who, label, n % FOLDS, IMAGES) for label, of in enumerate(("control", name))
                 for n, who in enumerate(people[of])]  # fmt: skip
        pd.DataFrame(split, columns=split_table.COLUMNS).to_csv(paths.split_table(name), index=False)
    for name in trained:
        for fold in range(FOLDS):
            spec = {
                "px": PX,
                "normalisation": {"mean": [128.0] * 3, "std": [60.0] * 3},
                **{"precision": "float32", "layers": LAYERS, "training": f"{name}-{fold}"},
                "inputs": {"split": files.sha256_of_all([paths.split_table(name)])},
            }
            place = paths.fold(name, "published", fold)
            place.mkdir(parents=True)
            (place / "spec.json").write_text(json.dumps(spec))
            model.seed_everything(fold)
            model.build(spec).save_weights(place / "model.weights.h5")
