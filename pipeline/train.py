"""Train one subtype's network of one fold: models/<subtype>/fold-<k>/.

Writes weights, the spec that rebuilds the network in code, the curves, and the scores of the validation and test images.
MLflow must answer at the start; it then follows while it trains, its absence stops nothing, and nothing from it ends up in
these files.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import console, learning, paths, splits, tracking
from pipeline.config import Config
from pipeline.scoring import probabilities


def run(config: Config, subtype: str, fold: int) -> None:
    """Train fold `fold` of `subtype`, or go on with it after a kill."""
    split, tables, cells = learning.inputs(config, subtype)
    roles = splits.roles(split, fold, config.split.n_folds)
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(tables)]
    pools = learning.pools(config, cells, images)
    normalisation = learning.normalisation(pools["train"])

    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline import device, fitting, model

    machine = device.prepare(config.train.precision)
    spec = learning.spec(config, subtype, fold, normalisation, asdict(machine))
    seed = learning.seed(config.seed, subtype, fold)
    checkpoint = paths.CHECKPOINTS / f"{subtype}-fold-{fold}-{spec['training'][:16]}.npz"
    counts = ", ".join(
        f"{role} {len(control.rows):,} control + {len(diseased.rows):,} {subtype} images"
        for role, (control, diseased) in pools.items()
    )
    console.say(f"train {subtype} fold {fold} on {machine.name} ({fitting.way(machine, pools['train'])}): {counts}")
    model.seed_everything(seed)
    network = fitting.trainable(spec, machine)

    with tracking.follow_training(spec) as follower:
        history, kept = fitting.fit(
            network,
            pools["train"],
            pools["val"],
            config.train_of(subtype),
            config.train.models[subtype].learning_rate,
            seed,
            machine,
            checkpoint,
            follower.log_epoch,
        )
        scored = [
            images[label].iloc[pool.rows].assign(split=role, logit=fitting.pool_logits(network, pool, machine))
            for role in ("val", "test")
            for label, pool in enumerate(pools[role])
        ]
        predictions = pd.concat(scored, ignore_index=True)
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
