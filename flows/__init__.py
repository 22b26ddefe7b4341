"""When and where the pipeline runs, with Prefect. What it does is DVC's: `dvc_stages` runs every stage."""

import os
from pathlib import Path

from pipeline.common import addresses

ROOT = Path(__file__).resolve().parents[1]
HEARTBEAT_S = 30

# Patients' data: nothing reports home. Prefect reads its settings when it is imported, so this stands before every import.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_S))
addresses.reach_loopback_directly()  # our own servers; those of other machines are asked by way of the proxy there may be
