"""What a version reached on another cohort, in MLflow: a run, tags by which both name each other, a line of the model card.

The run is found again by the digest of what it follows from, so that it can be said twice. No patient's name is sent.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion

from pipeline.evaluation import figures, recalibration
from pipeline.evaluation.elsewhere import Found
from pipeline.evaluation.figures import Interval
from pipeline.registry import mlflow_runs, versions
from pipeline.registry.mlflow_client import Client

EXPERIMENT = "external"  # no class may be called so
_PAGE = mlflow_runs.Page(
    "registered versions on other hospitals' patients, whom they never saw; a run a version and cohort, nothing is trained. "
    "`difference_...` is the figure there less that at home.",
    [
        "patient_auroc",
        "patient_auroc_low",
        "patient_auroc_high",
        "difference_patient_auroc",
        "at_operating_point_sensitivity",
        "at_operating_point_specificity",
        "calibration_intercept",
        "calibration_slope",
    ],
)


@dataclass(frozen=True)
class Told:
    """What is written down of a version on a cohort."""

    digest: str
    cohort: str
    line: str  # of the card
    metrics: Mapping[str, float]
    by_patients: Sequence[tuple[str, float, int]]  # of a recalibration: name, value, patients it was fitted on
    params: Mapping[str, object]


def told(
    about: Mapping[str, Any], found: Found, curve: pd.DataFrame, images: pd.DataFrame, params: Mapping[str, object]
) -> Told:
    """Of a version and a cohort (`about`), whose `images` (class, pixels_sha256) make it this one."""
    seen = sorted(zip(images["class"], images["pixels_sha256"], strict=True))
    named = {
        **{key: found.there[key] for key in figures.keys(figures.HEADLINE) if key in found.there},
        **{f"difference_{key}": value for key, value in found.difference.items()},
        **{f"at_operating_point_{key}": value for key, value in found.at_point.items()},
        "calibration_intercept": found.calibration.intercept,
        "calibration_slope": found.calibration.slope,
    }
    metrics = {name: value for key, interval in named.items() for name, value in figures.flat(key, interval)}
    metrics |= {"patients": about["patients"], "images": about["images"], "mean_predicted": found.calibration.predicted}
    by_patients = [
        (f"recalibrated_{loss}_{str(row['way']).replace(' ', '_')}", float(row[loss]), int(row["patients"]))
        for row in curve.to_dict("records")
        for loss in recalibration.LOSSES
    ]
    told_apart = json.dumps([about["candidate"], about["version"], about["cohort"], params, seen])
    return Told(
        hashlib.sha256(told_apart.encode()).hexdigest(),
        about["cohort"],
        _line(about, found),
        {key: float(value) for key, value in metrics.items() if math.isfinite(value)},
        by_patients,
        params,
    )


def _line(about: Mapping[str, Any], found: Found) -> str:
    judged, at_point = about["judged"], found.at_point
    home = f"; at home {found.home['patient_auroc']:.2f}" if "patient_auroc" in found.home else ""
    return (
        f"{judged[about['model']]} {about['model']} and {judged[about['control']]} {about['control']}: patient AUROC "
        f"{found.there['patient_auroc']:.2f}{home}; at the operating point sensitivity {at_point['sensitivity']:.2f}, "
        f"specificity {at_point['specificity']:.2f}"
    )


def log(client: Client, model: ModelVersion, told: Told, files: Iterable[Path]) -> str:
    """Make sure that the run is there, whole, and that run and version name each other; its id."""
    experiment = mlflow_runs.ensure_experiment(client, EXPERIMENT, _PAGE)
    run = mlflow_runs.find(client, experiment, "external", told.digest)
    if run is None:
        tags = {
            "cohort": told.cohort,
            "model": f"{model.name}/{model.version}",
            "candidate": model.tags.get("candidate", ""),
            "model_run": model.run_id or "",
            **mlflow_runs.provenance(),
        }
        name = mlflow_runs.in_experiment(f"{model.name} v{model.version} on {told.cohort}")
        run = mlflow_runs.make(client, experiment, "external", told.digest, name, tags)
    mlflow_runs.log_params(client, run, told.params)
    now = int(time.time() * 1000)
    changed = {key: value for key, value in told.metrics.items() if run.data.metrics.get(key) != value}
    client.log_batch(run.info.run_id, metrics=[Metric(key, value, now, 0) for key, value in changed.items()])
    if run.info.status != "FINISHED":
        rows = [Metric(key, value, now, patients) for key, value, patients in told.by_patients]
        client.log_batch(run.info.run_id, metrics=rows)
    for file in files:
        client.log_artifact(run.info.run_id, str(file))
    client.set_tag(run.info.run_id, "mlflow.note.content", f"{told.line}\n\nThe page is the artifact `index.html`.")
    if run.info.status != "FINISHED":
        client.set_terminated(run.info.run_id)
    versions.tried_elsewhere(client, model, told.cohort, f"{told.line} (run {run.info.run_id})")
    return str(run.info.run_id)


def home(client: Client, model: ModelVersion) -> dict[str, Interval]:
    """The headline figures with which a version was registered; none where none was claimed, or its run is gone."""
    run = versions.run_of(client, model)
    known = run.data.metrics if run else {}
    return {
        key: figures.unflat(known, key)
        for key in figures.keys(figures.HEADLINE)
        if {key, f"{key}_low", f"{key}_high"} <= known.keys()
    }
