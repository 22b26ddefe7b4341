"""Vectors by the networks of each fold, and a learner of bags on them: nobody is scored by what has seen him or her."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bag_cohort
import mlflow
import numpy as np
import pandas as pd
import pytest
import registered
import weights

from pipeline.bags import scoring
from pipeline.common import config, files, paths
from pipeline.common.errors import DataError, LeakError, ModelError
from pipeline.encoders import kept_network
from pipeline.explanation import tested
from pipeline.folds import split_table
from pipeline.images import manifest
from pipeline.stages import embed_networks, evaluate, register, train_bags

SUBTYPE, FOLDS, PX, UNITS = "NPM1", 3, 16, 6
PATIENTS, IMAGES = 6, 5  # of each class, of each patient
ENCODER = f"{SUBTYPE}-published"
LAYERS = [
    {"kind": "conv", "filters": 4, "kernel_px": 3, "batch_norm_momentum": 0.9, "pool": True},
    {"kind": "dense", "units": UNITS},
    {"kind": "dropout", "rate": 0.5},
]

Params = Callable[[dict[str, Any]], config.Config]


def split() -> pd.DataFrame:
    return pd.read_csv(paths.split_table(SUBTYPE), **split_table.CSV_FORMAT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells, split, and networks of three folds that nobody trained: what they learned makes no difference here."""
    from pipeline.machine import device

    device.prepare("float32")
    from pipeline.networks import model

    folder = tmp_path_factory.mktemp("networks")
    rng, rows = np.random.default_rng(0), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for label, name in enumerate(("control", SUBTYPE)):
            paths.cells(name).parent.mkdir(parents=True, exist_ok=True)
            np.save(paths.cells(name), rng.integers(0, 256, (PATIENTS * IMAGES, PX, PX, 3), dtype=np.uint8))
            people = [f"{name[0]}{n}" for n in range(PATIENTS)]
            table = [(who, f"{name}/{who}/image_{n}.tif") for who in people for n in range(IMAGES)]
            pd.DataFrame(table, columns=["patient", "path"]).to_parquet(paths.cell_rows(name), index=False)
            rows += [(who, label, n % FOLDS, IMAGES) for n, who in enumerate(people)]
        paths.SPLITS.mkdir(parents=True)
        pd.DataFrame(rows, columns=split_table.COLUMNS).to_csv(paths.split_table(SUBTYPE), index=False)
        for fold in range(FOLDS):
            spec = {
                **{"subtype": SUBTYPE, "candidate": "published", "control": "control", "fold": fold, "px": PX, "um": 24.9},
                "normalisation": {"mean": [128.0] * 3, "std": [60.0] * 3},
                **{"precision": "float32", "layers": LAYERS, "training": f"training-{fold}"},
                "inputs": {"split": files.sha256_of_all([paths.split_table(SUBTYPE)])},
            }
            place = paths.fold(SUBTYPE, "published", fold)
            place.mkdir(parents=True)
            (place / "spec.json").write_text(json.dumps(spec))
            model.seed_everything(fold)
            model.build(spec).save_weights(place / "model.weights.h5")
        weights.all_the_same(SUBTYPE, "bags")
        for fold in range(FOLDS):
            embed_networks.run(settings(folder), SUBTYPE, "published", fold)
    return folder


@pytest.fixture
def cohort(finished: Path, here: Path) -> Path:
    """A copy of that for a test that spoils it."""
    shutil.copytree(finished, here, dirs_exist_ok=True)
    return here


def settings(folder: Path) -> config.Config:
    small = {"first_conv": 4, "conv": [], "dense": [UNITS], "learning_rate": 0.001}
    return bag_cohort.settings(
        folder,
        **{
            "pack.px": PX,
            "kinds": {"cnn": ["published"], "bag": ["bags"]},
            "candidates": {
                "published": {"kind": "cnn", "networks": {"default": small}},
                "bags": {"kind": "bag", "encoder": "published", "learner": {**bag_cohort.POOLED, "inner_folds": 2}},
            },
            "embed_networks": ["published"],
            "evaluate.draws": 100,
        },
    )


