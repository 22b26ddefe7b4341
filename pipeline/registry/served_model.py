"""The registered model as MLflow loads it: this file, the code of networks and images, specs and weights; no pickle.

It travels with the model and runs where this package is not installed, so it imports nothing of it.

In: column `image`, each the bytes of a TIFF, PNG or JPEG file (base64 over HTTP) or, in Python, a uint8 array
`(side, side, 3)` of any side; if wanted, column `patient`; parameter `um`, the side in micrometres: another than the trained
one is refused, because resizing would not undo it. What training quarantines is refused here, by the same code.

Out of networks, a row an image: `score`, the probability of the subtype at `logit`, the mean of the folds' calibrated logits.
With patients also `patient_score`, the probability at the patient's calibrated logit, which follows from the mean of the logits
of the patient's images in this call; `patient_call`, whether it lies above the operating point; and `patient_warning`, why not
to rely on that ("" where nothing speaks against it).

Out of a learner that scores patients alone, a row a patient, in the order in which they first appear: `patient` (empty where no
patients are given: all images are then one patient's), `images`, `patient_score`, `patient_logit`, `patient_call`,
`patient_warning`.

Out of a call, a row a patient likewise: `patient`, `images`, `call`, the likeliest class, `probability`, its own, `set`, the
classes that cannot be ruled out at the coverage that the settings name, with blanks between, `answer`, what that amounts to in
words (empty where too few patients are known for that coverage), `probability_<class>`, which add up to 1, `patient_warning`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

_SETTINGS = "settings.json"
_BACKENDS = ("tensorflow", "jax")
_refused = MlflowException.invalid_parameter_value  # over HTTP: status 400 and the line, instead of a stack trace


class SubtypeModel(PythonModel):
    """One subtype against control."""

    def load_context(self, context: PythonModelContext) -> None:
        """Rebuild the networks; refuse files that are not the registered ones, or make no model."""
        folder = Path(context.artifacts["networks"])
        try:
            self._load(folder)
        except (MlflowException, ImportError):
            raise
        except Exception as error:  # what Keras, HDF5 and NumPy raise where a file is of another form
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise _refused(f"{folder}: its files make no model ({reason}); register the model again") from None

    def _load(self, folder: Path) -> None:
        if not (folder / _SETTINGS).is_file():
            raise _refused(f"{folder / _SETTINGS}: is missing; register the model again")
        self._folder = folder
        self.settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        _require_registered(folder, self.settings["sha256"])
        if (backend := os.environ.get("KERAS_BACKEND") or _BACKENDS[0]) not in _BACKENDS:
            raise _refused(f"KERAS_BACKEND: must be {' or '.join(_BACKENDS)}, not {backend!r}; unset it")
        self._images = _load_code(folder / "images" / "decoding.py")
        if self.settings.get("kind") == "call":
            _require_numbers(_SETTINGS, [self.settings["um"], self.settings["temperature"], self.settings["coverage"] or 0])
            self._load_call(folder)
            return
        self._pooling = _load_code(folder / "pooling.py")
        self._calibration = self.settings.get("patient_calibration", {})  # an earlier version calibrated images alone
        _require_numbers(_SETTINGS, [self.settings["um"], self.settings["operating_point"], *self._calibration.values()])
        _require_numbers(_SETTINGS, [*self.settings["temperatures"].values()])
        self._of_patients = self.settings.get("kind") == "bag"
        if self._of_patients:
            self._load_bags(folder)
            return
        with _tensorflow_muted():
            self._network = _load_code(folder / "network.py")
        self._folds = []
        for name, temperature in sorted(self.settings["temperatures"].items()):
            spec = json.loads((folder / name / "spec.json").read_text())
            self._folds.append((self._rebuilt(folder / name, spec), int(spec["px"]), float(temperature)))
        self._checked(self._score_images(np.zeros(1), pd.Series([""])))  # of nobody: settings that make no answer show here

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Score every image, and every patient where patients are given; or, by a learner that scores those alone, patients."""
        trained_um = self.settings["um"]
        um = (params or {}).get("um", trained_um)
        if um is None:
            raise _refused("um: is null; leave it out, or say how many micrometres the images are wide")
        if um != trained_um:
            raise _refused(f"um: images of {um:g} um; the model knows a field of view of {trained_um:g} um and no other")
        if self.settings.get("kind") == "call":
            return self._checked(self._call_bags(self._embedded(model_input)))
        if self._of_patients:
            return self._checked(self._score_bags(self._embedded(model_input)))
        sides = {px for _, px, _ in self._folds}
        images = [self._resized(image, number, sides) for number, image in enumerate(model_input["image"], start=1)]
        patients = _named(model_input["patient"]) if "patient" in model_input else None
        return self._checked(self._score_images(self._logits(images), patients))

    def _score_images(self, logits: Any, patients: pd.Series | None) -> pd.DataFrame:
        """A row an image, by the mean of the folds' calibrated logits."""
        scored = pd.DataFrame({"score": self._pooling.probabilities(logits), "logit": logits})
        if patients is not None:
            pooled = self._pooling.patient_scores(scored.assign(patient=patients), ["patient"], **self._calibration)
            pooled = pooled.set_index("patient")
            scored["patient_score"] = patients.map(pooled["score"]).astype("float64")
            scored["patient_call"] = scored["patient_score"] > self.settings["operating_point"]
            scored["patient_warning"] = patients.map(pooled["images"].map(self._few)).astype("str")
        return scored

    def _checked(self, answer: pd.DataFrame) -> pd.DataFrame:
        """The answer, if its numbers are some."""
        if not np.isfinite(answer.select_dtypes("number").to_numpy()).all():
            raise _refused(f"{self._folder}: its files make an answer that is no number; register the model again")
        return answer

    def _few(self, images: int) -> str:
        """A warning where a patient has fewer images than any of training had."""
        fewest = int(self.settings.get("fewest_images", 0))  # an earlier version did not say
        count = f"{images} {'image' if images == 1 else 'images'}"
        return f"{count}; a patient of training had at least {fewest}: the score of so few is unsure" if images < fewest else ""

    def _load_bags(self, folder: Path) -> None:
        """Coefficients, temperature and encoder of every fold, if it is the one with which they were learned."""
        self._bags = _load_code(folder / "bags.py")
        self._bag_folds = [
            (spec["learner"], coefficients, float(self.settings["temperatures"][place.name]), encoder)
            for spec, coefficients, place, encoder in self._learned(folder, list(self.settings["temperatures"]))
        ]
        self._require_an_answer(self._score_bags, [encoder for *_, encoder in self._bag_folds])

    def _load_call(self, folder: Path) -> None:
        """The regression of every fold, the strangeness of its patients, and the encoder."""
        self._bags, self._call = _load_code(folder / "bags.py"), _load_code(folder / "call.py")
        self._call_folds = [
            (coefficients, encoder) for _, coefficients, _, encoder in self._learned(folder, self.settings["folds"])
        ]
        if any(fold["intercept"].shape != (len(self.settings["classes"]),) for fold, _ in self._call_folds):
            raise ValueError("an intercept is not of these classes")  # NumPy would take one number for all of them
        self._require_an_answer(self._call_bags, [encoder for _, encoder in self._call_folds])

    def _learned(self, folder: Path, folds: list[str]) -> list[tuple[dict[str, Any], dict[str, Any], Path, Path]]:
        """Spec, coefficients, folder and encoder's folder of every fold; loads encoders, if they are those behind the folds."""
        learned = []
        self._encoders: dict[Path, Any] = {}  # of several folds one, or a network of each fold's own
        for name in sorted(folds):
            spec = json.loads((folder / name / "spec.json").read_text())
            self._about = spec["encoder"]
            place = folder / name if self._about.get("kind") == "network" else folder
            with np.load(folder / name / "coefficients.npz") as stored:  # numbers, never objects: allow_pickle is off
                learned.append((spec, dict(stored), folder / name, place))
            _require_numbers(f"{name}/coefficients.npz", *learned[-1][1].values())
            if "weights_file_sha256" not in self._about:  # vectors were made elsewhere
                continue
            weights = place / "encoder.weights.h5"
            if not weights.is_file() or hashlib.sha256(weights.read_bytes()).hexdigest() != self._about["weights_file_sha256"]:
                raise _refused(
                    f"{weights}: not the encoder that {name} learned with (SHA-256 differs); register the model again"
                )
            if place not in self._encoders:
                with _tensorflow_muted():
                    self._encoders[place] = _load_code(folder / "encoder.py").load(place, self._about)
        return learned

    def _require_an_answer(self, of: Callable[[dict[str, dict[Path, Any]]], pd.DataFrame], encoders: list[Path]) -> None:
        """Ask of two made-up patients, of two and three images whose vectors are 0: files that do not fit answer of nobody."""
        vectors = {str(images): np.zeros((images, int(self._about["dimension"])), dtype=np.float32) for images in (2, 3)}
        with np.errstate(all="ignore"):
            self._checked(of({patient: dict.fromkeys(encoders, own) for patient, own in vectors.items()}))

    def _embedded(self, model_input: pd.DataFrame) -> dict[str, dict[Path, Any]]:
        """The vectors of every patient by each encoder, in the order in which they first appear."""
        if not self._encoders:
            name = self._about["name"]
            raise _refused(f"the vectors of the encoder {name} are made elsewhere: this model cannot make them of images")
        px = int(self._about["px"])
        seen = [self._resized(image, number, {px})[px] for number, image in enumerate(model_input["image"], start=1)]
        vectors = {place: encode(seen) for place, encode in self._encoders.items()}
        given = "patient" in model_input
        patients = _named(model_input["patient"]) if given else pd.Series([""] * len(seen), dtype=object)
        rows = patients.groupby(patients, sort=False).indices
        return {str(patient): {place: by[of_patient] for place, by in vectors.items()} for patient, of_patient in rows.items()}

    def _call_bags(self, embedded: Mapping[str, Mapping[Path, Any]]) -> pd.DataFrame:
        """A row a patient, by what `calling` measured: probabilities by all folds, the set by every fold's own patients."""
        names = self.settings["classes"]
        of_folds, known = [], []
        for fold, encoder in self._call_folds:
            table = [self._bags.statistics(by[encoder], fold["quantiles"]) for by in embedded.values()]
            of_folds.append(self._call.logits(fold, np.reshape(table, (len(table), len(fold["weights"])))))  # of nobody, no row
            known.append((fold["classes"], fold["strangeness"]))
        scores = self._call.probabilities(np.mean(of_folds, axis=0), self.settings["temperature"])
        p_values = self._call.p_values(known, [self._call.strangeness(logits) for logits in of_folds])
        coverage = self.settings["coverage"]
        inside = self._call.inside(p_values, 0.0 if coverage is None else coverage)
        sets = [[name for name, kept in zip(names, row, strict=True) if kept] for row in inside]
        return pd.DataFrame(
            {
                "patient": list(embedded),
                "images": list(map(_images, embedded.values())),
                "call": [names[place] for place in scores.argmax(axis=1)],
                "probability": scores.max(axis=1),
                "set": [" ".join(classes) for classes in sets],
                "answer": ["" if coverage is None else self._call.in_words(classes) for classes in sets],
                **{f"probability_{name}": scores[:, column] for column, name in enumerate(names)},
                "patient_warning": [self._few(_images(by)) for by in embedded.values()],
            }
        )

    def _score_bags(self, embedded: Mapping[str, Mapping[Path, Any]]) -> pd.DataFrame:
        """A row a patient."""
        of_folds = [
            self._bags.logits(learner, known, [by[encoder] for by in embedded.values()]) / heat
            for learner, known, heat, encoder in self._bag_folds
        ]
        logits = np.mean(of_folds, axis=0)
        logits = self._calibration.get("intercept", 0.0) + self._calibration.get("slope", 1.0) * logits
        scores = self._pooling.probabilities(logits)
        return pd.DataFrame(
            {
                "patient": list(embedded),
                "images": list(map(_images, embedded.values())),
                "patient_score": scores,
                "patient_logit": logits,
                "patient_call": scores > self.settings["operating_point"],
                "patient_warning": [self._few(_images(by)) for by in embedded.values()],
            }
        )

    def _rebuilt(self, folder: Path, spec: dict[str, Any]) -> Any:
        try:
            network = self._network.build(spec)
            network.load_weights(folder / "model.weights.h5")  # HDF5: numbers, never objects
            _require_numbers("model.weights.h5", *network.get_weights())
            _require_numbers("normalisation", *spec["normalisation"].values())
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise _refused(f"{folder}: spec and weights do not make a network ({reason}); register the model again") from None
        return network

    def _resized(self, image: object, number: int, sides: set[int]) -> Any:
        """By side, as the networks take it: a large image is not kept."""
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape[0] != image.shape[1]:
                raise _refused(f"image {number}: uint8 (side, side, 3) is needed, not {image.dtype} {image.shape}")
            return {px: self._images.resize(image, px) for px in sides}
        if not isinstance(image, bytes | bytearray):
            raise _refused(f"image {number}: the bytes of a TIFF, PNG or JPEG file are needed, not {type(image).__name__}")
        data = bytes(image)
        reason, resized = self._images.in_turn(data, partial(self._decoded, data, sides))
        if reason:
            raise _refused(f"image {number}: {reason}")
        return resized

    def _decoded(self, data: bytes, sides: set[int]) -> tuple[str, dict[int, Any]]:
        """Why not, and the pixels by side."""
        seen = self._images.inspect(data, None)
        return seen.reason, {} if seen.pixels is None else {px: self._images.resize(seen.pixels, px) for px in sides}

    def _logits(self, images: list[dict[int, Any]]) -> Any:
        """Mean of the folds' calibrated logits, float64 `(n,)`."""
        if not images:
            return np.empty(0)
        # The last image twice: TensorFlow multiplies a batch of one in another order, and the score would depend on company.
        padded = [*images, images[-1]]
        of_folds = [
            self._network.logits(network, (image[px] for image in padded)) / np.float64(temperature)
            for network, px, temperature in self._folds
        ]
        return np.mean(of_folds, axis=0)[:-1]


