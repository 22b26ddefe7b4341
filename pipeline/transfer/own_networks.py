"""The networks of other subtypes as encoders: of an image what the last but one layer of each says, side by side.

Networks of two folds have nothing in common, so a fold's vectors are those of that fold's networks alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bags.scoring import Bag
from pipeline.common import files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import LeakError, ModelError
from pipeline.encoders import before_last
from pipeline.machine import device
from pipeline.networks import model


def describe(subtypes: Sequence[str], candidate: str, fold: int) -> list[dict[str, Any]]:
    """Which networks they are: of each the digests of its training and of its weights.

    Raises:
        DataError: a network is not there.
        LeakError: a network was trained by another split than its subtype has now.
    """
    found = []
    for subtype in subtypes:
        folder = paths.fold(subtype, candidate, fold)
        spec = made.values(folder / "spec.json")
        if spec["inputs"]["split"] != files.sha256_of_all([paths.existing(paths.split_table(subtype))]):
            raise LeakError(
                f"{folder}: trained by another split than {paths.split_table(subtype)}; `dvc repro` trains it again"
            )
        found.append(
            {
                "subtype": subtype,
                "candidate": candidate,
                "fold": fold,
                "training": spec["training"],
                "weights_sha256": files.sha256(paths.existing(folder / "model.weights.h5")),
            }
        )
    return found


def bags(
    config: Config,
    subtypes: Sequence[str],
    candidate: str,
    fold: int,
    patients: Sequence[str],
    images: Sequence[tuple[pd.DataFrame, NDArray[np.uint8]]],
) -> Mapping[str, Bag]:
    """Patient -> vectors by one fold's networks of `subtypes`, of the `patients` among `images` (tables and their cells)."""
    device.prepare("float32")
    device.whole_float32()
    parts: dict[str, list[Bag]] = {patient: [] for patient in patients}
    for subtype in subtypes:
        folder = paths.fold(subtype, candidate, fold)
        spec = made.values(folder / "spec.json")
        try:
            network = model.build({**spec, "precision": "float32"})
            network.load_weights(folder / "model.weights.h5")
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"{folder}: spec and weights do not make a network ({reason}); `dvc repro` trains it again"
            ) from None
        encoder = before_last.cut(network)
        for table, cells in images:
            rows = np.flatnonzero(table["patient"].isin(list(patients)))
            vectors = before_last.vectors(encoder, (cells[row] for row in rows))
            for patient, own in table.iloc[rows].groupby("patient", sort=False).indices.items():
                parts[str(patient)].append(vectors[own])
    return {patient: np.concatenate(own, axis=1) for patient, own in parts.items()}
