"""What one training is made of: which images, what the network is, and all that its weights follow from.

`train` trains the networks that count, `audit_networks` their twins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common import files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.folds import image_weights, split_table
from pipeline.networks import epoch_images
from pipeline.networks.epoch_images import Pool

ROLES: tuple[split_table.Role, ...] = ("train", "val", "test")
_PACKAGE = Path(__file__).parents[1]
# What a training's result depends on, of this package: the checkpoint of another version of these is not gone on with.
CODE = ("folds", "machine", "networks", "stages/train.py")
_IMAGES_AT_ONCE = 1024

T = TypeVar("T")
Pair: TypeAlias = tuple[T, T] | list[T]  # of control, of the subtype


def inputs(config: Config, subtype: str) -> tuple[pd.DataFrame, list[pd.DataFrame], list[NDArray[np.uint8]]]:
    """The split, and of control and subtype the table of images and their pixels, on disk.

    Raises:
        DataError: they do not fit each other.
    """
    split = split_table.read(subtype)
    classes = (config.control, subtype)
    tables = [made.table(paths.cell_rows(name)) for name in classes]
    cells = [made.array(paths.cells(name)) for name in classes]
    for name, table, pixels in zip(classes, tables, cells, strict=True):
        if len(table) != len(pixels) or pixels.shape[1:] != (config.pack.px, config.pack.px, 3):
            raise DataError(f"{paths.cells(name)} does not fit its table or pack.px; run `dvc repro`")
    for label, (name, table) in enumerate(zip(classes, tables, strict=True)):
        strangers = set(table["patient"]) ^ set(split.loc[split["label"] == label, "patient"])
        if strangers:
            raise DataError(
                f"patient {min(strangers)} of {name} is in only one of {paths.split_table(subtype)} and "
                f"{paths.cell_rows(name)}; run `dvc repro`"
            )
    return split, tables, cells


def weighed(subtype: str, candidate: str, fold: int, images: Pair[pd.DataFrame]) -> list[pd.DataFrame]:
    """`images` with a column weight, as data/weights says it for a fold of the candidate."""
    weights = image_weights.read(paths.existing(paths.weights(subtype, candidate, fold)))
    return [table.assign(weight=image_weights.of_images(weights, table["path"])) for table in images]


def pools(config: Config, cells: Pair[NDArray[np.uint8]], images: Pair[pd.DataFrame]) -> dict[str, tuple[Pool, Pool]]:
    """Role -> the images of control and subtype that have it; of training images at most `images_per_class` of each.

    `images` of either class has a row per row of its `cells`: patient, role, label, weight; another class's rows are passed
    over, and of training images those without weight.

    Raises:
        DataError: no training image of a class is left.
    """

    def pool(role: str, label: int) -> Pool:
        table, limit = images[label], config.train.images_per_class
        patients = table["patient"].to_numpy(dtype=object)
        weights = table["weight"].to_numpy(np.float64) if role == "train" else np.ones(len(table))
        rows = np.flatnonzero((table["role"] == role) & (table["label"] == label) & (weights > 0))
        if role == "train" and not len(rows) and ((table["role"] == role) & (table["label"] == label)).any():
            raise DataError(
                f"{paths.REVIEW}: leaves no training image of {('control', 'the subtype')[label]}; take decisions back, or "
                "bring more patients"
            )
        if role == "train" and limit is not None and len(rows) > limit:
            rng = np.random.default_rng([config.seed, label])
            rows = rows[epoch_images.evenly(patients[rows], limit, rng)]
        return Pool(cells[label], rows, patients[rows], weights[rows] if (weights[rows] < 1).any() else None)

    return {role: (pool(role, 0), pool(role, 1)) for role in ROLES}


def normalisation(training: tuple[Pool, Pool]) -> dict[str, list[float]]:
    """Mean and standard deviation of R, G, B over the training images, both classes weighing the same.

    From integer counts of every value, so that the figures do not depend on the order of addition.
    """
    means, squares = [], []
    for pool in training:
        counts = np.zeros((3, 256), dtype=np.int64)
        for start in range(0, len(pool.rows), _IMAGES_AT_ONCE):
            images = pool.take(np.arange(start, min(start + _IMAGES_AT_ONCE, len(pool.rows))))
            counts += np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
        values, total = np.arange(256), counts[0].sum()
        means.append((counts * values).sum(axis=1) / total)
        squares.append((counts * values**2).sum(axis=1) / total)
    mean, square = np.mean(means, axis=0), np.mean(squares, axis=0)
    return {"mean": [float(v) for v in mean], "std": [float(v) for v in np.sqrt(np.maximum(square - mean**2, 1.0))]}


def spec(
    config: Config,
    subtype: str,
    candidate: str,
    fold: int,
    normalisation: dict[str, list[float]],
    machine: dict[str, Any],
    code: Sequence[str] = CODE,
) -> dict[str, Any]:
    """All that is needed to rebuild the network, and what its weights follow from; `code` are rooms and modules."""
    train, network = config.train_of(subtype, candidate), config.network_of(subtype, candidate)
    factor = config.pack.px // config.px_of(subtype, candidate)

    def conv(filters: int, pool: bool, batch_norm: bool) -> dict[str, Any]:
        momentum = train.batch_norm_momentum if batch_norm else None
        return {
            "kind": "conv",
            "filters": filters,
            "kernel_px": train.kernel_px,
            "batch_norm_momentum": momentum,
            "pool": pool,
        }

    contents = {
        "subtype": subtype,
        "candidate": candidate,
        "control": config.control,
        "fold": fold,
        "px": config.pack.px,
        "um": config.image_um,
        "normalisation": normalisation,
        "precision": machine["precision"],
        "layers": [
            *([{"kind": "shrink", "factor": factor}] if factor > 1 else []),
            conv(network.first_conv, pool=train.pool_first, batch_norm=False),
            *(conv(filters, pool=True, batch_norm=True) for filters in network.conv),
            *([{"kind": "mean"}] if train.pooling == "mean" else []),
            *({"kind": "dense", "units": units} for units in network.dense),
            *([{"kind": "dropout", "rate": train.dropout}] if train.dropout else []),
        ],
        "knobs": _knobs(config, subtype, candidate),
        "machine": machine,
        "inputs": digests(config, subtype, code),
        **image_weights.curated(image_weights.read(paths.existing(paths.weights(subtype, candidate, fold)))),
        **({"tuned_on": split_table.told_apart(network.tuned_on)} if network.tuned_on else {}),
    }
    return {**contents, "training": digest(contents)}


def digest(contents: dict[str, Any]) -> str:
    """SHA-256 of all that something follows from."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _knobs(config: Config, subtype: str, candidate: str) -> dict[str, Any]:
    """What a person turns: the columns of MLflow's compare page."""
    train, network = config.train_of(subtype, candidate), config.network_of(subtype, candidate)
    return {
        "px": config.px_of(subtype, candidate),
        "seed": config.seed,
        "n_folds": config.split.n_folds,
        **network.model_dump(include={"first_conv", "conv", "dense", "learning_rate"}),
        **train.model_dump(exclude={"augment"}),
        **{f"augment_{key}": value for key, value in train.augment.model_dump().items()},
    }


def digests(config: Config, subtype: str, code: Sequence[str]) -> dict[str, str]:
    """SHA-256 of the data, the split and the code a training depends on."""
    cells = [path for name in (config.control, subtype) for path in (paths.cells(name), paths.cell_rows(name))]
    return {
        "cells": files.sha256_of_all(cells),
        "split": files.sha256_of_all([paths.split_table(subtype)]),
        "code": files.sha256_of_all(path for place in code for path in _modules(_PACKAGE / place)),
    }


def _modules(place: Path) -> list[Path]:
    """A module, or the modules of a room by name."""
    return sorted(place.glob("*.py")) if place.is_dir() else [place]


def seed(seed: int, subtype: str, fold: int) -> int:
    """A seed of its own for every network, whatever else is trained (Keras takes 32 bits)."""
    return int.from_bytes(hashlib.sha256(f"{seed} {subtype} {fold}".encode()).digest()[:4], "big")
