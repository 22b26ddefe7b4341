"""Train one subtype's network of one fold: models/<subtype>/fold-<k>/.

Writes weights, the spec that rebuilds the network in code, the curves, and the scores of the validation and test images.
MLflow must answer at the start; it then follows while it trains, its absence stops nothing, and nothing from it ends up in
these files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import console, paths, selection, splits, tracking
from pipeline.config import Config
from pipeline.errors import DataError
from pipeline.scoring import probabilities

# What a result depends on, of this package: the checkpoint of another version of these is not gone on with.
CODE = ("augment", "device", "errors", "fitting", "model", "scoring", "selection", "splits", "train")
_IMAGES_AT_ONCE = 1024


def run(config: Config, subtype: str, fold: int) -> None:
    """Train fold `fold` of `subtype`, or go on with it after a kill."""
    split, tables, cells = _inputs(config, subtype)
    roles = splits.roles(split, fold, config.split.n_folds)
    chosen = {
        role: [_rows(config, table, roles, role, label) for label, table in enumerate(tables)]
        for role in ("train", "val", "test")
    }
    normalisation = _normalisation(cells, chosen["train"])

    from pipeline import device, fitting, model  # TensorFlow takes seconds and memory: after everything that can fail

    machine = device.prepare(config.train.precision)
    spec = _spec(config, subtype, fold, normalisation, asdict(machine))
    seed = _seed(config.seed, subtype, fold)
    checkpoint = paths.CHECKPOINTS / f"{subtype}-fold-{fold}-{spec['training'][:16]}.npz"
    console.say(
        f"train {subtype} fold {fold} on {machine.name} ({machine.precision}, {machine.threads} threads): "
        + ", ".join(
            f"{role} {len(control):,} control + {len(other):,} {subtype} images" for role, (control, other) in chosen.items()
        )
    )
    model.seed_everything(seed)
    network = model.build(spec)

    def pool(role: str, label: int) -> fitting.Pool:
        rows = chosen[role][label]
        return fitting.Pool(cells[label], rows, tables[label]["patient"].to_numpy(dtype=object)[rows])

    pools = {role: (pool(role, 0), pool(role, 1)) for role in chosen}
    with tracking.follow_training(spec) as follower:
        history, kept = fitting.fit(
            network,
            pools["train"],
            pools["val"],
            config.train,
            config.train.models[subtype].learning_rate,
            seed,
            machine.xla,
            checkpoint,
            follower.log_epoch,
        )
        logits = {role: [fitting.pool_logits(network, part) for part in pools[role]] for role in ("val", "test")}
        predictions = pd.concat(
            [
                tables[label].iloc[chosen[role][label]].assign(split=role, label=label, logit=logits[role][label])
                for role in ("val", "test")
                for label in (0, 1)
            ],
            ignore_index=True,
        )
        curves = pd.DataFrame(history).assign(kept=[int(row["epoch"] == kept) for row in history])
        with _finished(paths.fold(subtype, fold)) as folder:
            fitting.save_weights(network, spec, folder / "model.weights.h5")
            _write(folder, spec, curves, predictions)
        follower.finish(paths.fold(subtype, fold))
    for other in paths.CHECKPOINTS.glob(f"{subtype}-fold-{fold}-*"):
        if other.is_dir():  # left behind by a kill
            shutil.rmtree(other)
        elif other != checkpoint:  # of other parameters or data; this one answers a repetition without training
            other.unlink(missing_ok=True)


def _inputs(config: Config, subtype: str) -> tuple[pd.DataFrame, list[pd.DataFrame], list[NDArray[np.uint8]]]:
    split = pd.read_csv(paths.existing(paths.split_table(subtype)), **splits.CSV_FORMAT)
    classes = (config.control, subtype)
    tables = [pd.read_parquet(paths.existing(paths.cell_rows(name))) for name in classes]
    cells = [np.load(paths.existing(paths.cells(name)), mmap_mode="r") for name in classes]
    for name, table, pixels in zip(classes, tables, cells, strict=True):
        if len(table) != len(pixels) or pixels.shape[1:] != (config.pack.px, config.pack.px, 3):
            raise DataError(f"{paths.cells(name)} does not fit its table or pack.px; run the pack stage again")
    for label, (name, table) in enumerate(zip(classes, tables, strict=True)):
        strangers = set(table["patient"]) ^ set(split.loc[split["label"] == label, "patient"])
        if strangers:
            raise DataError(
                f"patient {min(strangers)} of {name} is in only one of {paths.split_table(subtype)} and "
                f"{paths.cell_rows(name)}; run the split and pack stages again"
            )
    return split, tables, cells


def _rows(config: Config, table: pd.DataFrame, roles: pd.Series, role: str, label: int) -> NDArray[np.int64]:
    """Row numbers of one class's images of one role; of training images at most `images_per_class`, evenly over patients."""
    rows = np.flatnonzero(table["patient"].map(roles) == role)
    limit = config.train.images_per_class
    if role != "train" or limit is None or len(rows) <= limit:
        return rows
    rng = np.random.default_rng([config.seed, label])
    return rows[selection.evenly(table["patient"].to_numpy(dtype=object)[rows], limit, rng)]


