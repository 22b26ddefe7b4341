"""A transfer in MLflow: a run of the subtype's experiment that says on which networks it stands, by their digests.

It is found again by the digest of all that it follows from, so that it can be said twice. No patient's name is sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric

from pipeline.registry import mlflow_runs
from pipeline.registry.mlflow_client import Client

_PUBLIC = ("curve.csv", "curve.png", "lineage.json")


def log(client: Client, lineage: Mapping[str, Any], metrics: list[tuple[str, float, int]], folder: Path) -> str:
    """Make sure that the run is there, with figures (name, value, patients who learned); its id."""
    digest = lineage["transfer"]
    experiment = mlflow_runs.ensure_experiment(client, lineage["subtype"])
    run = mlflow_runs.find(client, experiment, "transfer", digest)
    if run is not None and run.info.status == "FINISHED":
        return str(run.info.run_id)
    if run is None:
        tags = {
            **{f"base.{one['subtype']}-{one['fold']}": one["training"] for one in lineage["networks"]},
            **{f"base_sha256.{one['subtype']}-{one['fold']}": one["weights_sha256"] for one in lineage["networks"]},
            "encoder": lineage["encoder"],
            **{f"sha256.{key}": value for key, value in lineage["inputs"].items()},
            **mlflow_runs.provenance(),
        }
        name = mlflow_runs.in_experiment(f"transfer {digest[:8]}")
        run = mlflow_runs.make(client, experiment, "transfer", digest, name, tags)
    mlflow_runs.log_params(client, run, lineage["knobs"])
    at = int(time.time() * 1000)
    client.log_batch(run.info.run_id, metrics=[Metric(name, value, at, size) for name, value, size in metrics])
    for name in _PUBLIC:
        client.log_artifact(run.info.run_id, str(folder / name))
    client.set_tag(run.info.run_id, "mlflow.note.content", f"```json\n{json.dumps(lineage, indent=2)}\n```")
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)
