"""A learner that scores patients alone, from vectors to the registered model: by `predict`, pyfunc and HTTP."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bag_cohort
import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
import registered
import weights
from bag_cohort import ENCODER, FOLDS, SUBTYPE
from mlflow.exceptions import MlflowException
from processes import CLEAN, answers, end, free_port, wait

from pipeline.__main__ import main
from pipeline.bags import scoring
from pipeline.common import config, files, paths
from pipeline.common.errors import ModelError
from pipeline.encoders import kept_network
from pipeline.evaluation.pooling import probabilities
from pipeline.explanation import new_patients
from pipeline.images import decoding, manifest
from pipeline.machine import device
from pipeline.registry import champions, mlflow_server
from pipeline.stages import call, embed, evaluate, predict, promote, register, register_call, train_bags

PX, IMAGES, OF_CLASS = 16, 8, 9
CHANGES = {
    "evaluate.draws": 100,
    "register.floors.bag": {"patient_sensitivity": 0.0, "patient_specificity": 0.0},
    "register.floors.cnn.image_accuracy": 1.0,
    "call.candidates": ["bags"],
    "call.coverage": 0.8,
}


def encoder(folder: Path, seed: int = 1) -> dict[str, Any]:
    """A network with random weights, as `embed` leaves it."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = [
        keras.Input((PX, PX, 3), dtype="uint8"),
        keras.layers.Rescaling(1 / 255, dtype="float32"),
        keras.layers.Conv2D(6, 3, activation="relu", dtype="float32"),
        keras.layers.GlobalAveragePooling2D(dtype="float32"),
    ]
    network = keras.Sequential(layers)
    folder.mkdir(parents=True, exist_ok=True)
    network.build((None, PX, PX, 3))
    weights = files.sha256(kept_network.save(network, folder))
    about = {"kind": "package", "px": PX, "dimension": 6, "digest": "e5" * 32, "weights_file_sha256": weights}
    (folder / "encoder.json").write_text(json.dumps(about))
    return about


def build() -> config.Config:
    """What the stages before `train_bags` leave of drawn cells; then that, `evaluate` and `register`."""
    settings = bag_cohort.settings(Path.cwd(), **CHANGES)
    device.prepare("float32")
    about = encoder(paths.encoder(ENCODER).parent)
    embed = kept_network.load(paths.encoder(ENCODER).parent, about)
    rows, split = [], []
    for label, name in enumerate(("control", SUBTYPE)):
        listed, vectors = [], []
        for number in range(OF_CLASS):
            patient = f"{'CN'[label]}{number:02}"
            cells = registered.cells(name, IMAGES, seed=10 * number + label)
            own = [f"{name}/{patient}/image_{n}.tif" for n in range(IMAGES)]
            for path, data in zip(own, cells, strict=True):
                files.write(paths.RAW / path, data)
                rows.append({**registered._manifest_row(path, data), "sha256": files.sha256(paths.RAW / path)})
            listed += [(patient, path) for path in own]
            vectors.append(embed([decoding.resize(decoding.decode(data), PX) for data in cells]))
            split.append((patient, label, number % FOLDS, IMAGES))
        np.save(paths.vectors(ENCODER, name), np.concatenate(vectors))
        pd.DataFrame(listed, columns=["patient", "path"]).to_parquet(paths.vector_rows(ENCODER, name), index=False)
    paths.SPLITS.mkdir()
    pd.DataFrame(split, columns=["patient", "label", "fold", "images"]).to_csv(paths.split_table(SUBTYPE), index=False)
    weights.all_the_same(SUBTYPE, "bags")
    manifest.build(rows).to_parquet(paths.MANIFEST, index=False)
    source = {"source": "demo", "cohort": "demo", "files": 144, "bytes": 1, "sha256": "0" * 64, "metadata": ""}
    paths.SOURCE.write_text(json.dumps(source))
    train_bags.run(settings, [SUBTYPE], ["bags"])
    evaluate.run(settings, [SUBTYPE], ["bags"])
    register.run(settings, [SUBTYPE], ["bags"])
    call.run(settings, ["bags"])
    register_call.run(settings, ["bags"])
    promote.run("call", "1", "to be asked something")  # it calls drawn cells by random weights no better than chance
    return settings


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as there:
        there.chdir(folder)
        there.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        build()
        for name, (class_name, count) in {"007": ("control", 5), "Ünal": (SUBTYPE, 7)}.items():
            (folder / "incoming" / name).mkdir(parents=True)
            for number, data in enumerate(registered.cells(class_name, count, seed=77)):
                (folder / "incoming" / name / f"image_{number}.tif").write_bytes(data)
    return folder


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    return project


