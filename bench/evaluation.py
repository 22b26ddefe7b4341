"""What an evaluation of the real cohort's size costs: seconds and memory. `python -m bench.evaluation`

81,214 predictions of 189 patients (60 controls), five folds, params.yaml's draws, taken through the stage `evaluate`, which
writes all tables and pictures. Beside it stands what the AUROC alone would take by resampling rows and asking scikit-learn,
from a few draws. Seconds are of the processor, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from pipeline.common import config, paths
from pipeline.evaluation import pooling
from pipeline.folds import split_table
from pipeline.stages import evaluate

ROOT = Path(__file__).resolve().parents[1]
SUBTYPE, FOLDS = "NPM1", 5
CLASSES = {0: (60, 20_305), 1: (129, 60_909)}  # label: patients, images


def cohort(settings: config.Config) -> pd.DataFrame:
    """Split and predictions as the stages before leave them; returns the test images: patient, label, logit."""
    rng = np.random.default_rng(0)
    rows = []
    for label, (patients, total) in CLASSES.items():
        counts = np.diff(np.linspace(0, total, patients + 1).astype(int))
        tendency = rng.normal(2 * label - 1, 1, patients)
        for number, count in enumerate(counts):
            rows.append(
                pd.DataFrame(
                    {"patient": f"{label}{number:03}", "label": label, "logit": rng.normal(tendency[number], 1, count)}
                )
            )
    images = pd.concat(rows, ignore_index=True)
    split = images.groupby(["patient", "label"], sort=True).size().rename("images").reset_index()
    split["fold"] = split.groupby("label").cumcount() % FOLDS
    paths.SPLITS.mkdir(parents=True)
    split.to_csv(paths.split_table(SUBTYPE), index=False)
    for k in settings.folds:
        roles = split_table.roles(split, k, FOLDS)
        scored = images.assign(split=images["patient"].map(roles), path="", score=pooling.probabilities(images["logit"]))
        folder = paths.fold(SUBTYPE, "published", k)
        folder.mkdir(parents=True)
        scored[scored["split"] != "train"].to_parquet(folder / "predictions.parquet", index=False)
        history = {"epoch": [0], "loss": [0.7], "val_loss": [0.7], "accuracy": [0.5], "val_accuracy": [0.5], "kept": [1]}
        pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
        (folder / "spec.json").write_text("{}")
    return images


def by_rows(images: pd.DataFrame, draws: int) -> float:
    """Seconds a draw of the AUROC when patients' rows are put together and ranked anew."""
    rng = np.random.default_rng(0)
    rows = [group.index.to_numpy() for _, group in images.groupby("patient")]
    labels, logits = images["label"].to_numpy(), images["logit"].to_numpy()
    start = time.process_time()
    for _ in range(draws):
        chosen = np.concatenate([rows[number] for number in rng.integers(0, len(rows), len(rows))])
        roc_auc_score(labels[chosen], logits[chosen])
    return (time.process_time() - start) / draws


def main() -> None:
    """Print seconds, memory and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows-draws", type=int, default=20, help="draws of the way by rows")
    options = parser.parse_args()
    values = config.load(ROOT / "params.yaml").model_dump(by_alias=True)
    values["subtypes"], values["folds"] = [SUBTYPE], list(range(FOLDS))
    settings = config.Config.model_validate(values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        images = cohort(settings)
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            evaluate.run(settings, [SUBTYPE], ["published"])
        seconds = time.process_time() - start
        counts = json.loads((paths.report(SUBTYPE, "published") / "metrics.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    draws = settings.evaluate.draws
    print(f"{counts['images']:,} predictions, {counts['patients']} patients, {draws:,} draws")
    print(f"evaluate: {seconds:.1f} s of the processor; {peak / 1024:.0f} MiB at most, {before / 1024:.0f} before")
    print(f"TensorFlow imported: {'yes' if 'tensorflow' in sys.modules else 'no'}")
    slow = by_rows(images, options.rows_draws) * draws
    print(f"one AUROC by resampled rows: {slow:.0f} s for as many draws, {slow / seconds:.1f} times the whole stage")


if __name__ == "__main__":
    main()
