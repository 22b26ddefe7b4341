"""`python -m flows deploy`: put the work pool, the schedules and what ends crashed runs on the server PREFECT_API_URL names."""

from __future__ import annotations

import os
import sys

from flows import ROOT, child_process, local_servers
from flows.errors import FlowError


def run(trainers: bool) -> int:
    """Bring the server that PREFECT_API_URL names up to date with this checkout.

    Raises:
        FlowError: there is no such server, or it refuses; the message is Prefect's.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise FlowError("PREFECT_API_URL is not set; name your server's API, for example http://127.0.0.1:4200/api")
    local_servers.ensure_prefect()
    pool, file = ("trainers", "infra/trainers.yaml") if trainers else ("pipeline", "infra/prefect.yaml")
    for command in (
        ["prefect", "work-pool", "create", pool, "--type", "process", "--overwrite"],
        ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file],
    ):
        status, lines = child_process.run(command, ROOT, lambda line: None, {"PIPELINE_DIR": str(ROOT)})
        if status != 0:
            raise FlowError(f"{' '.join(command)}: {lines[-1] if lines else f'ended with status {status}'}")
    from flows import crashed_runs

    crashed_runs.ensure_automation()
    sys.stdout.write(f"deployed; run them with: prefect worker start --pool {pool}\n")
    return 0
