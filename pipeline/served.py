"""The registered model as MLflow loads it: this file, the networks' code, their specs and weights; no pickle.

It travels with the model and runs where this package is not installed, so it imports nothing of it. An image is the bytes
of a TIFF, PNG or JPEG file; the score is the probability of the subtype: the mean of the folds' calibrated logits, as a
probability.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class SubtypeModel(PythonModel):
    """One subtype against control."""

    def load_context(self, context: PythonModelContext) -> None:
        """Rebuild the networks; refuse weights that are not the registered ones."""
        folder = Path(context.artifacts["networks"])
        code = _load_code(folder / "network.py")
        self._logits, self._networks, self._temperatures = code.logits, [], []
        for name, registered in sorted(context.model_config["weights_sha256"].items()):
            weights = folder / name / "model.weights.h5"
            if hashlib.sha256(weights.read_bytes()).hexdigest() != registered:
                raise ValueError(f"{weights}: not the weights that were registered (SHA-256 differs); they are not loaded")
            self._spec = json.loads((folder / name / "spec.json").read_text())
            network = code.build(self._spec)
            network.load_weights(weights)
            self._networks.append(network)
            self._temperatures.append(float(context.model_config["temperatures"][name]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Column `image` (bytes) -> column `score`, a probability."""
        images = np.stack([_decode(data, number, self._spec["px"]) for number, data in enumerate(model_input["image"])])
        folds = zip(self._networks, self._temperatures, strict=True)
        logits = np.mean([self._logits(network, images) / temperature for network, temperature in folds], axis=0)
        return pd.DataFrame({"score": 1 / (1 + np.exp(-logits.astype(np.float64)))})


def _decode(data: bytes, number: int, px: int) -> np.ndarray[Any, Any]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            colour = image.convert("RGB")
            filter_ = Image.Resampling.BOX if px <= min(colour.size) else Image.Resampling.BICUBIC
            return np.asarray(colour.resize((px, px), filter_))  # as the training images were resized
    except OSError:
        raise ValueError(f"image {number} is not a picture that can be read") from None


def _load_code(path: Path) -> Any:
    """The networks' code under a name of its own, so that no installed package of another version takes its place."""
    specification = importlib.util.spec_from_file_location(f"network_{abs(hash(path))}", path)
    if specification is None or specification.loader is None:
        raise ValueError(f"{path}: cannot be loaded")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


set_model(SubtypeModel())
