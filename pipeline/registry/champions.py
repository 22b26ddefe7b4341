"""The models in use: each subtype's champion, fetched from MLflow and checked before it scores anything."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common import addresses, console, environment
from pipeline.common.errors import ModelError, PipelineError
from pipeline.drift import summaries
from pipeline.images.decoding import Pixels
from pipeline.registry import (
    bringing_back,
    known_pictures,
    mlflow_address,
    mlflow_errors,
    mlflow_server,
    model_files,
    versions,
)

_LOADER = "mlflow.pyfunc.loaders.code_model"
CALL = "call"  # the registered model that gives one answer of all classes
_NEEDED = ("um", "px", "reference", "cohort", "sha256")
_NEEDED_OF_SUBTYPES = ("operating_point", "temperatures")


@dataclass(frozen=True)
class FoldBag:
    """A patient's vectors `(images, dimension)` as a fold's learner sees them, and that learner."""

    learner: str
    coefficients: dict[str, NDArray[np.float64]]
    temperature: float
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Champion:
    """A subtype's model, or the call's, ready to score, and what `register` wrote down with it."""

    subtype: str
    version: str
    settings: dict[str, Any]
    model: Any
    tested: pd.DataFrame  # the cohort's patients, each out of fold, without names: label, logit
    patients: pd.DataFrame = field(default_factory=partial(summaries.table, []))  # of the cohort, as `drift.summaries` has them
    identity: str = ""  # `versions.identity`
    made_of: frozenset[str] = frozenset()  # SHA-256 of the pixels of the pictures that it was made from

    @property
    def of_patients(self) -> bool:
        """Whether it scores patients alone, and no images."""
        return model_files.kind(self.settings) == "bag"

    @property
    def takes_images(self) -> bool:
        """Whether it can score images at all: not where the vectors it learned from were made elsewhere."""
        return self.settings["px"] is not None

    @property
    def weights(self) -> dict[str, str]:
        """The SHA-256 of what each fold learned, by the fold's name."""
        file = model_files.weights_file(self.settings)
        return {name.partition("/")[0]: digest for name, digest in self.settings["sha256"].items() if name.endswith(f"/{file}")}

    def bags(self, images: Sequence[Pixels]) -> list[FoldBag]:
        """The images of one patient as the folds see them, where it scores patients alone.

        Raises:
            ModelError: it was registered by a version whose models do not tell.
        """
        inner = self.model.unwrap_python_model()
        rows = pd.DataFrame({"image": pd.Series(list(images), dtype=object)})
        try:
            (by_encoder,) = inner._embedded(rows).values()
            return [
                FoldBag(learner, {name: np.asarray(v, np.float64) for name, v in known.items()}, heat, by_encoder[encoder])
                for learner, known, heat, encoder in inner._bag_folds
            ]
        except (AttributeError, ValueError, KeyError) as error:
            raise ModelError(
                f"{self.subtype} v{self.version}: cannot be asked why ({error}); run `python -m pipeline register`, or predict "
                "without --explain"
            ) from None

    def patient_logit(self, images: Sequence[Pixels], um: float) -> float:
        """Mean of the folds' calibrated logits of the one patient whose images these are, where it scores patients alone."""
        rows = pd.DataFrame({"image": pd.Series(list(images), dtype=object)})
        return float(self.model.predict(rows, params={"um": um})["patient_logit"].iloc[0])

    def call_and_vector(self, images: Sequence[Pixels], um: float) -> tuple[dict[str, Any], list[float]]:
        """What a call answers of the one patient whose images these are: `served_model` says which columns.

        And the mean of the vectors by which it answers, which are not made twice; empty where it doesn't tell.
        """
        rows = pd.DataFrame({"image": pd.Series(list(images), dtype=object)})
        inner, made = self.model.unwrap_python_model(), list[Any]()
        embed = inner._embedded

        def remember(given: pd.DataFrame) -> Any:
            made.append(embed(given))
            return made[-1]

        inner._embedded = remember
        try:
            answer = dict(self.model.predict(rows, params={"um": um}).drop(columns="patient").iloc[0])
        finally:
            del inner._embedded
        of_one = [vectors for embedded in made for by_encoder in embedded.values() for vectors in by_encoder.values()]
        return answer, summaries.mean_vector(of_one[0]) if len(of_one) == 1 else []

    def logits(self, images: Sequence[Pixels], um: float) -> NDArray[np.float64]:
        """Mean of the folds' calibrated logits `(n,)` of images of `um` micrometres."""
        rows = pd.DataFrame({"image": pd.Series(list(images), dtype=object)})
        return np.asarray(self.model.predict(rows, params={"um": um})["logit"], dtype=np.float64)


