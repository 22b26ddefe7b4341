"""Train the networks of kind `cnn`, one of one fold at a time: models/<subtype>/<candidate>/fold-<k>/.

Writes weights, the spec that rebuilds the network in code, the curves, and the logits of the validation and test images.
MLflow must answer at the start; it then follows while it trains, its absence stops nothing, and nothing from it ends up in
these files.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from filelock import FileLock, Timeout

from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.folds import split_table
from pipeline.networks import recipe
from pipeline.registry import mlflow_server

if TYPE_CHECKING:
    from pipeline.networks.training import Prepared

LogEpoch = Callable[[Mapping[str, float]], None]


def run(config: Config, subtype: str, candidate: str, fold: int) -> None:
    """Train fold `fold` of a subtype's candidate, or go on with it after a kill."""
    split, tables, cells = recipe.inputs(config, subtype)
    for place in (paths.fold(subtype, candidate, fold), paths.CHECKPOINTS):
        files.require_writable(place)
    roles = split_table.roles(split, fold, config.split.n_folds)
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(tables)]

    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.networks import training

    prepared = training.prepare(config, subtype, candidate, fold, cells, images)
    counts = ", ".join(
        f"{role} {len(control.rows):,} control + {len(diseased.rows):,} {subtype} images"
        for role, (control, diseased) in prepared.pools.items()
    )
    what = f"{subtype}-{candidate}-fold-{fold}"
    console.say(f"train {subtype} {candidate} fold {fold} on {prepared.way()}: {counts}")
    with _alone(what):
        _train(config, subtype, candidate, fold, prepared, what)


def _train(config: Config, subtype: str, candidate: str, fold: int, prepared: Prepared, what: str) -> None:
    from pipeline.networks import training, training_loop

    checkpoint = paths.CHECKPOINTS / prepared.checkpoint(what)
    others = _others(checkpoint, what, f"{subtype}-fold-{fold}")
    if not checkpoint.exists() and (left := [other for other in others if other.suffix == checkpoint.suffix]):
        console.say(
            f"begins anew: {left[0]} is of other settings, data or code (a former version's is other code); it goes at the end"
        )
    target = paths.fold(subtype, candidate, fold)
    with mlflow_server.follow_training(prepared.spec) as follower:
        log_epoch: LogEpoch = follower.log_epoch
        if not checkpoint.exists():  # else the epochs before a kill are told first, all at once
            log_epoch = _telling_how_long(log_epoch, config.train_of(subtype, candidate).max_epochs)
        trained = training.train(prepared, recipe.seed(config.seed, subtype, fold), checkpoint, log_epoch)
        predictions = pd.concat([trained.scored(role).assign(split=role) for role in ("val", "test")], ignore_index=True)
        curves = pd.DataFrame(trained.history)
        unfinished = paths.CHECKPOINTS / f"{what}-unfinished"  # beside it, DVC would take it for a fold
        with files.folder_in_one_step(target, unfinished) as folder:
            training_loop.save_weights(trained.network, prepared.spec, folder / "model.weights.h5")
            (folder / "spec.json").write_text(json.dumps(prepared.spec, indent=2) + "\n")
            curves.assign(kept=(curves["epoch"] == trained.kept).astype(int)).to_csv(folder / "history.csv", index=False)
            columns = ["patient", "path", "split", "label", "logit"]
            predictions[columns].to_parquet(folder / "predictions.parquet", index=False)
        follower.finish(target)
    for other in others:  # `checkpoint` itself answers a repetition without training
        if other.is_dir():  # left behind by a kill
            shutil.rmtree(other)
        else:
            other.unlink(missing_ok=True)


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """No other process trains this network within the block: one whose `dvc` was killed goes on, and the next waits."""
    paths.CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.CHECKPOINTS / f"{what}.lock")  # the kernel frees it
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.say(f"train: another process trains {what}; this one waits for it, and takes what it made")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _telling_how_long(log_epoch: LogEpoch, epochs: int) -> LogEpoch:
    """As `log_epoch`; with the second epoch, the first one without a start, it also says how long the rest can take."""
    ended: list[float] = []

    def log(row: Mapping[str, float]) -> None:
        ended.append(time.monotonic())
        left = epochs - int(row["epoch"]) - 1
        if len(ended) == 2 and left > 0:
            longest = console.duration(left * (ended[1] - ended[0]))
            console.say(f"at most about {longest} for the {left} epochs left; train.patience ends most trainings earlier")
        log_epoch(row)

    return log


def _others(checkpoint: Path, *names: str) -> list[Path]:
    """What lies among the checkpoints of this training, by today's or a former version's name, besides `checkpoint`."""
    found = {other for name in names for other in paths.CHECKPOINTS.glob(f"{name}-*")}
    return sorted(found - {checkpoint})
