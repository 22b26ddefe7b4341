"""MLflow's client, for processes that write to one MLflow at the same moment, and for servers that break off.

MLflow looks whether a row is there, then writes it, and the database refuses whoever comes second with a row that neither found
there. Said again, the call finds it. A call of MLflow's own that writes so belongs in here.

An answer that breaks off in its head has no body, which MLflow takes for one that says nothing: as if a search had found
nobody. Its servers never say nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils import rest_utils

_OTHERS = 50  # processes that may come first, one after the other
_CAME_SECOND = "BAD_REQUEST"  # MLflow's word for what a database refuses, but for one that does not answer
_verified = rest_utils.verify_rest_response


def _require_a_body(response: requests.Response, endpoint: str, expected_status: int = 200) -> requests.Response:
    if response.status_code == 200 and not response.text.strip():
        raise requests.ConnectionError(f"the answer to {endpoint} broke off")
    checked: requests.Response = _verified(response, endpoint, expected_status)
    return checked


rest_utils.verify_rest_response = _require_a_body


class Client(MlflowClient):
    """As MLflow's, but that nobody is refused for coming second."""

    def log_batch(self, *told: Any, **named: Any) -> Any:
        """Metrics, parameters and tags of a run; parameters are refused that are there with another value."""
        return _until_taken(partial(super().log_batch, *told, **named))

    def log_inputs(self, *told: Any, **named: Any) -> None:
        """Data of a run: all of it or nothing."""
        _until_taken(partial(super().log_inputs, *told, **named))

    def log_metric(self, *told: Any, **named: Any) -> Any:
        """A point of a curve; the same one is there once."""
        return _until_taken(partial(super().log_metric, *told, **named))

    def set_tag(self, *told: Any, **named: Any) -> Any:
        """A tag of a run; the last counts."""
        return _until_taken(partial(super().set_tag, *told, **named))

    def set_experiment_tag(self, *told: Any, **named: Any) -> None:
        """A tag of an experiment; the last counts."""
        _until_taken(partial(super().set_experiment_tag, *told, **named))

    def set_model_version_tag(self, *told: Any, **named: Any) -> None:
        """A tag of a version; the last counts."""
        _until_taken(partial(super().set_model_version_tag, *told, **named))

    def set_registered_model_alias(self, *told: Any, **named: Any) -> None:
        """A name that one version of a model carries; the last counts."""
        _until_taken(partial(super().set_registered_model_alias, *told, **named))

    def restore_experiment(self, experiment_id: str) -> None:
        """An experiment out of the bin, also where another has just taken it out."""
        try:
            super().restore_experiment(experiment_id)
        except MlflowException:
            if self.get_experiment(experiment_id).lifecycle_stage == "deleted":
                raise


def _until_taken(call: Callable[[], Any]) -> Any:
    """Say it again for each who may come first: a refusal is for a row that is there at the next try."""
    for _ in range(_OTHERS):
        try:
            return call()
        except MlflowException as error:
            if error.error_code != _CAME_SECOND:
                raise
    return call()