def load(client: mlflow_server.Client, subtype: str, named: str = versions.CHAMPION) -> Champion | None:
    """The subtype's champion, or another version by its number or name; None if there is none.

    Raises:
        ModelError: it cannot be loaded, or its weights are not those that were registered.
    """
    environment.require_backend()
    version = versions.called(client, subtype, named)
    if version is None:
        return None
    name = f"{subtype} v{version.version}"
    with tempfile.TemporaryDirectory() as fetched:
        try:
            folder = mlflow.artifacts.download_artifacts(f"models:/{subtype}/{version.version}", dst_path=fetched)
            _require_code(name, folder)
            for cache in Path(folder).rglob("__pycache__"):  # Python would run what lies there without a look at the source
                shutil.rmtree(cache)
            entrance = model_files.entrance(Path(folder))
            _require_tagged(name, version, entrance)  # before any code of it runs
            model = mlflow.pyfunc.load_model(folder)
        except PipelineError:
            raise
        except Exception as error:  # what MLflow and PyYAML raise where a file is of another form
            if not mlflow_errors.is_of_what_was_asked(error):  # `mlflow_server.answering` says so
                raise
            again = f"`{bringing_back.register(subtype)}` where it was trained makes its files again, if they were deleted"
            raise ModelError(
                f"{name}: cannot be loaded: {addresses.first_line(error, mlflow_address.address())}; {again}"
            ) from None
        settings = getattr(model.unwrap_python_model(), "settings", {})
    needed = _NEEDED if subtype == CALL else (*_NEEDED, *_NEEDED_OF_SUBTYPES)
    if missing := [key for key in needed if key not in settings]:
        raise ModelError(
            f"{name}: was registered without {missing[0]}, by an earlier version; run `python -m pipeline register`"
        )
    tested, patients = versions.scores(client, version)[["label", "logit"]], versions.patients(client, version)
    made_of, identity = known_pictures.digests(client, version), versions.identity(version)
    champion = Champion(subtype, str(version.version), settings, model, tested, patients, identity, made_of)
    _require_tagged(name, version, entrance | champion.weights)
    return champion


def load_call(client: mlflow_server.Client, um: float) -> Champion | None:
    """The champion that gives one answer of all classes; None, and why is said, where none takes images of `um` micrometres."""
    with mlflow_server.answering():
        champion = load(client, CALL)
    if champion is None:
        why = f"{CALL}: has no champion in MLflow; `python -m pipeline register_call` brings it there"
    elif not champion.takes_images:
        why = f"{CALL} v{champion.version}: knows vectors that are made elsewhere, and no images"
    elif champion.settings["um"] != um:
        why = f"{CALL} v{champion.version}: knows a field of view of {champion.settings['um']:g} um and no other"
    else:
        return champion
    console.warn(f"{why}; patients get no answer of all classes")
    return None


def _require_code(name: str, folder: str) -> None:
    """Refuse a model that may hold a pickle, which could run anything, before anything of it is loaded."""
    stored = mlflow.models.Model.load(folder).flavors.get("python_function", {})
    if stored.get("loader_module") != _LOADER or "python_model" in stored:
        raise ModelError(
            f"{name}: was not registered by this pipeline and may hold pickled objects, which could run anything; not used"
        )


def _require_tagged(name: str, version: versions.Version, files: dict[str, str]) -> None:
    """Refuse files that are not those the registry names; the model's own list of digests lies beside them."""
    for file, digest in files.items():
        if version.tags.get(f"sha256.{file}") != digest:
            raise ModelError(
                f"{name}: {file} is not what the registry names (SHA-256 differs); not used; delete its files in MLflow, and "
                f"`{bringing_back.register(version.name)}` where it was trained makes them again"
            )
