"""Which pictures a version was made from, so that it is never tried on them as if they were another hospital's.

Of every usable image of its two classes: the digest of its pixels, the perceptual hash, mean and deviation of the colours; in
the order of the digests, without names, places or patients. Whoever has a picture can ask whether it is one of them, and nobody
can make a picture of it. A picture that was saved again, turned or mirrored has another digest and nearly the same hash; where
that is a few bits off, it is taken for the same picture only if the colours agree too.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.common import made
from pipeline.common.errors import ModelError
from pipeline.images import look_alikes, manifest
from pipeline.registry import bringing_back, mlflow_errors
from pipeline.registry.mlflow_client import Client

_FILE = "known_pictures.parquet"
_TAG = "sha256.known_pictures"
_COLOURS = [name for name in manifest.NUMBERS if name != "sharpness"]
_COLUMNS = ["pixels_sha256", "phash", *_COLOURS]
_SURE_BITS = 2  # of 64 in which hashes differ: the same picture, whatever its colours
_NEAR_BITS = 6  # in which they may differ where the colours agree
_NEAR_LEVELS = 6.0  # by which no mean or deviation of a colour is further off then


@dataclass(frozen=True)
class Met:
    """Which images of another cohort are in the training, by position: the very pixels, and those that look alike."""

    same: list[int]
    alike: list[int]


def of(images: pd.DataFrame) -> pd.DataFrame:
    """What is kept of a manifest's usable images."""
    return images[_COLUMNS].drop_duplicates("pixels_sha256").sort_values("pixels_sha256", ignore_index=True)


def log(client: Client, model: ModelVersion, run_id: str, pictures: pd.DataFrame) -> None:
    """Write them down with a version, once: what it was made from does not change."""
    if _TAG in model.tags and _FILE in {file.path for file in client.list_artifacts(run_id)}:
        return
    buffer = io.BytesIO()
    pictures.to_parquet(buffer, index=False)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _FILE).write_bytes(buffer.getvalue())
        client.log_artifact(run_id, str(Path(folder) / _FILE))
    client.set_model_version_tag(model.name, model.version, _TAG, hashlib.sha256(buffer.getvalue()).hexdigest())


def read(client: Client, model: ModelVersion) -> pd.DataFrame:
    """Those of a version.

    Raises:
        ModelError: it has none, or not those that the registry names.
    """
    name = f"{model.name} v{model.version}"
    again = f"run `{bringing_back.register(model.name)}` where it was trained, which writes them down"
    if _TAG not in model.tags or not model.run_id:
        raise ModelError(
            f"{name}: does not say which pictures it was made from, so nobody could tell whether these are among them; {again}"
        )
    try:
        with tempfile.TemporaryDirectory() as folder:
            content = Path(client.download_artifacts(model.run_id, _FILE, folder)).read_bytes()
    except (MlflowException, OSError) as error:
        if not mlflow_errors.is_of_what_was_asked(error):
            raise
        raise ModelError(f"{name}: the list of pictures it was made from is gone from MLflow; {again}") from None
    if hashlib.sha256(content).hexdigest() != model.tags[_TAG]:
        raise ModelError(f"{name}: {_FILE} is not what the registry names (SHA-256 differs); delete it in MLflow, then {again}")
    return made.parquet(io.BytesIO(content))


def digests(client: Client, model: ModelVersion) -> frozenset[str]:
    """Those of the pixels; none of a version that was registered before they were written down."""
    return frozenset(read(client, model)["pixels_sha256"]) if _TAG in model.tags else frozenset()


def met(known: pd.DataFrame, images: pd.DataFrame) -> Met:
    """Which of `images` (rows of a manifest) are among the `known`."""
    same = np.flatnonzero(images["pixels_sha256"].isin(known["pixels_sha256"]).to_numpy())
    ours, theirs = known[_COLOURS].to_numpy(), images[_COLOURS].to_numpy()
    alike = {
        other
        for one, other, bits in look_alikes.between(known["phash"].tolist(), images["phash"].tolist(), _NEAR_BITS)
        if bits <= _SURE_BITS or np.abs(ours[one] - theirs[other]).max() <= _NEAR_LEVELS
    }
    return Met(same.tolist(), sorted(alike - set(same.tolist())))