def images(project: Path) -> tuple[list[bytes], list[str]]:
    found = sorted((project / "incoming").rglob("*.tif"))
    return [path.read_bytes() for path in found], [path.parent.name for path in found]


def expected(project: Path) -> dict[str, float]:
    """Logits by the files of `train_bags`, `evaluate` and the encoder, by hand."""
    data, patients = images(project)
    embed = kept_network.load(paths.encoder(ENCODER).parent, json.loads(paths.encoder(ENCODER).read_text()))
    vectors = embed([decoding.resize(decoding.decode(one), PX) for one in data])
    folds = pd.read_csv(paths.report(SUBTYPE, "bags") / "folds.csv").set_index("fold")
    found = {}
    for patient in dict.fromkeys(patients):
        bag = vectors[[name == patient for name in patients]]
        logits = []
        for k in range(FOLDS):
            with np.load(paths.fold(SUBTYPE, "bags", k) / train_bags.COEFFICIENTS) as coefficients:
                logits.append(scoring.logits("pooled", dict(coefficients), [bag])[0] / folds.loc[k, "temperature"])
        found[patient] = float(folds["intercept"].mean() + folds["slope"].mean() * np.mean(logits))
    return found


def test_image_figures_are_absent_and_no_floor_of_theirs_is_asked(inside: Path) -> None:
    found = json.loads((paths.report(SUBTYPE, "bags") / "metrics.json").read_text())
    assert not [key for key in found if key.startswith("image_")]
    assert found["images"] == 2 * OF_CLASS * IMAGES
    assert found["patients"] == 2 * OF_CLASS
    assert set(pd.read_csv(paths.report(SUBTYPE, "bags") / "figures.csv")["level"]) == {"patient"}
    pictures = {path.stem for path in (paths.report(SUBTYPE, "bags") / "plots").glob("*.png")}
    assert pictures == {"confusion", "roc", "pr", "reliability"}
    client = mlflow_server.connect()
    (version,) = client.search_model_versions(f"name = '{SUBTYPE}'")
    run = client.get_run(version.run_id)
    assert not [key for key in run.data.metrics if key.startswith("image_")]
    assert run.data.params["learner"] == "pooled"
    assert "no score, and no figure, of an image" in str(version.description)
    assert client.get_registered_model(SUBTYPE).aliases["champion"] == version.version  # the floor of images is 1.0


def test_predict_writes_a_score_a_patient_and_none_an_image(inside: Path) -> None:
    settings = config.load(inside / "params.yaml")
    predict.run(settings, inside / "incoming", None, inside / "out")
    table = pd.read_csv(inside / "out" / "predictions.csv", dtype={"patient": "str"}).set_index("patient")
    logits = expected(inside)
    np.testing.assert_allclose(table["score"], probabilities([logits[name] for name in table.index]), atol=1e-6)
    assert table["images"].to_dict() == {"007": 5, "Ünal": 7}
    assert table["images_above"].isna().all()
    assert pd.read_csv(inside / "out" / "images.csv")["score"].isna().all()
    page = (inside / "out" / "007.html").read_text(encoding="utf-8")
    assert "none has a score of its own" in page
    assert "most suspicious cells" not in page


