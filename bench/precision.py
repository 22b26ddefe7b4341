"""What bfloat16 costs in accuracy: the same trainings in both precisions, over seeds. `python -m bench.precision [subtype ...]`

Every subtype's first fold is trained with each seed, once in bfloat16 and once in float32, with the settings of params.yaml, on
the cells that `dvc repro` left in data/. Pairs share seed, order of images and first weights. Printed are the differences,
bfloat16 less float32, of the AUROC and the balanced accuracy of the test images, with the 95 % interval of their mean over the
seeds (t distribution): it tells what the precision does to a training, not how well a network would do on other patients.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score

from pipeline import config, learning, scoring, splits


def trained(settings: config.Config, subtype: str, precision: Literal["float32", "bfloat16"], seed: int) -> tuple[float, float]:
    """AUROC and balanced accuracy of the test images."""
    from pipeline import batch_norm, device, fitting, model

    fitting.keras.utils.clear_session()
    machine = replace(device.prepare("auto"), precision=precision)
    split, tables, cells = learning.inputs(settings, subtype)
    fold = settings.train.folds[0]
    roles = splits.roles(split, fold, settings.split.n_folds)
    images = [table.assign(role=table["patient"].map(roles), label=label) for label, table in enumerate(tables)]
    pools = learning.pools(settings, cells, images)
    spec = learning.spec(settings, subtype, fold, learning.normalisation(pools["train"]), vars(machine))
    model.seed_everything(seed)
    network = model.build(spec, batch_norm.layer(machine))
    rate = settings.train.models[subtype].learning_rate
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        checkpoint = Path(folder) / "training.npz"
        fitting.fit(
            network, pools["train"], pools["val"], settings.train, rate, seed, machine.xla, checkpoint, lambda row: None
        )
    logits = np.concatenate([fitting.pool_logits(network, pool) for pool in pools["test"]])
    labels = np.repeat([0, 1], [len(pool.rows) for pool in pools["test"]])
    return float(roc_auc_score(labels, logits)), scoring.balanced_accuracy(labels, logits > 0)


def _shown(differences: list[float]) -> str:
    mean, error = float(np.mean(differences)), float(stats.sem(differences))
    reach = error * float(stats.t.ppf(0.975, len(differences) - 1))
    return f"{mean:+.3f} ({mean - reach:+.3f} to {mean + reach:+.3f})"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("subtypes", nargs="*", help="all of params.yaml when left out")
    options = parser.parse_args()
    settings = config.load()
    print("| network | AUROC, float32 | difference | balanced accuracy, float32 | difference |\n|---|---|---|---|---|")
    for subtype in options.subtypes or settings.subtypes:
        precisions: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
        found = {
            precision: np.array([trained(settings, subtype, precision, seed) for seed in range(options.seeds)])
            for precision in precisions
        }
        differences = found["bfloat16"] - found["float32"]
        cells = [part for k in (0, 1) for part in (f"{found['float32'][:, k].mean():.3f}", _shown(list(differences[:, k])))]
        print(f"| {subtype} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
