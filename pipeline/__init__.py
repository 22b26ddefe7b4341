"""Train, judge, register and serve one classifier per genetic AML subtype against healthy control."""

import os

from pipeline.common import environment

# Patients' data: nothing is reported home, and a server that is away is noticed in seconds instead of minutes. MLflow reads its
# settings when it is imported, so this stands before every import.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
environment.settle()
