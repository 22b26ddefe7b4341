"""Links to MLflow's pages of the trainings behind a subtype's results; without a server there is nothing to link."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx

from flows import ROOT
from pipeline.common.addresses import without_account

_PATIENCE_S = 5.0


def find_server() -> tuple[str, str]:
    """Where programs ask MLflow's server, account included, and where a browser finds it; both are empty without a server."""
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    asked = tracking if tracking.startswith(("http://", "https://")) else os.environ.get("MLFLOW_UI_URL", "")
    shown = os.environ.get("MLFLOW_UI_URL", "") or without_account(asked)
    return asked.rstrip("/"), shown.rstrip("/")


def find_trainings(subtype: str, candidate: str) -> dict[str, str]:
    """Name -> address of the page of each fold's training, of the networks on disk, as far as the server knows them."""
    asked, shown = find_server()
    name, password = (os.environ.get(f"MLFLOW_TRACKING_{what}", "") for what in ("USERNAME", "PASSWORD"))
    found = {}
    if asked:
        try:
            with httpx.Client(timeout=_PATIENCE_S, auth=(name, password) if name else None) as client:
                experiment = _read_answer(
                    client.get(f"{asked}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": subtype})
                )["experiment"]["experiment_id"]
                for spec in sorted((ROOT / "models" / subtype / candidate).glob("fold-*/spec.json")):
                    training = json.loads(spec.read_text())["training"]
                    wanted = {"experiment_ids": [experiment], "filter": f"tags.training = '{training}'", "max_results": 1}
                    for run in _read_answer(client.post(f"{asked}/api/2.0/mlflow/runs/search", json=wanted)).get("runs", []):
                        found[run["info"]["run_name"]] = f"{shown}/#/experiments/{experiment}/runs/{run['info']['run_id']}"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError):  # a page with fewer links, not a failed flow
            pass
    return found


def _read_answer(response: httpx.Response) -> dict[str, Any]:
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