def test_a_folds_vectors_are_of_patients_on_whom_its_network_did_not_train_and_the_others_lie_apart(cohort: Path) -> None:
    for fold in range(FOLDS):
        roles = split_table.roles(split(), fold, FOLDS)
        for apart, wanted in (("", {"val", "test"}), (f"/{paths.TRAINED_ON}", {"train"})):
            place, there = f"{paths.of_network(SUBTYPE, 'published', fold)}{apart}", set()
            for name in ("control", SUBTYPE):
                rows = pd.read_parquet(paths.vector_rows(place, name))
                assert np.load(paths.vectors(place, name)).shape == (len(rows), UNITS)
                there |= set(rows["patient"])
            assert there == set(roles[roles.isin(wanted)].index)


def test_a_vector_is_what_the_last_unit_of_the_network_weighs(cohort: Path) -> None:
    from pipeline.networks import model

    place = paths.fold(SUBTYPE, "published", 1)
    network = model.build(json.loads((place / "spec.json").read_text()))
    network.load_weights(place / "model.weights.h5")
    kernel, bias = network.layers[-1].get_weights()
    cells, packed = np.load(paths.cells(SUBTYPE)), pd.read_parquet(paths.cell_rows(SUBTYPE))
    encoder = paths.of_network(SUBTYPE, "published", 1)
    rows = pd.read_parquet(paths.vector_rows(encoder, SUBTYPE))
    shown = cells[pd.Index(packed["path"]).get_indexer(rows["path"])]
    logits = np.load(paths.vectors(encoder, SUBTYPE)) @ kernel[:, 0] + bias[0]
    assert logits == pytest.approx(model.logits(network, shown), abs=1e-4)


def test_nobody_is_scored_by_vectors_or_learners_that_have_seen_the_patient_and_the_same_bytes_come_again(cohort: Path) -> None:
    """Whatever the training patients' vectors of other folds and the scored ones' are: a fold's model stays the same."""
    chosen = settings(cohort)
    train_bags.run(chosen, [SUBTYPE], ["bags"])
    before = [(paths.fold(SUBTYPE, "bags", k) / train_bags.COEFFICIENTS).read_bytes() for k in range(FOLDS)]
    tested: list[str] = []
    for fold in range(FOLDS):
        place = paths.fold(SUBTYPE, "bags", fold)
        table = pd.read_parquet(place / "predictions.parquet")
        roles = split_table.roles(split(), fold, FOLDS)
        assert dict(zip(table["patient"], table["split"], strict=True)) == roles[roles != "train"].to_dict()
        tested += table.loc[table["split"] == "test", "patient"].tolist()
        encoder = json.loads((place / "spec.json").read_text())["encoder"]
        assert (encoder["fold"], encoder["training"]) == (fold, f"training-{fold}"), "by the network of the fold itself"
        for name in ("control", SUBTYPE):  # what is scored says nothing to what is learned
            file = paths.vectors(paths.of_network(SUBTYPE, "published", fold), name)
            np.save(file, np.load(file) + 3)
    assert sorted(tested) == sorted(split()["patient"])
    train_bags.run(chosen, [SUBTYPE], ["bags"])
    assert [(paths.fold(SUBTYPE, "bags", k) / train_bags.COEFFICIENTS).read_bytes() for k in range(FOLDS)] == before