def _normalisation(cells: list[NDArray[np.uint8]], rows_of_class: list[NDArray[np.int64]]) -> dict[str, list[float]]:
    """Mean and standard deviation of R, G, B over the training images, both classes weighing the same.

    From integer counts of every value, so that the figures do not depend on the order of addition.
    """
    means, squares = [], []
    for pixels, rows in zip(cells, rows_of_class, strict=True):
        counts = np.zeros((3, 256), dtype=np.int64)
        for start in range(0, len(rows), _IMAGES_AT_ONCE):
            images = pixels[rows[start : start + _IMAGES_AT_ONCE]]
            counts += np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
        values, total = np.arange(256), counts[0].sum()
        means.append((counts * values).sum(axis=1) / total)
        squares.append((counts * values**2).sum(axis=1) / total)
    mean, square = np.mean(means, axis=0), np.mean(squares, axis=0)
    return {"mean": [float(v) for v in mean], "std": [float(v) for v in np.sqrt(np.maximum(square - mean**2, 1.0))]}


def _spec(
    config: Config, subtype: str, fold: int, normalisation: dict[str, list[float]], machine: dict[str, Any]
) -> dict[str, Any]:
    """All that is needed to rebuild the network, and what its weights follow from."""
    train, network = config.train, config.train.models[subtype]

    def conv(filters: int, pool: bool, batch_norm: bool) -> dict[str, Any]:
        momentum = train.batch_norm_momentum if batch_norm else None
        return {
            "kind": "conv",
            "filters": filters,
            "kernel_px": train.kernel_px,
            "batch_norm_momentum": momentum,
            "pool": pool,
        }

    spec = {
        "subtype": subtype,
        "control": config.control,
        "fold": fold,
        "px": config.pack.px,
        "um": config.image_um,
        "normalisation": normalisation,
        "precision": machine["precision"],
        "layers": [
            conv(network.first_conv, pool=train.pool_first, batch_norm=False),
            *(conv(filters, pool=True, batch_norm=True) for filters in network.conv),
            *({"kind": "dense", "units": units} for units in network.dense),
        ],
        "knobs": _knobs(config, subtype),
        "machine": machine,
        "inputs": _digests(config, subtype),
    }
    return {**spec, "training": hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()}


def _knobs(config: Config, subtype: str) -> dict[str, Any]:
    """What a person turns: the columns of MLflow's compare page."""
    train, network = config.train, config.train.models[subtype]
    return {
        "px": config.pack.px,
        "seed": config.seed,
        "n_folds": config.split.n_folds,
        **network.model_dump(),
        **train.model_dump(exclude={"folds", "models", "augment"}),
        **{f"augment_{key}": value for key, value in train.augment.model_dump().items()},
    }


def _digests(config: Config, subtype: str) -> dict[str, str]:
    """SHA-256 of the data, the split and the code a training depends on."""
    cells = [path for name in (config.control, subtype) for path in (paths.cells(name), paths.cell_rows(name))]
    return {
        "cells": _sha256(cells),
        "split": _sha256([paths.split_table(subtype)]),
        "code": _sha256([Path(__file__).with_name(f"{name}.py") for name in CODE]),
    }


def _sha256(files: list[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _seed(seed: int, subtype: str, fold: int) -> int:
    """A seed of its own for every network, whatever else is trained (Keras takes 32 bits)."""
    return int.from_bytes(hashlib.sha256(f"{seed} {subtype} {fold}".encode()).digest()[:4], "big")


@contextmanager
def _finished(folder: Path) -> Iterator[Path]:
    """A folder among the checkpoints to write to, which then takes `folder`'s place in one step."""
    paths.CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=paths.CHECKPOINTS, prefix=f"{folder.parent.name}-{folder.name}-"))
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp's is for its maker alone
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, spec: dict[str, Any], curves: pd.DataFrame, predictions: pd.DataFrame) -> None:
    (folder / "spec.json").write_text(json.dumps(spec, indent=2) + "\n")
    curves.to_csv(folder / "history.csv", index=False)
    predictions = predictions.assign(score=probabilities(predictions["logit"]))
    predictions[["patient", "path", "split", "label", "logit", "score"]].to_parquet(folder / "predictions.parquet", index=False)
