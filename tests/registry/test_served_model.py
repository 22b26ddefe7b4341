"""The registered model as others use it: from Python where only MLflow is, and over HTTP; and what it refuses."""

from __future__ import annotations

import ast
import base64
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
import registered
import test_decoding
from mlflow.exceptions import MlflowException
from processes import CLEAN, answers, end, free_port, wait
from registered import TEMPERATURES, THRESHOLDS
from ruamel.yaml import YAML

from pipeline.evaluation.pooling import probabilities
from pipeline.images import decoding
from pipeline.registry import fold_mean, model_card


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    registered.build(folder)
    return folder


@pytest.fixture(scope="module")
def model(project: Path) -> Any:
    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    return mlflow.pyfunc.load_model("models:/NPM1@champion")


@pytest.fixture(scope="module")
def patient() -> list[bytes]:
    return registered.cells("NPM1", 5, seed=7)


def files_of_npm1(project: Path) -> Path:
    (place,) = [path.parent for path in (project / "mlartifacts" / "NPM1").rglob("MLmodel")]
    return place


def frame(data: list[Any], **more: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"image": pd.Series(data, dtype=object), **more})


def expected_logits(project: Path, data: list[bytes]) -> np.ndarray:
    """From the files of `train` and `evaluate`, by hand."""
    from pipeline.networks import model

    small = [decoding.resize(decoding.decode(one), registered.PX) for one in data]
    calibrated = []
    for fold, temperature in TEMPERATURES.items():
        folder = project / "models" / "NPM1" / "published" / f"fold-{fold}"
        network = model.build(json.loads((folder / "spec.json").read_text()))
        network.load_weights(folder / "model.weights.h5")
        calibrated.append(model.logits(network, small) / temperature)
    return np.mean(calibrated, axis=0)


def test_a_score_is_the_probability_at_the_mean_of_the_folds_calibrated_logits(
    project: Path, model: Any, patient: list[bytes]
) -> None:
    found = model.predict(frame(patient))
    expected = expected_logits(project, patient)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found["logit"], expected, atol=1e-6)
    np.testing.assert_allclose(found["score"], probabilities(expected), atol=1e-6)
    assert list(found.columns) == ["score", "logit"]


def test_a_patient_is_pooled_from_his_or_her_images_in_whatever_order(project: Path, model: Any, patient: list[bytes]) -> None:
    found = model.predict(frame(patient, patient=["A", "B", "A", "B", "A"]))
    logits = expected_logits(project, patient)
    intercept, slope = (np.mean(list(of_folds.values())) for of_folds in (registered.INTERCEPTS, registered.SLOPES))
    means = {"A": logits[[0, 2, 4]].mean(), "B": logits[[1, 3]].mean()}
    own = {name: probabilities([intercept + slope * mean])[0] for name, mean in means.items()}
    np.testing.assert_allclose(found["patient_score"], [own[name] for name in "ABABA"], atol=1e-6)
    point = fold_mean.operating_point(list(THRESHOLDS.values()))
    assert list(found["patient_call"]) == [own[name] > point for name in "ABABA"]


def test_a_call_from_fewer_images_than_any_patient_of_training_had_is_warned_of(model: Any, patient: list[bytes]) -> None:
    fewest = model.unwrap_python_model().settings["fewest_images"]
    assert fewest == 12, "as many as each of the cohort's patients has"
    enough = (patient * fewest)[:fewest]
    found = model.predict(frame([patient[0], *enough], patient=["A", *["B"] * fewest]))
    assert found["patient_warning"][0] == f"1 image; a patient of training had at least {fewest}: the score of so few is unsure"
    assert set(found["patient_warning"][1:]) == {""}


def test_the_operating_point_of_the_mean_is_where_one_stands_who_stands_at_every_folds_threshold() -> None:
    assert fold_mean.operating_point([0.5]) == 0.5
    assert fold_mean.operating_point([0.3, 0.3, 0.3]) == 0.3
    assert fold_mean.operating_point([0.2, 0.8]) == pytest.approx(0.5)
    assert fold_mean.operating_point([0.5, 0.9]) == pytest.approx(0.75)  # odds 1 and 9: their geometric mean is 3
    assert 0 < fold_mean.operating_point([0.0, 0.5, 0.5]) < 0.5


def test_company_changes_no_score(model: Any, patient: list[bytes]) -> None:
    """But for rounding: some processors sum another number of images in another order."""
    together = model.predict(frame(patient))["logit"].to_numpy()
    alone = np.concatenate([model.predict(frame([one]))["logit"] for one in patient])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_an_array_scores_as_its_file_does(model: Any, patient: list[bytes]) -> None:
    arrays = [decoding.decode(one) for one in patient]
    pd.testing.assert_frame_equal(model.predict(frame(arrays)), model.predict(frame(patient)))


