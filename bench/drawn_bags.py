"""Cohorts drawn as vectors and colours, without an image: what `train_bags`, `evaluate` and `audit` read of one.

A patient's cells lie around a place of his or her own (smears differ), and part of their vector follows from their colour. Of
the subtype's patients a share of the cells may lie elsewhere; or all their images may be less red.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from pipeline.auditing.baselines import COLOURS
from pipeline.common import paths
from pipeline.folds import split_table

ENCODER, DIMENSION, IMAGES = "drawn", 32, (8, 16)
CONTROL, PATIENTS = "control", (24, 18)  # of control and of the subtype
SMEAR = 0.5  # sd of a patient's place, in every dimension; of a cell around it 1
COLOUR = (
    (190.0, 160.0, 200.0, 30.0, 35.0, 25.0),
    4.0,
    3.0,
)  # of the manifest's columns; sd of a patient, of an image around it
BLAST = 1.5  # how far a leukaemic cell lies away in each of a quarter of the dimensions


def write(subtype: str, folds: int, seed: int, diseased_share: tuple[float, float], red: float) -> None:
    """The files, in this folder."""
    rng = np.random.default_rng(seed)
    loading = rng.normal(0, 0.5 / COLOUR[2], (len(COLOURS), DIMENSION))
    rows, split, people = [], [], []
    for label, (name, patients) in enumerate(zip((CONTROL, subtype), PATIENTS, strict=True)):
        vectors = []
        for number, fold in enumerate(rng.permutation(np.arange(patients) % folds)):
            patient, count = f"{name[0]}{number:03}", int(rng.integers(*IMAGES, endpoint=True))
            centre, sd_patient, sd_image = COLOUR
            colours = (
                np.array(centre) + rng.normal(0, sd_patient, len(COLOURS)) + rng.normal(0, sd_image, (count, len(COLOURS)))
            )
            colours[:, 0] *= red if label else 1.0
            cells = rng.normal(0, SMEAR, DIMENSION) + rng.normal(size=(count, DIMENSION)) + (colours - centre) @ loading
            diseased = (rng.random(count) < rng.uniform(*diseased_share)) & bool(label)
            cells[diseased, : DIMENSION // 4] += BLAST
            vectors.append(cells.astype(np.float32))
            split.append((patient, label, int(fold), count))
            people.append((patient, name, "", ""))
            own = [f"{name}/{patient}/image_{n}.tif" for n in range(count)]
            rows += [(path, name, patient, *seen, sick) for path, seen, sick in zip(own, colours, diseased, strict=True)]
        paths.vectors(ENCODER, name).parent.mkdir(parents=True, exist_ok=True)
        np.save(paths.vectors(ENCODER, name), np.concatenate(vectors))
        table = pd.DataFrame([(row[2], row[0]) for row in rows if row[1] == name], columns=["patient", "path"])
        table.to_parquet(paths.vector_rows(ENCODER, name), index=False)
    paths.encoder(ENCODER).write_text(json.dumps({"dimension": DIMENSION, "digest": "drawn"}))
    paths.SPLITS.mkdir()
    pd.DataFrame(split, columns=split_table.COLUMNS).to_csv(paths.split_table(subtype), index=False)
    pd.DataFrame(people, columns=["patient", "class", "sex", "age"]).assign(
        blast_share="", promyelocyte_share="", leucocytes_per_ul=""
    ).to_csv(paths.PATIENTS, index=False)
    images = pd.DataFrame(rows, columns=["path", "class", "patient", *COLOURS, "diseased"])
    images[["path", "diseased"]].to_parquet(paths.TRUTH, index=False)
    images.assign(pixels_sha256=images["path"], look_alike="", error="").to_parquet(paths.MANIFEST, index=False)
