"""A registered model as files: code, specs, weights and settings; and what of it makes it this model and no other.

Nothing in a model is ever unpickled, and none of its files names a place on the machine that registered it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from pipeline.common import files
from pipeline.registry.mlflow_client import Client

_PACKAGE = Path(__file__).parents[1]
# The code that travels with a model, under the names by which it is loaded there.
_ENTRANCE_CODE, _SERVED = "served.py", _PACKAGE / "registry" / "served_model.py"
_CODE = {
    "network.py": _PACKAGE / "networks" / "model.py",
    "bags.py": _PACKAGE / "bags" / "scoring.py",
    "encoder.py": _PACKAGE / "encoders" / "kept_network.py",
    "call.py": _PACKAGE / "calling" / "answer.py",
    "pooling.py": _PACKAGE / "evaluation" / "pooling.py",
    **{
        f"images/{name}.py": _PACKAGE / "images" / f"{name}.py"
        for name in ("decoding", "image_faults", "jpeg", "png", "tiff", "tiff_images", "tiff_pixels", "tiff_tags")
    },
}
CODE = (_SERVED, *_CODE.values())
_NEEDED = ("imagecodecs", "keras", "numpy", "pillow", "simplejpeg", "tensorflow")  # what that imports
# To be raised when this code gives the same pixels another score than before: every model is then registered again, with it.
SERVING = 1
_OF_KIND = {  # what only models of some kinds take along
    "cnn": ("network.py", "pooling.py"),
    "bag": ("bags.py", "encoder.py", "pooling.py"),
    "call": ("bags.py", "call.py", "encoder.py"),
}
_WEIGHTS = {"cnn": "model.weights.h5", "bag": "coefficients.npz", "call": "coefficients.npz"}
_SETTINGS = "settings.json"
_NETWORKS = Path("artifacts/networks")  # within a model
_ENTRANCE = (Path("MLmodel"), Path(_ENTRANCE_CODE), _NETWORKS / _SETTINGS)
# Of a spec: how the weights came about; what of that matters is in them.
_HOW_IT_CAME_ABOUT = {"candidate", "knobs", "machine", "inputs", "training"}
# Of the settings: what `predict` tells beside scores and calls.
_TOLD_BESIDE = {"cohort", "reference", "operating_point_chosen", "fewest_images", "sha256"}


def kind(about: Mapping[str, Any]) -> str:
    """Of a model, by its settings or one of its specs; those of networks do not say it."""
    return str(about.get("kind", "cnn"))


def weights_file(about: Mapping[str, Any]) -> str:
    """What the file is called in which a fold's training left what it learned."""
    return _WEIGHTS[kind(about)]


def encoder_folder(spec: Mapping[str, Any]) -> Path:
    """Where in a model the encoder of a fold of kind `bag` lies: beside all folds, or in the fold that alone has it."""
    return Path(f"fold-{spec['fold']}") if spec["encoder"].get("kind") == "network" else Path()


@dataclass(frozen=True)
class Logged:
    """A model that MLflow has."""

    model_id: str
    uri: str
    entrance: Mapping[str, str]  # see `entrance`


