"""Measure a subtype's out-of-fold predictions: reports/<subtype>/.

Only the scores of test patients count: every patient is scored by the one network that had not seen him or her.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pipeline import console, figures, metrics, paths, published, splits
from pipeline.config import Config
from pipeline.errors import LeakError


@dataclass(frozen=True)
class Metrics:
    """The figures of metrics.json; every key says its level."""

    image_accuracy: float
    image_auroc: float
    image_sensitivity: float
    image_specificity: float
    patient_auroc: float
    patient_sensitivity: float
    patient_specificity: float
    images: int
    patients: int


def run(config: Config, subtypes: list[str]) -> None:
    """Write metrics.json, the tables and the pictures of each subtype."""
    for subtype in subtypes:
        _drop_other_folds(config, subtype)
        predictions, history = _read_folds(config, subtype)
        patients = metrics.patient_scores(predictions)
        for table in (predictions, patients):
            table["called"] = table["score"] > config.evaluate.threshold
        found = _measure(predictions, patients)
        _write(config, subtype, predictions, patients, history, found)
        console.table(
            f"{subtype}: {found.patients} test patients, {found.images:,} images",
            ["figure", "image", "patient"],
            [
                [name, getattr(found, f"image_{name}"), getattr(found, f"patient_{name}")]
                for name in ("auroc", "sensitivity", "specificity")
            ],
        )


def _drop_other_folds(config: Config, subtype: str) -> None:
    """Folds that params.yaml no longer trains would count as inputs of this stage; DVC's cache still has them."""
    for folder in sorted((paths.MODELS / subtype).glob("fold-*")):
        if folder not in [paths.fold(subtype, k) for k in config.train.folds]:
            console.say(f"evaluate: {folder} removed: not in train.folds any more")
            shutil.rmtree(folder)


def _read_folds(config: Config, subtype: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test predictions and curves of all trained folds, with a column `fold`."""
    split = pd.read_csv(paths.existing(paths.split_table(subtype)), **splits.CSV_FORMAT)
    predictions, history = [], []
    for k in sorted(config.train.folds):
        folder = paths.fold(subtype, k)
        scored = pd.read_parquet(paths.existing(folder / "predictions.parquet"))
        tested = scored[scored["split"] == "test"]
        expected = splits.roles(split, k, config.split.n_folds)
        strangers = set(tested["patient"]) ^ set(expected.index[expected == "test"])
        if strangers:
            raise LeakError(
                f"{folder}: patient {min(strangers)} was tested or is to be tested, not both; "
                f"the split has changed: train {subtype} again"
            )
        predictions.append(tested.assign(fold=k))
        history.append(pd.read_csv(folder / "history.csv").assign(fold=k))
    return pd.concat(predictions, ignore_index=True), pd.concat(history, ignore_index=True)


def _measure(predictions: pd.DataFrame, patients: pd.DataFrame) -> Metrics:
    image = metrics.rates(predictions["label"], predictions["called"])
    patient = metrics.rates(patients["label"], patients["called"])
    return Metrics(
        image_accuracy=image["accuracy"],
        image_auroc=metrics.auroc(predictions["label"], predictions["logit"]),
        image_sensitivity=image["sensitivity"],
        image_specificity=image["specificity"],
        patient_auroc=metrics.auroc(patients["label"], patients["logit"]),
        patient_sensitivity=patient["sensitivity"],
        patient_specificity=patient["specificity"],
        images=len(predictions),
        patients=len(patients),
    )


def _write(
    config: Config,
    subtype: str,
    predictions: pd.DataFrame,
    patients: pd.DataFrame,
    history: pd.DataFrame,
    found: Metrics,
) -> None:
    folder = paths.report(subtype)
    plots = folder / "plots"
    paths.fresh(folder / "metrics.json").write_text(json.dumps(asdict(found), indent=2) + "\n")
    _published_form(subtype, predictions, found).to_csv(paths.fresh(folder / "by_class.csv"), index=False)
    patients.to_csv(paths.fresh(folder / "patients.csv"), index=False)

    levels = {"image": predictions, "patient": patients}
    names = (config.control, subtype)
    history[["fold", "epoch", "loss", "val_loss", "accuracy", "val_accuracy", "kept"]].to_csv(
        paths.fresh(plots / "history.csv"), index=False
    )
    calls = predictions[["label", "called"]].astype(int).map(lambda value: names[value])
    calls.set_axis(["actual", "called"], axis=1).to_csv(paths.fresh(plots / "calls.csv"), index=False)
    curves = {level: metrics.roc_curve(table["label"], table["logit"]) for level, table in levels.items()}
    curves["patient"].to_csv(paths.fresh(plots / "roc.csv"), index=False)
    areas = {"image": found.image_auroc, "patient": found.patient_auroc}
    tables = {level: metrics.confusion(table["label"], table["called"]) for level, table in levels.items()}
    _save(plots / "loss.png", figures.loss_curves(history, f"{subtype}: loss"))
    _save(plots / "confusion.png", figures.confusion_matrices(tables, names))
    _save(plots / "roc.png", figures.roc_curves(curves, areas, f"{subtype}: test patients"))
    _list(folder, paths.evaluated(subtype))


def _list(folder: Path, listing: Path) -> None:
    """SHA-256 of every file written: what `report` depends on, since DVC knows no pattern of paths as a dependency."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    paths.fresh(listing).write_text(json.dumps(digests, indent=2) + "\n")


def _published_form(subtype: str, predictions: pd.DataFrame, found: Metrics) -> pd.DataFrame:
    """Image-level precision, recall, F1 and support per class and the accuracy, ours and the published."""
    ours = metrics.by_class(predictions["label"], predictions["called"]).assign(accuracy=found.image_accuracy)
    tables = {"measured": ours}
    if subtype in published.FIGURES:
        figures_ = published.FIGURES[subtype]
        tables["published"] = figures_.by_class().assign(accuracy=figures_.accuracy)
    return pd.concat(tables, names=["source"]).reset_index()


def _save(path: Path, figure: Figure) -> None:
    paths.fresh(path).write_bytes(figures.png(figure))
