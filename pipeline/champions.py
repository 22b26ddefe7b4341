"""The models in use: each subtype's champion, fetched from MLflow and checked before it scores anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from pipeline import registry, tracking
from pipeline.errors import ModelError
from pipeline.images import Pixels

_LOADER = "mlflow.pyfunc.loaders.code_model"
_NEEDED = ("um", "px", "operating_point", "reference", "cohort", "sha256", "temperatures")


@dataclass(frozen=True)
class Champion:
    """A subtype's model, ready to score, and what `register` wrote down with it."""

    subtype: str
    version: str
    settings: dict[str, Any]
    model: Any

    def logits(self, images: Sequence[Pixels], um: float) -> NDArray[np.float64]:
        """Mean of the folds' calibrated logits `(n,)` of images of `um` micrometres."""
        rows = pd.DataFrame({"image": pd.Series(list(images), dtype=object)})
        return np.asarray(self.model.predict(rows, params={"um": um})["logit"], dtype=np.float64)


def load(client: tracking.Client, subtype: str) -> Champion | None:
    """The subtype's champion, or None if it has none.

    Raises:
        ModelError: it cannot be loaded, or its weights are not those that were registered.
    """
    version = registry.champion(client, subtype)
    if version is None:
        return None
    name = f"{subtype} v{version.version}"
    try:
        _require_code(name, version)
        model = mlflow.pyfunc.load_model(f"models:/{subtype}/{version.version}")
    except (MlflowException, OSError, ValueError, ImportError) as error:
        if "failed with exception" in str(error):  # the server went away: `tracking.answering` says so
            raise
        raise ModelError(f"{name}: cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    settings = getattr(model.unwrap_python_model(), "settings", {})
    if missing := [key for key in _NEEDED if key not in settings]:
        raise ModelError(
            f"{name}: was registered without {missing[0]}, by an earlier version; run `python -m pipeline register`"
        )
    _require_tagged(name, version, settings["sha256"])
    return Champion(subtype, str(version.version), settings, model)


def _require_code(name: str, version: registry.Version) -> None:
    """Before anything of it is loaded: `register` stores code, specs and weights, and a pickle could run anything."""
    stored = mlflow.models.get_model_info(f"models:/{version.name}/{version.version}").flavors.get("python_function", {})
    if stored.get("loader_module") != _LOADER or "python_model" in stored:
        raise ModelError(
            f"{name}: was not registered by this pipeline and may hold pickled objects, which could run anything; not used"
        )


def _require_tagged(name: str, version: registry.Version, sha256: dict[str, str]) -> None:
    """The weights are those that the registry names, too: the model's own list lies beside the weights."""
    tagged = {key.removeprefix("sha256."): value for key, value in version.tags.items() if key.startswith("sha256.")}
    loaded = {file.partition("/")[0]: digest for file, digest in sha256.items() if file.endswith(".weights.h5")}
    for fold in sorted(tagged.keys() | loaded.keys()):
        if tagged.get(fold) != loaded.get(fold):
            raise ModelError(f"{name}: its weights of {fold} are not those that the registry names (SHA-256 differs); not used")
