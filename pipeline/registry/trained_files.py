"""What is brought to MLflow beside a trained model: its encoder, figures as metrics, scores under keys that name nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common import files, made, paths
from pipeline.common.errors import DataError, ModelError
from pipeline.encoders import kept_network
from pipeline.evaluation import figures
from pipeline.evaluation.figures import Interval
from pipeline.registry import model_files

_KEYS = 4  # of a patient


def encoder(spec: Mapping[str, Any]) -> dict[str, Path]:
    """The files of the encoder that a fold of a model embeds images with, by their names in the model.

    None where it has none, or its vectors were made elsewhere; where it is a network of this project, each fold has one of its
    own.

    Raises:
        ModelError: the encoder that is there is not the one behind the model.
    """
    learned = spec.get("encoder", {})
    if "weights_file_sha256" not in learned:
        return {}
    folder, within = paths.encoder(learned["name"]).parent, model_files.encoder_folder(spec)
    weights = paths.existing(folder / kept_network.WEIGHTS)
    if files.sha256(weights) != learned["weights_file_sha256"]:
        raise ModelError(f"{weights}: not the encoder that {spec['subtype']} {spec['candidate']} learned with; run `dvc repro`")
    network = paths.existing(folder / kept_network.NETWORK)
    return {(within / file.name).as_posix(): file for file in (network, weights)}


def under_keys(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with keys in the column patient: they follow from a patient's name and pictures, and names stay here.

    So whoever has the pictures can tell the same patient again, and nobody else can. There are several, of the pictures whose
    digests come first, so that the patient is the same when a picture comes or goes.
    """
    images = made.table(paths.MANIFEST, columns=["patient", "pixels_sha256", "error"])
    known = keys(images[images["error"] == ""])
    if strangers := set(table["patient"]) - set(known):
        raise DataError(f"{paths.MANIFEST}: has no usable image of patient {min(strangers)}; run `dvc repro`")
    return table.assign(patient=[" ".join(known[name]) for name in table["patient"]])


def keys(images: pd.DataFrame) -> dict[str, list[str]]:
    """The keys of each patient of `images`, usable rows of a manifest."""
    usable = images.sort_values("pixels_sha256").drop_duplicates(["patient", "pixels_sha256"])
    return {
        str(patient): [_key(str(patient), digest) for digest in digests.head(_KEYS)]
        for patient, digests in usable.groupby("patient")["pixels_sha256"]
    }


def _key(patient: str, pixels_sha256: str) -> str:
    return hashlib.sha256(f"{patient} {pixels_sha256}".encode()).hexdigest()[:16]


def as_metrics(found: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The figures of metrics.json as MLflow's metrics: three for a figure with bounds, one for a count."""
    for key, figure in found.items():
        if isinstance(figure, dict):
            yield from figures.flat(key, Interval(**figure))
        else:
            yield key, float(figure)