def test_predict_says_why_by_all_folds_as_the_served_model_does_without_each_cell_and_with_others(inside: Path) -> None:
    settings = config.load(inside / "params.yaml")
    champion = champions.load(mlflow_server.connect(), SUBTYPE)
    assert champion is not None
    slope = champion.settings["patient_calibration"]["slope"]
    found = sorted((inside / "incoming" / "Ünal").glob("*.tif"))
    cells = {file.name: decoding.resize(decoding.decode(file.read_bytes()), PX) for file in found}
    whole = champion.patient_logit(list(cells.values()), registered.UM)
    falls = {}
    for name in cells:
        others = [pixels for other, pixels in cells.items() if other != name]
        falls[name] = (whole - champion.patient_logit(others, registered.UM)) / slope
    why = new_patients.explain(champion, cells, None, registered.UM, 2, 4)
    assert list(why.shares) == sorted(falls, key=lambda name: -falls[name])
    up = {name: fall for name, fall in falls.items() if fall > 0}
    assert {name: why.shares[name] for name in up} == pytest.approx({n: f / sum(up.values()) for n, f in up.items()}, abs=1e-4)
    assert (why.maps, why.no_maps[:22]) == ({}, "no checks of this mode")

    grey = np.full((PX, PX, 3), 128, np.uint8)
    score = new_patients._score(champion, champion.bags(list(cells.values())), 0, registered.UM)
    before, after = score(np.stack([next(iter(cells.values())), grey])) / len(cells) * slope
    exchanged = champion.patient_logit([grey, *list(cells.values())[1:]], registered.UM)
    assert after - before == pytest.approx(exchanged - whole, abs=1e-5)

    predict.run(settings, inside / "incoming", None, inside / "why", explain=True)
    page = (inside / "why" / "Ünal.html").read_text(encoding="utf-8")
    assert page.count("Most suspicious, with shares") == 1


def called(project: Path) -> pd.DataFrame:
    """Probabilities and sets by the files of `call` and the encoder, by hand."""
    data, patients = images(project)
    embed = kept_network.load(paths.encoder(ENCODER).parent, json.loads(paths.encoder(ENCODER).read_text()))
    vectors = embed([decoding.resize(decoding.decode(one), PX) for one in data])
    rows = []
    for patient in dict.fromkeys(patients):
        bag, logits, as_strange = vectors[[name == patient for name in patients]], [], np.ones(2)
        for k in range(FOLDS):
            spec = json.loads((paths.called("bags") / f"fold-{k}" / "spec.json").read_text())
            with np.load(paths.called("bags") / f"fold-{k}" / "coefficients.npz") as kept:
                own = scoring.statistics(bag, kept["quantiles"]) @ kept["weights"] + kept["intercept"]
                strange = 1 - np.exp(own) / np.exp(own).sum()
                for label in (0, 1):
                    as_strange[label] += (kept["strangeness"][kept["classes"] == label] >= strange[label] - 1e-12).sum()
            logits.append(own)
        scores = np.exp(np.mean(logits, axis=0) / spec["temperature"])
        inside = [name for name, p in zip(spec["classes"], as_strange / (OF_CLASS + 1), strict=True) if p > 0.2 + 1e-9]
        rows.append({"patient": patient, "probability_NPM1": scores[1] / scores.sum(), "set": " ".join(inside)})
    return pd.DataFrame(rows).set_index("patient")