def _images(vectors: Mapping[Path, Any]) -> int:
    """How many a patient has, whose vectors by any encoder these are."""
    return len(next(iter(vectors.values())))


def _named(patients: pd.Series) -> pd.Series:
    """The patients, of whom every image must have one."""
    patients = patients.reset_index(drop=True)
    nameless = np.flatnonzero(patients.isna() | patients.map(lambda name: isinstance(name, str) and not name))
    if nameless.size:
        raise _refused(f"image {nameless[0] + 1} has no patient; name one for every image, or for none")
    for number, name in enumerate(patients, start=1):
        if not isinstance(name, str):
            raise _refused(f"image {number}: a patient's name is text, not {type(name).__name__}")
    return patients


def _require_numbers(name: str, *values: Any) -> None:
    """Refuse NaN and infinity, with which every answer would be one, and what is no number at all.

    Raises:
        ValueError: says in what.
    """
    for one in map(np.asarray, values):
        if one.dtype.kind not in "biuf" or not np.isfinite(one).all():
            raise ValueError(f"{name} holds something else than finite numbers")


def _require_registered(folder: Path, registered: dict[str, str]) -> None:
    here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    here.pop(_SETTINGS)
    for name in sorted(here.keys() | registered.keys()):
        if name not in here:
            raise _refused(f"{folder / name}: is missing; register the model again")
        if hashlib.sha256(here[name].read_bytes()).hexdigest() != registered.get(name):
            raise _refused(f"{here[name]}: not the file that was registered (SHA-256 differs); nothing is loaded")


@contextlib.contextmanager
def _tensorflow_muted() -> Iterator[None]:
    """Its libraries greet on file descriptor 2 when they are loaded, before any log level counts; errors still raise."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _load_code(path: Path) -> Any:
    """A module under a name of its own, so that no installed package of another version takes its place.

    It may import the modules beside it by place (`from . import tiff`).
    """
    beside = b"".join(file.read_bytes() for file in sorted(path.parent.glob("*.py")))
    name = f"served_{path.stem}_{hashlib.sha256(beside).hexdigest()[:16]}"
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
        if specification is None or specification.loader is None:
            raise _refused(f"{path}: cannot be loaded")
        sys.modules[name] = module = importlib.util.module_from_spec(specification)
        before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # beside it, it would be a file that was not registered
        try:
            specification.loader.exec_module(module)
        finally:
            sys.dont_write_bytecode = before
    return sys.modules[name]


set_model(SubtypeModel())
