"""Train one subtype's network of one fold: models/<subtype>/fold-<k>/.

Writes weights, the spec that rebuilds the network in code, the curves, and the scores of the validation and test images.
MLflow must answer at the start; it then follows while it trains, its absence stops nothing, and nothing from it ends up in
these files.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.folds import dealing
from pipeline.networks import recipe
from pipeline.registry import mlflow_server


def run(config: Config, subtype: str, fold: int) -> None:
    """Train fold `fold` of `subtype`, or go on with it after a kill."""
    split, tables, cells = recipe.inputs(config, subtype)
    roles = dealing.roles(split, fold, config.split.n_folds)
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(tables)]
    pools = recipe.pools(config, cells, images)
    normalisation = recipe.normalisation(pools["train"])

    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.networks import batch_norm, device, model, training_loop

    machine = device.prepare(config.train.precision)
    spec = recipe.spec(config, subtype, fold, normalisation, asdict(machine))
    seed = recipe.seed(config.seed, subtype, fold)
    checkpoint = paths.CHECKPOINTS / f"{subtype}-fold-{fold}-{spec['training'][:16]}.npz"
    counts = ", ".join(
        f"{role} {len(control.rows):,} control + {len(diseased.rows):,} {subtype} images"
        for role, (control, diseased) in pools.items()
    )
    console.say(f"train {subtype} fold {fold} on {machine.name} ({machine.precision}, {machine.threads} threads): {counts}")
    others = sorted(other for other in paths.CHECKPOINTS.glob(f"{subtype}-fold-{fold}-*") if other != checkpoint)
    if not checkpoint.exists() and (left := [other for other in others if other.suffix == checkpoint.suffix]):
        console.say(
            f"begins anew: {left[0]} is of other settings, data or code (a former version's is other code); it goes at the end"
        )
    model.seed_everything(seed)
    network = model.build(spec, batch_norm.layer(machine))

    with mlflow_server.follow_training(spec) as follower:
        history, kept = training_loop.fit(
            network,
            pools["train"],
            pools["val"],
            config.train_of(subtype),
            config.train.models[subtype].learning_rate,
            seed,
            machine.xla,
            checkpoint,
            follower.log_epoch,
        )
        scored = [
            images[label].iloc[pool.rows].assign(split=role, logit=training_loop.pool_logits(network, pool))
            for role in ("val", "test")
            for label, pool in enumerate(pools[role])
        ]
        predictions = pd.concat(scored, ignore_index=True)
        curves = pd.DataFrame(history).assign(kept=[int(row["epoch"] == kept) for row in history])
        unfinished = paths.CHECKPOINTS / f"{subtype}-fold-{fold}-unfinished"  # beside it, DVC would take it for a fold
        with files.folder_in_one_step(paths.fold(subtype, fold), unfinished) as folder:
            training_loop.save_weights(network, spec, folder / "model.weights.h5")
            _write(folder, spec, curves, predictions)
        follower.finish(paths.fold(subtype, fold))
    for other in others:  # `checkpoint` itself answers a repetition without training
        if other.is_dir():  # left behind by a kill
            shutil.rmtree(other, ignore_errors=True)
        else:
            other.unlink(missing_ok=True)


def _write(folder: Path, spec: dict[str, Any], curves: pd.DataFrame, predictions: pd.DataFrame) -> None:
    (folder / "spec.json").write_text(json.dumps(spec, indent=2) + "\n")
    curves.to_csv(folder / "history.csv", index=False)
    predictions[["patient", "path", "split", "label", "logit"]].to_parquet(folder / "predictions.parquet", index=False)