def identity(weights_sha256: Mapping[str, str], specs: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """SHA-256 of what makes a model this one: its weights, the networks around them, and the settings its answers rest on.

    By fold: the digest of its weights, and its spec. With what knobs, data, code and machine the weights came about is no part
    of it; nor is the code that travels, but for the number among the settings that says whether it scores otherwise.
    """
    networks = {fold: _without(spec, _HOW_IT_CAME_ABOUT) for fold, spec in specs.items()}
    answers = {"serving": 1, **_without(settings, _TOLD_BESIDE)}  # the first had no number
    return hashlib.sha256(json.dumps([weights_sha256, networks, answers], sort_keys=True).encode()).hexdigest()


def _without(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def registered_identity(place: str, weights_sha256: Mapping[str, str]) -> str:
    """The `identity` of a model that was logged before, its artifacts at `place`, without fetching its weights."""
    told = [_NETWORKS / _SETTINGS, *(_NETWORKS / fold / "spec.json" for fold in weights_sha256)]
    with tempfile.TemporaryDirectory() as target:
        settings, *specs = [json.loads(path.read_text(encoding="utf-8")) for path in _fetched(place, told, Path(target))]
    return identity(weights_sha256, dict(zip(weights_sha256, specs, strict=True)), settings)


def registered_cohort(place: str) -> str:
    """The name of the data that such a model was trained on."""
    with tempfile.TemporaryDirectory() as target:
        (settings,) = _fetched(place, [_NETWORKS / _SETTINGS], Path(target))
        return str(json.loads(settings.read_text(encoding="utf-8"))["cohort"]["cohort"])


def are_there(place: str, folders: Sequence[Path]) -> bool:
    """Whether a model of these trained folds lies at `place` with all its parts: MLflow's records outlive its files."""
    for name in ("MLmodel", _NETWORKS / _SETTINGS):
        if str(name) not in _sizes(place, Path(name).parent):
            return False
    for folder in folders:
        sizes = _sizes(place, _NETWORKS / folder.name)
        weights = folder / weights_file(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
        if sizes.get(f"{_NETWORKS / folder.name / weights.name}") != weights.stat().st_size:
            return False
    return True


def _sizes(place: str, below: Path) -> dict[str, int | None]:
    """How large the files of a folder are, by their path within the model."""
    uri = f"{place}/{below.as_posix()}" if below != Path() else place
    return {
        (below / Path(file.path).name).as_posix(): file.file_size for file in mlflow.artifacts.list_artifacts(artifact_uri=uri)
    }


def log(
    client: Client,
    run_id: str,
    folders: Sequence[Path],
    settings: Mapping[str, Any],
    staging: Path,
    beside: Mapping[str, Path],
) -> Logged:
    """Bring a model to MLflow as part of a run; `beside` are the files of encoders, where it has any, by name in the model.

    `staging` is a folder of its own, gone afterwards, and begun anew where somebody was killed over it. MLflow notes where
    things came from: it is named relative to this folder, and the code, whose whole path is noted, comes from a temporary one.
    """
    networks = staging / _NETWORKS.name
    shutil.rmtree(staging, ignore_errors=True)
    try:
        networks.mkdir(parents=True)
        others = {name for names in _OF_KIND.values() for name in names} - set(_OF_KIND[kind(settings)])
        for name, file in {**_CODE, **beside}.items():
            if name in others:
                continue
            (networks / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, networks / name)
        for folder in folders:
            (networks / folder.name).mkdir(exist_ok=True)
            for name in ("spec.json", weights_file(settings)):
                shutil.copyfile(folder / name, networks / folder.name / name)
        # In a file: MLflow would show a model_config as parameters of the run, beside the knobs.
        text = json.dumps({**settings, "sha256": files.sha256_below(networks)}, indent=2)
        (networks / _SETTINGS).write_text(text + "\n", encoding="utf-8")
        with tempfile.TemporaryDirectory() as code, mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*input example was not provided")  # the signature is given by hand
            logged = mlflow.pyfunc.log_model(
                name="model",
                python_model=shutil.copyfile(_SERVED, str(Path(code, _ENTRANCE_CODE))),
                artifacts={_NETWORKS.name: str(networks)},
                signature=_signature(settings),
                pip_requirements=[f"{name}=={metadata.version(name)}" for name in _NEEDED],
            )
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    place = client.get_logged_model(logged.model_id).artifact_location
    with tempfile.TemporaryDirectory() as target:
        _fetched(place, _ENTRANCE, Path(target))
        return Logged(logged.model_id, logged.model_uri, entrance(Path(target)))


def entrance(model: Path) -> dict[str, str]:
    """SHA-256 of what MLflow reads first of a model that was fetched: its description, its code, the list of other digests."""
    return {path.name: files.sha256(model / path) for path in _ENTRANCE}


def _fetched(place: str, names: Sequence[Path], folder: Path) -> list[Path]:
    """Some files of a model whose artifacts lie at `place`, below `folder` as they are there."""
    for name in names:
        (folder / name.parent).mkdir(parents=True, exist_ok=True)
        mlflow.artifacts.download_artifacts(artifact_uri=f"{place}/{name.as_posix()}", dst_path=str(folder / name.parent))
    return [folder / name for name in names]


def _signature(settings: Mapping[str, Any]) -> ModelSignature:
    """What the served model takes and gives."""
    of_kind, um = kind(settings), float(settings["um"])
    of_images = [ColSpec(DataType.double, "score"), ColSpec(DataType.double, "logit")]
    of_patients = [ColSpec(DataType.double, "patient_score", required=False)]
    of_patients.append(ColSpec(DataType.boolean, "patient_call", required=False))
    if of_kind == "bag":
        of_images = [ColSpec(DataType.string, "patient"), ColSpec(DataType.long, "images")]
        of_patients = [ColSpec(DataType.double, "patient_score"), ColSpec(DataType.double, "patient_logit")]
        of_patients.append(ColSpec(DataType.boolean, "patient_call"))
    if of_kind == "call":
        of_images = [ColSpec(DataType.string, "patient"), ColSpec(DataType.long, "images")]
        of_patients = [ColSpec(DataType.string, "call"), ColSpec(DataType.double, "probability")]
        of_patients += [ColSpec(DataType.string, "set"), ColSpec(DataType.string, "answer")]
        of_patients += [ColSpec(DataType.double, f"probability_{name}") for name in settings["classes"]]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "patient", required=False)]),
        outputs=Schema([*of_images, *of_patients, ColSpec(DataType.string, "patient_warning", required=of_kind != "cnn")]),
        params=ParamSchema([ParamSpec("um", DataType.double, um)]),
    )