def test_predict_answers_of_all_classes_as_the_call_measured(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict.run(config.load(inside / "params.yaml"), inside / "incoming", None, inside / "called")
    found = pd.read_csv(inside / "called" / "calls.csv", dtype={"patient": "str"}, keep_default_na=False).set_index("patient")
    expected = called(inside)
    assert found["set"].to_dict() == expected["set"].to_dict()
    np.testing.assert_allclose(found["probability_NPM1"], expected["probability_NPM1"].loc[found.index], atol=1e-6)
    np.testing.assert_allclose(found["probability_NPM1"] + found["probability_control"], 1)
    assert found["images"].to_dict() == {"007": 5, "Ünal": 7}
    shown = capsys.readouterr()
    assert "one answer of all classes, call v1; sets at coverage 0.8" in " ".join(shown.out.split())
    few = "2 of 2 patients have fewer images than anybody in training (8), first 007 (5): what is said of them is unsure"
    assert few in " ".join(shown.err.split())
    assert found.loc["007", "patient_warning"].startswith("5 images; a patient of training had at least 8")
    assert "One answer of all classes: likeliest" in (inside / "called" / "007.html").read_text(encoding="utf-8")
    index = (inside / "called" / "index.html").read_text(encoding="utf-8").partition("</table>")[0]
    assert [html.unescape(one) for one in re.findall(r"<td>([^<]+)</td></tr>", index)] == found["answer"].to_list()


def test_register_without_names_fills_another_registry_with_the_call_too(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert main(["register", SUBTYPE]) == 0
    client = mlflow_server.connect()
    assert [model.name for model in client.search_registered_models()] == [SUBTYPE]
    assert main(["register"]) == 0
    assert [model.name for model in client.search_registered_models()] == [SUBTYPE, "call"]


def test_the_call_has_an_experiment_and_a_champion_of_its_own_and_can_be_registered_again(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = mlflow_server.connect()
    (version,) = client.search_model_versions("name = 'call'")
    run = client.get_run(version.run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.name == "call"
    columns = json.loads(experiment.tags["mlflow.sharedViewState.pipeline"])["selectedColumns"]
    assert set(columns) == {f"metrics.`{name}`" for name in ("balanced_accuracy", "log_loss", "coverage", "mean_set_size")} | {
        "tags.`verdict`"
    }
    assert {"balanced_accuracy", "balanced_accuracy_low", "log_loss", "coverage", "mean_set_size"} <= set(run.data.metrics)
    verdicts = [text for tag, text in sorted(version.tags.items()) if tag.startswith("decided.")]
    assert "challenger: its balanced accuracy is not above chance" in verdicts[0]
    assert "promoted by hand: to be asked something" in verdicts[1]
    register_call.run(config.load(inside / "params.yaml"), ["bags"])
    assert len(client.search_model_versions("name = 'call'")) == 1
    assert "call v1 (bags): champion" in capsys.readouterr().out
    changed = bag_cohort.settings(tmp_path, **{**CHANGES, "call.coverage": 0.7})  # another answer, so another call
    client.set_model_version_tag("call", "1", "classes", "control PML_RARA")
    register_call.run(changed, ["bags"])
    assert "call v2 (bags): not comparable: the champion knows other classes: control PML_RARA" in capsys.readouterr().out
    aliases = client.get_registered_model("call").aliases
    assert {name: str(number) for name, number in aliases.items()} == {"champion": "1", "challenger": "2"}
    client.set_model_version_tag("call", "1", "classes", "control NPM1")


@pytest.mark.rehearsal
def test_python_without_this_package_scores_as_predict_does(inside: Path, tmp_path: Path) -> None:
    shutil.copytree(inside / "incoming", tmp_path / "incoming")
    script = (
        "import sys, json, pathlib, mlflow, pandas as pd\n"
        "assert 'pipeline' not in sys.modules\n"
        "model = mlflow.pyfunc.load_model('models:/NPM1@champion')\n"
        "found = sorted(pathlib.Path('incoming').rglob('*.tif'))\n"
        "rows = pd.DataFrame({'image': [p.read_bytes() for p in found], 'patient': [p.parent.name for p in found]})\n"
        "answer = model.predict(rows.iloc[::-1])\n"
        "call = mlflow.pyfunc.load_model('models:/call@champion').predict(rows)\n"
        "assert 'pipeline' not in sys.modules\n"
        "print(json.dumps(call.to_dict('records')))\n"
        "print(json.dumps(answer.to_dict('records')))\n"
    )
    environment = {**CLEAN, "MLFLOW_TRACKING_URI": f"sqlite:///{inside}/mlflow.db"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    logits = expected(inside)
    assert [row["patient"] for row in answer] == ["Ünal", "007"]  # as they first appear
    assert {row["patient"]: row["images"] for row in answer} == {"007": 5, "Ünal": 7}
    for row in answer:
        assert row["patient_logit"] == pytest.approx(logits[row["patient"]], abs=1e-5)
    calls = json.loads(done.stdout.splitlines()[-2])
    assert {row["patient"]: row["set"] for row in calls} == called(inside)["set"].to_dict()


@pytest.mark.parametrize("name", [SUBTYPE, "call"])
def test_of_no_image_nothing_is_said(inside: Path, name: str) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert model.predict(pd.DataFrame({"image": pd.Series([], dtype=object)})).empty


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", f"models:/{SUBTYPE}@champion", "--env-manager", "local"]
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


def test_over_http_a_row_a_patient(inside: Path, server: str) -> None:
    from test_served_model import post

    data, patients = images(inside)
    rows = [{"image": base64.b64encode(one).decode(), "patient": name} for one, name in zip(data, patients, strict=True)]
    logits = expected(inside)
    found = {row["patient"]: row["patient_logit"] for row in post(server, {"dataframe_records": rows})}
    assert found == {name: pytest.approx(logit, abs=1e-5) for name, logit in logits.items()}
    (alone,) = post(server, {"dataframe_records": [{"image": row["image"]} for row in rows if row["patient"] == "007"]})
    assert alone["patient_logit"] == pytest.approx(logits["007"], abs=1e-5)
    assert alone["images"] == 5


def test_a_model_on_vectors_made_elsewhere_says_that_it_takes_no_images(inside: Path, tmp_path: Path) -> None:
    (place,) = [path.parent for path in (inside / "mlartifacts" / SUBTYPE).rglob("MLmodel")]
    copy = tmp_path / "model"
    shutil.copytree(place, copy)
    networks = copy / "artifacts/networks"
    settings = json.loads((networks / "settings.json").read_text())
    for name in (kept_network.NETWORK, kept_network.WEIGHTS):
        (networks / name).unlink()
        del settings["sha256"][name]
    for spec in networks.glob("fold-*/spec.json"):
        contents = json.loads(spec.read_text())
        contents["encoder"] = {"kind": "vectors", "name": "dinobloom", "dimension": 6, "digest": "e5" * 32}
        spec.write_text(json.dumps(contents))
        settings["sha256"][spec.relative_to(networks).as_posix()] = files.sha256(spec)
    (networks / "settings.json").write_text(json.dumps(settings))
    model = mlflow.pyfunc.load_model(str(copy))
    data, patients = images(inside)
    with pytest.raises(MlflowException, match="the vectors of the encoder dinobloom are made elsewhere: this model cannot"):
        model.predict(pd.DataFrame({"image": data, "patient": patients}))


def _renumbered(file: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(file) as stored:
        known = dict(stored)
    np.savez(file, allow_pickle=False, **{**known, name: change(known[name])})


@pytest.mark.parametrize(
    ("name", "array", "change", "said"),
    [
        (SUBTYPE, "weights", lambda values: values * np.nan, r"fold-0/coefficients.npz holds something else"),
        (SUBTYPE, "weights", lambda values: values[:-1], "its files make no model"),
        (SUBTYPE, "intercept", lambda values: values + 1j, "fold-0/coefficients.npz holds something else"),
        ("call", "strangeness", lambda values: values * np.inf, r"fold-0/coefficients.npz holds something else"),
        ("call", "classes", lambda values: values[1:], "its files make no model"),
        ("call", "intercept", lambda values: values[1:], "its files make no model"),
    ],
)
def test_coefficients_that_are_no_numbers_or_do_not_fit_are_refused_where_they_are_loaded(
    inside: Path, tmp_path: Path, name: str, array: str, change: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    """With digests made to match: whoever makes them takes what `pipeline` would have refused."""
    shutil.copytree(next((inside / "mlartifacts" / name).rglob("MLmodel")).parent, tmp_path / "model")
    networks = tmp_path / "model/artifacts/networks"
    _renumbered(networks / "fold-0/coefficients.npz", array, change)
    settings = json.loads((networks / "settings.json").read_text())
    settings["sha256"]["fold-0/coefficients.npz"] = files.sha256(networks / "fold-0/coefficients.npz")
    (networks / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(MlflowException, match=said) as refused:
        mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert "\n" not in str(refused.value)


def test_a_model_on_a_keras_application_prepares_images_as_that_does(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    shutil.copytree(inside / "data", tmp_path / "data")
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNet(include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3))
    network.save_weights("own.weights.h5")
    own = {"kind": "application", "application": "MobileNet", "px": 32, "file": "own.weights.h5"}
    own |= {"weights_sha256": files.sha256(tmp_path / "own.weights.h5")}
    learner = {"kind": "bag", "encoder": "own", "learner": bag_cohort.POOLED}
    settings = bag_cohort.settings(tmp_path, **{**CHANGES, "encoders": {"own": own}, "candidates": {"bags": learner}})
    embed.run(settings, "own")
    for stage in (train_bags, evaluate, register):
        stage.run(settings, [SUBTYPE], ["bags"])

    data, patients = images(inside)
    found = mlflow.pyfunc.load_model(f"models:/{SUBTYPE}/1").predict(pd.DataFrame({"image": data, "patient": patients}))
    shown = np.stack([decoding.resize(decoding.decode(one), 32) for one in data])
    vectors = np.asarray(network.predict_on_batch(shown / np.float32(127.5) - 1))  # Keras' "tf" mode, of the MobileNets
    folds = pd.read_csv(paths.report(SUBTYPE, "bags") / "folds.csv").set_index("fold")
    for answer in found.to_dict("records"):
        bag, logits = vectors[[name == answer["patient"] for name in patients]], []
        for k in range(FOLDS):
            with np.load(paths.fold(SUBTYPE, "bags", k) / train_bags.COEFFICIENTS) as known:
                logits.append(scoring.logits("pooled", dict(known), [bag])[0] / folds.loc[k, "temperature"])
        expected = folds["intercept"].mean() + folds["slope"].mean() * np.mean(logits)
        assert answer["patient_logit"] == pytest.approx(expected, abs=1e-4)


def test_another_encoder_is_refused_before_it_is_registered_and_where_it_is_loaded(inside: Path, tmp_path: Path) -> None:
    other = encoder(tmp_path / "other", seed=2)
    (place,) = [path.parent for path in (inside / "mlartifacts" / SUBTYPE).rglob("MLmodel")]
    copy = tmp_path / "model"
    shutil.copytree(place, copy)
    networks = copy / "artifacts/networks"
    shutil.copy(tmp_path / "other" / kept_network.WEIGHTS, networks)
    settings = json.loads((networks / "settings.json").read_text())
    settings["sha256"][kept_network.WEIGHTS] = other["weights_file_sha256"]
    (networks / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(MlflowException, match="not the encoder that fold-0 learned with"):
        mlflow.pyfunc.load_model(str(copy))
    mine = paths.encoder(ENCODER).parent / kept_network.WEIGHTS
    kept = mine.read_bytes()
    mine.write_bytes((tmp_path / "other" / kept_network.WEIGHTS).read_bytes())
    try:
        with pytest.raises(ModelError, match=r"encoder\.weights\.h5: not the encoder that NPM1 bags learned with"):
            register.run(config.load(inside / "params.yaml"), [SUBTYPE], ["bags"])
    finally:
        mine.write_bytes(kept)


def test_an_encoder_whose_weights_are_no_numbers_is_not_rebuilt(inside: Path, tmp_path: Path) -> None:
    encoder(tmp_path)
    with h5py.File(tmp_path / kept_network.WEIGHTS, "r+") as stored:
        stored["0001"][0] = np.inf
    with pytest.raises(ValueError, match="a weight is no number"):
        kept_network.rebuilt(tmp_path)