@pytest.mark.parametrize("kind", [*test_decoding.USABLE, *test_decoding.UNUSABLE])
def test_what_training_quarantines_is_refused_for_the_same_reason(model: Any, kind: str) -> None:
    data = test_decoding.USABLE.get(kind) or test_decoding.UNUSABLE[kind][0]
    reason = decoding.inspect(data, None).reason
    if not reason:
        assert 0 < model.predict(frame([data]))["score"][0] < 1
        return
    with pytest.raises(MlflowException) as refused:
        model.predict(frame([data]))
    assert str(refused.value) == f"image 1: {reason}"


def test_what_a_model_needs_is_what_its_code_imports(project: Path) -> None:
    """All but MLflow, which loads it, and what comes with it."""
    needed = {line.split("==")[0] for line in (files_of_npm1(project) / "requirements.txt").read_text().splitlines()}
    code = [path for path in files_of_npm1(project).rglob("*.py") if path.is_file()]
    assert {path.name for path in code} >= {"served.py", "network.py", "decoding.py", "tiff.py", "png.py", "jpeg.py"}
    found = set()
    for node in (node for path in code for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    packages = {{"PIL": "pillow"}.get(name, name) for name in found - sys.stdlib_module_names - {"mlflow", "pandas"}}
    assert packages | {"tensorflow"} == needed - {"mlflow"}


@pytest.mark.parametrize(
    ("rows", "params", "said"),
    [
        ({"image": ["abc"]}, {}, "image 1: the bytes of a TIFF, PNG or JPEG file are needed, not str"),
        ({"image": [np.zeros((9, 8, 3), np.uint8)]}, {}, r"image 1: uint8 \(side, side, 3\) is needed, not uint8 \(9, 8, 3\)"),
        ({"image": [np.zeros((9, 9, 3))]}, {}, r"not float64 \(9, 9, 3\)"),
        ({"image": [np.zeros((9, 9, 3), np.uint8)] * 2, "patient": ["A", None]}, {}, "image 2 has no patient"),
        ({"image": [np.zeros((9, 9, 3), np.uint8)], "patient": [["A"]]}, {}, "text, not list|string"),
        (
            {"image": [np.zeros((9, 9, 3), np.uint8)]},
            {"um": 30.0},
            "images of 30 um; the model knows a field of view of 24.9 um",
        ),
        ({"image": [np.zeros((9, 9, 3), np.uint8)]}, {"um": None}, "um: is null; leave it out, or say how many micrometres"),
    ],
)
def test_bad_input_is_one_line(model: Any, rows: dict[str, list[Any]], params: dict[str, float | None], said: str) -> None:
    with pytest.raises(MlflowException, match=said) as refused:
        model.predict(frame(**{"data": rows["image"]}, **{k: v for k, v in rows.items() if k != "image"}), params=params)
    assert "\n" not in str(refused.value)


def test_the_field_of_view_may_be_said(model: Any, patient: list[bytes]) -> None:
    pd.testing.assert_frame_equal(model.predict(frame(patient), params={"um": 24.9}), model.predict(frame(patient)))


class _Bomb:
    """Unpickled it makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.place),)


def _swap_weights(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    (folder / "fold-1/model.weights.h5").write_bytes((folder / "fold-0/model.weights.h5").read_bytes())
    return "fold-1/model.weights.h5: not the file that was registered"


def _pickle(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    (folder / "fold-0/model.weights.h5").write_bytes(pickle.dumps(_Bomb(bomb)))
    return "fold-0/model.weights.h5: not the file that was registered"


def _pickle_with_its_digest(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    _pickle(folder, bomb, sha256)
    _redigest(folder, "fold-0/model.weights.h5", sha256)
    return "fold-0: spec and weights do not make a network"


def _unknown_layer(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    spec = json.loads((folder / "fold-0/spec.json").read_text())
    spec["layers"][0] = {"kind": "lambda", "code": "evil"}
    (folder / "fold-0/spec.json").write_text(json.dumps(spec))
    _redigest(folder, "fold-0/spec.json", sha256)
    return "the spec has a layer this code does not know"


def _other_layers(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    spec = json.loads((folder / "fold-0/spec.json").read_text())
    spec["layers"][-1]["units"] = 9
    (folder / "fold-0/spec.json").write_text(json.dumps(spec))
    _redigest(folder, "fold-0/spec.json", sha256)
    return "fold-0: spec and weights do not make a network"


def _no_numbers(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    with h5py.File(folder / "fold-1/model.weights.h5", "r+") as stored:
        stored["layers/dense/vars/0"][0, 0] = np.nan
    _redigest(folder, "fold-1/model.weights.h5", sha256)
    return r"fold-1: spec and weights do not make a network \(model.weights.h5 holds something else than .*\); register"


def _infinite_normalisation(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    spec = json.loads((folder / "fold-0/spec.json").read_text())
    spec["normalisation"]["mean"][0] = float("inf")
    (folder / "fold-0/spec.json").write_text(json.dumps(spec))
    _redigest(folder, "fold-0/spec.json", sha256)
    return "normalisation holds something else than finite numbers"


def _cut_off(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    spec = folder / "fold-0/spec.json"
    spec.write_text(spec.read_text()[:50])
    _redigest(folder, "fold-0/spec.json", sha256)
    return "its files make no model"


def _missing(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    (folder / "fold-1/model.weights.h5").unlink()
    return "fold-1/model.weights.h5: is missing"


def _stowaway(folder: Path, bomb: Path, sha256: dict[str, str]) -> str:
    (folder / "helper.py").write_text("")
    return "helper.py: not the file that was registered"


def _redigest(folder: Path, name: str, sha256: dict[str, str]) -> None:
    import hashlib

    sha256[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "tamper",
    [
        _swap_weights,
        _pickle,
        _pickle_with_its_digest,
        _unknown_layer,
        _other_layers,
        _no_numbers,
        _infinite_normalisation,
        _cut_off,
        _missing,
        _stowaway,
    ],
)
def test_a_model_that_was_tampered_with_is_not_loaded(project: Path, model: Any, tmp_path: Path, tamper: Any) -> None:
    """And nothing in it is ever unpickled."""
    copy, bomb = tmp_path / "model", tmp_path / "exploded"
    shutil.copytree(files_of_npm1(project), copy)
    listed = copy / "artifacts/networks/settings.json"
    settings = json.loads(listed.read_text())
    said = tamper(copy / "artifacts/networks", bomb, settings["sha256"])
    listed.write_text(json.dumps(settings))
    with pytest.raises(MlflowException, match=said) as refused:
        mlflow.pyfunc.load_model(str(copy))
    assert "\n" not in str(refused.value)
    assert not bomb.exists()


def test_an_answer_that_is_no_number_is_not_given(project: Path, model: Any, patient: list[bytes], tmp_path: Path) -> None:
    shutil.copytree(files_of_npm1(project), tmp_path / "model")
    listed = tmp_path / "model/artifacts/networks/settings.json"
    settings = json.loads(listed.read_text())
    settings["temperatures"]["fold-0"] = 0.0
    listed.write_text(json.dumps(settings))
    cold = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    with pytest.raises(MlflowException, match="its files make an answer that is no number; register the model again"):
        cold.predict(frame(patient[:1]))


def test_loading_leaves_no_bytecode_among_the_registered_files(
    project: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for name in [name for name in sys.modules if name.startswith("served_")]:
        monkeypatch.delitem(sys.modules, name)
    mlflow.pyfunc.load_model("models:/NPM1@champion")
    assert not list((files_of_npm1(project) / "artifacts").rglob("*.pyc"))


def test_nothing_that_travels_is_a_pickle_or_names_this_machine(project: Path) -> None:
    place = files_of_npm1(project)
    names = {path.suffix for path in place.rglob("*") if path.is_file()}
    assert not names & {".pkl", ".pickle", ".joblib", ".keras"}
    described = YAML(typ="safe").load(place / "MLmodel")
    del described["artifact_path"]  # where MLflow put it, for itself
    assert str(project) not in json.dumps(described, default=str)


def test_the_version_carries_its_card(project: Path) -> None:
    version = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db").get_model_version_by_alias("NPM1", "champion")
    text = version.description
    for part in ("AML with mutated NPM1", "not for diagnosis", "24.9 x 24.9 um (144 px; the networks see 16 px)", "synthetic"):
        assert part in text
    for part in ("Folds trained: 0, 1 of 5", "patient AUROC | 0.800 | 0.600 to 0.900", "accuracy | 0.80 (0.70 to 0.90) | 0.80"):
        assert part in text
    assert "10.7937/6PPE-4020" not in text  # the data of a demo are nobody's
    assert f"`{version.tags['sha256.fold-1'][:12]}`" in text


def facts(**changes: Any) -> model_card.Facts:
    source = {"source": "kaggle", "cohort": "AML-Cytomorphology_MLL_Helmholtz v1", "files": 81_214, "sha256": "f" * 64}
    source["dataset"] = "gchan357/human-aml-cytomorphology-dataset"
    figures = [f"{level}_{name}" for level in ("image", "patient") for name in ("auroc", "auprc", "sensitivity", "specificity")]
    usual: dict[str, Any] = {
        "subtype": "RUNX1_RUNX1T1",
        "control": "control",
        "um": 24.9,
        "px": 144,
        "sides_px": [144],
        "source": source,
        "folds": [0, 1, 2, 3, 4],
        "n_folds": 5,
        "figures": {**dict.fromkeys(figures, registered.INTERVAL), "images": 34_708, "patients": 92},
        "by_class": _by_class(),
        "confidence": 0.95,
        "operating_point": 0.4321,
        "operating_point_chosen": [f"fold-{k}" for k in range(5)],
        "tuned_on": None,
        "leaked": False,
        "digest": "a" * 64,
        "weights_sha256": {f"fold-{k}": "b" * 64 for k in range(5)},
    }
    return model_card.Facts(**{**usual, **changes})


def _by_class() -> pd.DataFrame:
    figures = dict.fromkeys(("precision", "recall", "f1", "accuracy"), 0.91)
    bounds = {f"{name}_{bound}": 0.9 for name in figures for bound in ("low", "high")}
    return pd.DataFrame([{"source": source, "class": "subtype", **figures, **bounds} for source in ("balanced", "published")])


def test_the_card_cites_the_real_cohort_and_fits_into_mlflows_databases() -> None:
    text = model_card.markdown(facts())
    assert "https://doi.org/10.7937/6PPE-4020" in text
    assert "t(8;21)(q22;q22)" in text
    assert "| accuracy | 0.91 (0.90 to 0.90) | 0.91 |" in text
    assert len(text) < model_card.LONGEST
    copied = model_card.markdown(
        facts(source={"source": "folder", "cohort": "St. Elsewhere 2026", "files": 9, "sha256": "c" * 64})
    )
    assert "6PPE-4020" not in copied
    unknown = model_card.markdown(facts(subtype="KMT2A"))
    assert "WHO" not in unknown
    assert "published" not in unknown


def test_the_card_says_what_training_did_not_see_or_saw_less_of() -> None:
    assert "After review" not in model_card.markdown(facts(curated=[{}, {}]))
    some = model_card.markdown(facts(curated=[{}, {"left_out": 3, "down_weighted": 0}, {"left_out": 5, "down_weighted": 0}]))
    assert "After review up to 5 images were left out of a fold's training." in some
    assert "the less often" not in some
    less = model_card.markdown(facts(curated=[{"left_out": 0, "down_weighted": 1200}]))
    assert "Up to 1,200 were shown the less often, the healthier they look." in less


def test_the_card_says_where_the_operating_point_comes_from() -> None:
    assert "each chosen on the controls of the other folds." in model_card.markdown(facts())
    some = model_card.markdown(facts(operating_point_chosen=["fold-1", "fold-3"]))
    assert (
        "chosen on controls of other folds in fold-1, fold-3; in the others there were too few controls of other folds" in some
    )
    none = model_card.markdown(facts(operating_point=0.5, operating_point_chosen=[]))
    assert "The operating point is the usual threshold, 0.5: there were too few controls of other folds" in none
    assert "each chosen" not in none


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:
    """`mlflow models serve` as the documentation has it."""
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", "models:/NPM1@champion", "--env-manager", "local"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=project,
        env={**CLEAN, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(lambda: answers(f"http://127.0.0.1:{port}/health"), "mlflow models serve")
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        end(process)


def post(address: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    request = Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        predictions: list[dict[str, Any]] = json.loads(answer.read())["predictions"]
    return predictions


def test_over_http_an_image_scores_as_in_python(server: str, model: Any, patient: list[bytes]) -> None:
    rows = [{"image": base64.b64encode(data).decode(), "patient": "A"} for data in patient]
    found = pd.DataFrame(post(server, {"dataframe_records": rows, "params": {"um": 24.9}}))
    expected = model.predict(frame(patient, patient=["A"] * len(patient)))
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-6)
    assert found["patient_warning"][0].startswith(f"{len(patient)} images; a patient of training had at least ")
    (alone,) = post(server, {"dataframe_records": [{"image": rows[0]["image"]}]})
    assert alone["score"] == pytest.approx(expected["score"][0], abs=1e-6)


@pytest.mark.parametrize(
    ("image", "params", "said"),
    [
        (b"no picture", {}, "image 1: not a TIFF, PNG or JPEG file"),
        (test_decoding.UNUSABLE["16-bit RGB"][0], {}, "image 1: 16 bits a channel instead of 8"),
        (test_decoding.USABLE["RGB, raw"], {"um": 12.0}, "um: images of 12 um; the model knows a field of view of 24.9"),
    ],
)
def test_over_http_bad_input_is_the_clients_mistake_and_shows_no_trace(
    server: str, image: bytes, params: dict[str, float], said: str
) -> None:
    with pytest.raises(HTTPError) as refused:
        post(server, {"dataframe_records": [{"image": base64.b64encode(image).decode()}], "params": params})
    assert refused.value.code == 400
    message = json.loads(refused.value.read())
    assert said in message["message"].splitlines()[-1]
    assert "stack_trace" not in message
