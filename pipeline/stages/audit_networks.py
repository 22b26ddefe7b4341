"""Train five twins of every network of a candidate, to see what else could make it good.

What they reach stands in reports/audit/<subtype>/<candidate>_networks.json; nothing else of the twins is kept.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.auditing import check_result, twins
from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.networks import recipe

_CODE = (*recipe.CODE, "auditing/twins.py", "stages/audit_networks.py")
_SCORED = ["fold", "patient", "label", "logit"]


def run(config: Config, subtypes: list[str], candidates: list[str]) -> None:
    """Train the twins of each candidate's networks, or go on with them after a kill; write and show what they reach.

    Raises:
        DataError, ModelError: names the file that is missing or does not hold what the others need.
    """
    for subtype, candidate in itertools.product(subtypes, candidates):
        for place in (paths.audit_networks(subtype, candidate), paths.CHECKPOINTS):
            files.require_writable(place)
        split, tables, parts = recipe.inputs(config, subtype)
        images = pd.concat([table.assign(label=label) for label, table in enumerate(tables)], ignore_index=True)
        cells = np.concatenate(parts)
        network = made.table(paths.scored(subtype, candidate))
        network = network.loc[network["split"] == "test", _SCORED]
        found = []
        for twin in twins.TWINS:
            shown = twins.IMAGES[twin](cells) if twin in twins.IMAGES else cells
            scored = _scores(config, subtype, candidate, twin, split, images, shown)
            found.append(twins.CHECKS[twin](config, scored, network))
        about = {"subtype": subtype, "candidate": candidate, "folds": sorted(config.folds), "network": twins.reached(network)}
        check_result.write(paths.audit_networks(subtype, candidate), about, found)
        check_result.show(f"{subtype} {candidate}: what its twins reach", found)
        for checkpoint in paths.CHECKPOINTS.glob(f"{subtype}-{candidate}-twin-*"):
            checkpoint.unlink()


def _scores(
    config: Config, subtype: str, candidate: str, twin: str, split: pd.DataFrame, images: pd.DataFrame, cells: NDArray[np.uint8]
) -> pd.DataFrame:
    """The test images of all trained folds, scored by the twins: fold, patient, label, logit."""
    from pipeline.networks import training  # TensorFlow takes seconds and memory: after everything that can fail

    name, found = f"{subtype}-{candidate}-twin-{twin}", []
    for fold in sorted(config.folds):
        own = twins.dealt(config, twin, split, images, fold)
        prepared = training.prepare(config, subtype, candidate, fold, (cells, cells), (own, own), _CODE)
        console.say(f"train {name} fold {fold}")
        seed = recipe.seed(config.seed, f"{subtype}-twin-{twin}", fold)
        checkpoint = paths.CHECKPOINTS / prepared.checkpoint(f"{name}-fold-{fold}")
        trained = training.train(prepared, seed, checkpoint, lambda _row: None)
        found.append(trained.scored("test").assign(fold=fold))
    return pd.concat(found, ignore_index=True)[_SCORED]
