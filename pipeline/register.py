"""Bring each subtype's trained folds to MLflow as one model; name it champion if it reaches the floors.

Works from the files alone and can be repeated: what stands in MLflow already stays, what is missing is added, and the verdict
is that of the floors as they are now. So it also fills an empty registry, at any address, without training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import console, paths, registry, tracking
from pipeline.config import Config, Floors


def run(config: Config, subtypes: list[str]) -> None:
    """Register the candidates of `subtypes` and print what became of each."""
    client = tracking.connect()
    with tracking.answering():
        rows = [_register(client, config, _candidate(config, subtype)) for subtype in subtypes]
    console.table("models", ["subtype", "image accuracy", "patient AUROC", "model version", "alias"], rows)
    console.say(f"MLflow: {tracking.shown_address()}")


def _register(client: tracking.Client, config: Config, candidate: registry.Candidate) -> list[object]:
    """Make sure that a candidate stands in the registry, judged; returns its row of the table."""
    model = registry.log_candidate(client, candidate)
    missed = missed_floors(candidate.metrics, config.register_.floors)
    alias = registry.CHALLENGER if missed else registry.CHAMPION
    registry.judge(client, model, alias, f"{alias}: {'; '.join(missed) or 'all floors reached'}")
    figures = [candidate.metrics[key] for key in ("image_accuracy", "patient_auroc")]
    aliases = ", ".join(registry.aliases(client, model)) or "-"
    return [candidate.subtype, *figures, f"{model.name} v{model.version}", aliases]


def missed_floors(metrics: Mapping[str, float], floors: Floors) -> list[str]:
    """One sentence for every floor that `metrics` does not reach."""
    return [
        f"{key} {metrics[key]:.3f} is below the floor {floor:.3f}"
        for key, floor in floors.model_dump().items()
        if not metrics[key] >= floor  # also when it is not a number
    ]


def _candidate(config: Config, subtype: str) -> registry.Candidate:
    folders = [paths.fold(subtype, k) for k in sorted(config.train.folds)]
    report = paths.report(subtype)
    figures = json.loads(paths.existing(report / "metrics.json").read_text())
    calibrated = pd.read_csv(paths.existing(report / "folds.csv")).set_index("fold")["temperature"]
    temperatures = {f"fold-{fold}": float(value) for fold, value in calibrated.items()}
    weights = {folder.name: _sha256(folder / "model.weights.h5") for folder in folders}
    specs = [_sha256(folder / "spec.json") for folder in folders]
    return registry.Candidate(
        subtype=subtype,
        digest=hashlib.sha256(json.dumps([weights, specs, temperatures]).encode()).hexdigest(),
        folders=folders,
        weights_sha256=weights,
        temperatures=temperatures,
        metrics=dict(_flat(figures)),
        pictures=sorted((report / "plots").glob("*.png")),
        card=_card(config, subtype, figures),
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(paths.existing(path).read_bytes()).hexdigest()


def _flat(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """A figure with bounds as three of MLflow's metrics: itself, <figure>_low and <figure>_high."""
    for key, figure in figures.items():
        if isinstance(figure, dict):
            yield key, float(figure["value"])
            yield from ((f"{key}_{bound}", float(figure[bound])) for bound in ("low", "high"))
        else:
            yield key, float(figure)


def _card(config: Config, subtype: str, figures: Mapping[str, Any]) -> str:
    """The version's description."""
    rows = [
        f"| {key.replace('_', ' ').replace('auroc', 'AUROC').replace('auprc', 'AUPRC')} | {figure['value']:.3f} "
        f"| {figure['low']:.3f} to {figure['high']:.3f} |"
        for key, figure in figures.items()
        if isinstance(figure, dict)
    ]
    table = "\n".join(rows)
    return (
        f"**{subtype} against {config.control}**, from single-cell images of {config.image_um} um. "
        "For research only, not for diagnosis.\n\n"
        f"Folds trained: {', '.join(str(k) for k in sorted(config.train.folds))} of {config.split.n_folds}, by patient. "
        f"Figures are of {figures['patients']:,} test patients ({figures['images']:,} images), whom the network that scored "
        "them had not seen.\n\n"
        f"| figure | value | {config.evaluate.confidence:.0%} interval |\n|---|---|---|\n{table}\n"
    )
