"""Say which runs of MLflow nobody needs, by what `python -m flows gc` found in all commits. Beside the DAG; deletes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.common import files, made
from pipeline.common.config import Config
from pipeline.registry import mlflow_server, unneeded_runs


def run(_config: Config, needed: Path, output: Path) -> None:
    """Write what `unneeded_runs.find` finds to `output`; `needed` holds the digests of candidates and of trainings.

    Raises:
        DataError: `needed` is not there.
        TrackingError: MLflow does not answer.
    """
    asked = made.values(needed)
    client = mlflow_server.connect()
    with mlflow_server.answering():
        files.write(output, json.dumps(unneeded_runs.find(client, asked["candidates"], asked["trainings"])))
