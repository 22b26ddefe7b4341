"""Where MLflow keeps its records, by the environment alone: MLflow is neither asked nor imported here."""

from __future__ import annotations

import os
from pathlib import Path

DATABASE = Path("mlflow.db")
SQLITE = "sqlite:///"


def address() -> str:
    """Where MLflow keeps its records: MLFLOW_TRACKING_URI, else a database file; a relative one lies in `home`."""
    named = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{DATABASE}"
    return f"{SQLITE}{home() / named.removeprefix(SQLITE)}" if named.startswith(SQLITE) else named


def database() -> Path | None:
    """The file that keeps the records, whole path, where it is one."""
    return Path(address().removeprefix(SQLITE)).resolve() if address().startswith(SQLITE) else None


def home() -> Path:
    """This folder; for an experiment that DVC runs in a copy of the checkout, deleted afterwards, the checkout itself."""
    root = Path(os.environ.get("DVC_ROOT") or ".")
    return root if Path.cwd().is_relative_to(root / ".dvc") else Path()