def test_a_registered_model_takes_the_network_of_each_fold_along_and_scores_by_it(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.networks import model

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{cohort}/mlflow.db")
    cells = {name: np.load(paths.cells(name)) for name in ("control", SUBTYPE)}
    rows = [
        registered._manifest_row(path, registered.tiff(cell))
        for name in cells
        for path, cell in zip(pd.read_parquet(paths.cell_rows(name))["path"], cells[name], strict=True)
    ]
    manifest.build(rows).to_parquet(paths.MANIFEST, index=False)
    source = {"source": "demo", "cohort": "demo", "files": 60, "bytes": 1, "sha256": "0" * 64, "metadata": ""}
    paths.SOURCE.write_text(json.dumps(source))
    for stage in (train_bags, evaluate, register):
        stage.run(settings(cohort), [SUBTYPE], ["bags"])

    asked = [cells[name][:IMAGES] for name in cells]
    frame = pd.DataFrame({"image": list(np.concatenate(asked)), "patient": np.repeat(["x", "y"], IMAGES)})
    answers = mlflow.pyfunc.load_model(f"models:/{SUBTYPE}/1").predict(frame)
    folds, logits = pd.read_csv(paths.report(SUBTYPE, "bags") / "folds.csv").set_index("fold"), []
    for fold in range(FOLDS):
        place = paths.fold(SUBTYPE, "published", fold)
        network = model.build(json.loads((place / "spec.json").read_text()))
        network.load_weights(place / "model.weights.h5")
        bags = [np.asarray(type(network)(network.inputs, network.layers[-1].input).predict_on_batch(own)) for own in asked]
        with np.load(paths.fold(SUBTYPE, "bags", fold) / train_bags.COEFFICIENTS) as known:
            logits.append(scoring.logits("pooled", dict(known), bags) / folds.loc[fold, "temperature"])
    expected = folds["intercept"].mean() + folds["slope"].mean() * np.mean(logits, axis=0)
    assert answers["patient_logit"].tolist() == pytest.approx(expected.tolist(), abs=1e-5)

    one, other = (paths.encoder(paths.of_network(SUBTYPE, "published", k)).parent / kept_network.WEIGHTS for k in (0, 1))
    shutil.copy(other, one)
    with pytest.raises(ModelError, match=r"fold-0/encoder\.weights\.h5: not the encoder that NPM1 bags learned with"):
        register.run(settings(cohort), [SUBTYPE], ["bags"])


def test_an_explanation_asks_the_folds_own_network_and_learner_and_leaves_both_as_they_were(cohort: Path) -> None:
    """The worth of an image in its own place is the patient's logit, and with learner or layers made random it is another."""
    from pipeline.explanation import scorers

    chosen = settings(cohort)
    train_bags.run(chosen, [SUBTYPE], ["bags"])
    for one in tested.read(chosen, SUBTYPE, "bags"):
        place = paths.of_network(SUBTYPE, "published", one.fold)
        scorer = scorers.bags(paths.fold(SUBTYPE, "bags", one.fold), paths.encoder(place).parent)
        name = SUBTYPE if one.label else "control"
        row = pd.read_parquet(paths.cell_rows(name))["path"].tolist().index(one.images[2])
        score, image = scorer.score(one.bag, 2), np.load(paths.cells(name))[row][None]
        assert score(image) == pytest.approx(IMAGES * one.logit, abs=1e-4)
        random = {layer: float(score(image)[0]) for layer in scorer.randomised(np.random.default_rng(0))}
        assert list(random) == ["learner", "layer 3 of 3", "layer 2 of 3", "layer 1 of 3"]
        assert min(abs(value - IMAGES * one.logit) for value in random.values()) > 1e-3
        assert score(image) == pytest.approx(IMAGES * one.logit, abs=1e-4)


def test_a_network_of_another_split_makes_no_vectors(cohort: Path) -> None:
    dealt = split()
    dealt.assign(fold=(dealt["fold"] + 1) % FOLDS).to_csv(paths.split_table(SUBTYPE), index=False)
    with pytest.raises(LeakError, match=r"models/NPM1/published/fold-0: trained by another split than data/splits/NPM1\.csv"):
        embed_networks.run(settings(cohort), SUBTYPE, "published", 0)
    with pytest.raises(LeakError, match=r"control\.npy: the network was trained on patient c\d, who would be scored by it"):
        train_bags.run(settings(cohort), [SUBTYPE], ["bags"])
    assert not paths.fold(SUBTYPE, "bags", 0).exists()


@pytest.mark.parametrize("name", ["model.weights.h5", "spec.json"])
def test_files_that_make_no_network_are_one_line(cohort: Path, name: str) -> None:
    file = paths.fold(SUBTYPE, "published", 0) / name
    if name == "spec.json":
        file.write_text(json.dumps({**json.loads(file.read_text()), "layers": [{"kind": "dense", "units": 5}]}))
    else:
        file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(
        ModelError, match=r"models/NPM1/published/fold-0: spec and weights do not make a network \(.+\); `dvc repro` trains it"
    ):
        embed_networks.run(settings(cohort), SUBTYPE, "published", 0)


def test_vectors_of_two_networks_are_not_mixed(cohort: Path) -> None:
    one, other = (paths.encoder(paths.of_network(SUBTYPE, "published", k)).parent / paths.TRAINED_ON for k in (0, 1))
    shutil.copy(other / "encoder.json", one / "encoder.json")
    with pytest.raises(DataError, match=r"fold-0/encoder\.json and .*fold-0/trained_on/encoder\.json are of two networks"):
        train_bags.run(settings(cohort), [SUBTYPE], ["bags"])
