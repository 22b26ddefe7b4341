"""Looks at new patients in MLflow: a run each, in an experiment of their own; and the model whose training cohort they are held
to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from mlflow.entities import Metric, RunTag

from pipeline.drift.look import Look
from pipeline.registry import champions, mlflow_runs, mlflow_server, versions

EXPERIMENT = "drift of new patients"  # no class can be called so
_PAGE = mlflow_runs.Page(
    "a run a look at the newest patients: whether they look like those whom the model was made from. `p` is held against "
    "`level`, which all looks of a year share; `alarm` is 1 where it is below.",
    ["alarm", "p", "level", "new_patients", "known_patients"],
    ["state", "model"],
)


def watched(client: mlflow_server.Client, subtypes: Sequence[str], last: str) -> tuple[versions.Version, pd.DataFrame] | None:
    """The champion by whose cohort patients are judged, and that cohort.

    The one of identity `last`, by whose words patients were kept: `predict` passes over champions that score no such images.
    Else the one that gives one answer of all classes, else a subtype's first.
    """
    found = [version for name in (champions.CALL, *subtypes) if (version := versions.champion(client, name)) is not None]
    version = next((version for version in found if versions.identity(version) == last), found[0] if found else None)
    return (version, versions.patients(client, version)) if version else None


def log(client: mlflow_server.Client, look: Look, about: Mapping[str, Any]) -> str:
    """The id of a run that holds a look; `about` is what stands in the file of looks."""
    experiment, time = mlflow_runs.ensure_experiment(client, EXPERIMENT, _PAGE), pd.Timestamp(str(about["time"]))
    at_ms = int(time.timestamp() * 1000)
    run = client.create_run(experiment, start_time=at_ms, run_name=f"{time:%Y-%m-%d %H:%M} {about['state']}")
    numbers = {"new_patients": look.new, "known_patients": look.known, "level": look.level, "alarm": float(about["alarm"])}
    if look.found:
        numbers["p"] = look.found.p_value
        for name, view in look.found.views.items():
            numbers |= {f"p_{name}": view.p_value, f"p_of_all_{name}": view.p_of_all, f"distance_{name}": view.times}
    tags = {**mlflow_runs.provenance(), **{key: str(about[key]) for key in ("state", "of", "model", "counts", "within")}}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, float(value), at_ms, 0) for key, value in numbers.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    client.set_terminated(run.info.run_id, end_time=at_ms)
    return str(run.info.run_id)
