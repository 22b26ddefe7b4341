"""The schedules of infra/prefect.yaml as Prefect's deployments, for `serve`: one list of schedules, whoever runs them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from ruamel.yaml import YAML

from flows import ROOT


def read_deployments(path: Path = ROOT / "infra" / "prefect.yaml") -> list[RunnerDeployment]:
    """A deployment for each entry of the file, with its schedules, limit, tags and description."""
    return [_make_deployment(entry) for entry in YAML(typ="safe", pure=True).load(path)["deployments"]]


def _make_deployment(entry: dict[str, Any]) -> RunnerDeployment:
    file, _, name = entry["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    limit = entry["concurrency_limit"]
    deployment: RunnerDeployment = flow.to_deployment(
        name=entry["name"],
        description=entry["description"],
        tags=entry["tags"],
        parameters=entry["parameters"],
        schedules=[Cron(schedule["cron"], timezone=schedule["timezone"]) for schedule in entry["schedules"]],
        concurrency_limit=ConcurrencyLimitConfig(
            limit=limit["limit"], collision_strategy=ConcurrencyLimitStrategy(limit["collision_strategy"])
        ),
    )
    return deployment
