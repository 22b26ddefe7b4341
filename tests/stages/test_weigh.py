"""Decisions and looks reach the training images of a fold, and nobody else's."""

from __future__ import annotations

import json
from pathlib import Path

import bag_cohort
import numpy as np
import pandas as pd
import pytest
import weights
from bag_cohort import ENCODER, FOLDS, SUBTYPE
from conftest import write_params

from pipeline.calling import calls, patients
from pipeline.common import config, files, paths
from pipeline.common.errors import DataError
from pipeline.folds import image_weights, split_table
from pipeline.networks import recipe
from pipeline.registry import mlflow_runs
from pipeline.stages import suspect, train_bags, weigh

SUSPECT = {"encoder": ENCODER, "images_per_patient": 20, "penalty": 0.01, "inner_folds": 3}


@pytest.fixture
def settings(here: Path) -> config.Config:
    """A cohort as vectors, a bag candidate beside two networks of which one is down-weighted, and a manifest."""
    bag_cohort.cohort_files()
    rows = pd.concat([pd.read_parquet(paths.vector_rows(ENCODER, name)) for name in ("control", SUBTYPE)])
    rows.to_parquet(paths.MANIFEST)
    network = {"kind": "cnn", "networks": {"default": {"first_conv": 4, "conv": [], "dense": [4], "learning_rate": 0.001}}}
    bag = {"kind": "bag", "encoder": ENCODER, "learner": bag_cohort.POOLED}
    return bag_cohort.settings(
        here,
        suspect=SUSPECT,
        down_weighted=["weighed"],
        kinds={"cnn": ["plain", "weighed"], "bag": ["bags"]},
        candidates={"plain": network, "weighed": network, "bags": bag},
    )


def decide(*decisions: tuple[str, str]) -> None:
    lines = [f"{path},{path.split('/')[1]},{decision},Dr A,2026-01-31\n" for path, decision in decisions]
    paths.REVIEW.write_text("path,patient,decision,reviewer,date\n" + "".join(lines))


def of(candidate: str, fold: int) -> pd.Series:
    return image_weights.read(paths.weights(SUBTYPE, candidate, fold))


def whole(folder: Path) -> dict[str, str]:
    return files.sha256_below(folder)


def test_where_nobody_says_anything_every_table_is_empty(settings: config.Config) -> None:
    suspect.run(settings, ["plain", "weighed"])
    weigh.run(settings)
    assert all(of(candidate, fold).empty for candidate in ("plain", "bags") for fold in range(FOLDS))
    assert image_weights.left_out(paths.LEFT_OUT) == frozenset()
    assert image_weights.curated(of("plain", 0)) == {}
    assert not (paths.SUSPICION / "plain").exists()


def test_what_is_left_out_is_so_in_the_folds_in_which_the_patient_trains(settings: config.Config) -> None:
    split = pd.read_csv(paths.split_table(SUBTYPE), **split_table.CSV_FORMAT)
    patient = split.loc[split["label"] == 1, "patient"].iloc[0]
    image, other = (f"{SUBTYPE}/{patient}/image_{n}.tif" for n in (0, 1))
    decide((image, "normal cell"), (other, "keep"), ("control/P00/image_0.tif", "artefact"))
    suspect.run(settings, ["weighed"])
    weigh.run(settings)
    assert image_weights.left_out(paths.LEFT_OUT) == {image, "control/P00/image_0.tif"}
    for fold in range(FOLDS):
        roles = split_table.roles(split, fold, FOLDS)
        expected = {path for path in (image, "control/P00/image_0.tif") if roles[path.split("/")[1]] == "train"}
        assert set(of("plain", fold).index) == expected
        assert (of("plain", fold) == 0).all()
        weighed = of("weighed", fold)
        learners = set(roles.index[(roles == "train").to_numpy() & (split["label"] == 1).to_numpy()])
        assert {path.split("/")[1] for path in weighed.index[weighed > 0]} == learners
        assert set(weighed.index[weighed == 0]) == expected
        assert weighed.max() < 1


def test_looks_at_who_does_not_train_are_refused(settings: config.Config) -> None:
    suspect.run(settings, ["weighed"])
    table = paths.suspicion(SUBTYPE, "weighed", 1)
    split = pd.read_csv(paths.split_table(SUBTYPE), **split_table.CSV_FORMAT)
    tested = split.loc[(split["fold"] == 1) & (split["label"] == 1), "patient"].iloc[0]
    kept = table.read_text()
    for stranger in (f"{SUBTYPE}/{tested}/image_0.tif", f"{SUBTYPE}/P99/image_0.tif", "nothing"):
        table.write_text(f"{kept}{stranger},0.5\n")
        with pytest.raises(
            DataError, match=rf"fold-1\.csv: nobody trains on '{stranger}' in fold 1; run `dvc checkout --force {table}`"
        ):
            weigh.run(settings)


def test_looks_are_not_learned_on_who_validates_or_is_tested(settings: config.Config) -> None:
    """With other vectors of the patients of a fold no weight changes where they do not train."""
    suspect.run(settings, ["weighed"])
    before = whole(paths.SUSPICION)
    split = pd.read_csv(paths.split_table(SUBTYPE), **split_table.CSV_FORMAT)
    file, rows = paths.vectors(ENCODER, SUBTYPE), pd.read_parquet(paths.vector_rows(ENCODER, SUBTYPE))
    vectors = np.load(file)
    vectors[rows["patient"].isin(split.loc[split["fold"] == 0, "patient"]).to_numpy()] += 2
    np.save(file, vectors)
    suspect.run(settings, ["weighed"])
    changed = {name for name, digest in whole(paths.SUSPICION).items() if before[name] != digest}
    assert changed == {f"weighed/{SUBTYPE}/fold-1.csv"}, "fold 0 tests on them, fold 2 validates"


def test_bags_learn_without_what_is_left_out_and_test_patients_keep_it(settings: config.Config) -> None:
    suspect.run(settings, ["weighed"])
    weigh.run(settings)
    train_bags.run(settings, [SUBTYPE], ["bags"])
    before = [(paths.fold(SUBTYPE, "bags", k) / train_bags.COEFFICIENTS).read_bytes() for k in range(FOLDS)]
    counts = [pd.read_parquet(paths.fold(SUBTYPE, "bags", k) / "predictions.parquet")["images"] for k in range(FOLDS)]
    split = pd.read_csv(paths.split_table(SUBTYPE), **split_table.CSV_FORMAT)
    patient = split.loc[(split["label"] == 1) & (split["fold"] == 0), "patient"].iloc[0]
    decide(*((f"{SUBTYPE}/{patient}/image_{n}.tif", "normal cell") for n in range(6)))
    weigh.run(settings)
    train_bags.run(settings, [SUBTYPE], ["bags"])
    after = [(paths.fold(SUBTYPE, "bags", k) / train_bags.COEFFICIENTS).read_bytes() for k in range(FOLDS)]
    assert [one == two for one, two in zip(before, after, strict=True)] == [True, False, True]
    for k, count in enumerate(counts):
        assert pd.read_parquet(paths.fold(SUBTYPE, "bags", k) / "predictions.parquet")["images"].equals(count)
    specs = [json.loads((paths.fold(SUBTYPE, "bags", k) / "spec.json").read_text()) for k in range(FOLDS)]
    assert ["curated" in spec for spec in specs] == [False, True, False]
    tags = mlflow_runs.origin(specs[1])
    assert (tags["curated.left_out"], tags["curated.down_weighted"], len(tags["curated.sha256"])) == ("6", "0", 64)
    assert patient not in json.dumps(tags)


def test_a_call_learns_without_what_is_left_out_and_answers_of_all_images(settings: config.Config) -> None:
    weights.all_the_same(SUBTYPE, "bags")
    whole_bags = patients.read(settings, ENCODER)
    assert whole_bags.learned is None
    before = calls.joint(settings, whole_bags)
    row = next(n for n, who in enumerate(whole_bags.table["patient"]) if n >= 15)
    own = [f"{SUBTYPE}/{whole_bags.table['patient'][row]}/image_{n}.tif" for n in range(len(whole_bags.bags[row]))]
    for gone in (own[:4], own):
        paths.LEFT_OUT.write_text("path\n" + "".join(f"{path}\n" for path in gone))
        everybody = patients.read(settings, ENCODER)
        assert [len(bag) for bag in everybody.bags] == [len(bag) for bag in whole_bags.bags]
        assert everybody.learned is not None
        assert len(everybody.learned[row]) == len(own) - len(gone)
        after = calls.joint(settings, everybody)
        fold = everybody.folds[row]
        for pair, coefficients in after.coefficients.items():
            same = np.array_equal(coefficients["weights"], before.coefficients[pair]["weights"])
            assert same == (fold in pair), "of models without the patient nothing changes"


def test_networks_are_shown_training_images_by_their_weight_and_all_of_the_others(settings: config.Config) -> None:
    roles = ["train"] * 3 + ["val"] * 3 + ["test"] * 3
    tables = [
        pd.DataFrame({"patient": "P", "path": [f"{name}/P/image_{n}.tif" for n in range(9)], "role": roles, "label": label})
        for label, name in enumerate(("control", SUBTYPE))
    ]
    table = paths.weights(SUBTYPE, "plain", 0)
    table.parent.mkdir(parents=True)
    lines = [f"{SUBTYPE}/P/image_{n}.tif,{weight}\n" for n, weight in enumerate([0.0, 0.25, 1, 0.0, 1, 1, 0.5])]
    table.write_text("path,weight\n" + "".join(lines))
    weighed = recipe.weighed(SUBTYPE, "plain", 0, tables)
    found = recipe.pools(settings, [np.zeros((9, 4, 4, 3), np.uint8)] * 2, weighed)
    assert [pool.rows.tolist() for pool in found["train"]] == [[0, 1, 2], [1, 2]]
    assert found["train"][0].weights is None
    assert found["train"][1].weights is not None
    assert found["train"][1].weights.tolist() == [0.25, 1]
    for role, rows in (("val", [3, 4, 5]), ("test", [6, 7, 8])):
        assert [pool.rows.tolist() for pool in found[role]] == [rows, rows]
        assert all(pool.weights is None for pool in found[role])
    table.write_text("path,weight\n" + "".join(f"{SUBTYPE}/P/image_{n}.tif,0\n" for n in range(3)))
    with pytest.raises(DataError, match=r"data/review\.csv: leaves no training image of the subtype"):
        recipe.pools(settings, [np.zeros((9, 4, 4, 3), np.uint8)] * 2, recipe.weighed(SUBTYPE, "plain", 0, tables))


def test_a_wrong_decision_stops_it_and_leaves_what_was_there(settings: config.Config) -> None:
    suspect.run(settings, ["weighed"])
    weigh.run(settings)
    before = whole(paths.WEIGHTS)
    decide((f"{SUBTYPE}/P99/image_0.tif", "artefact"))
    with pytest.raises(DataError, match=r"data/review\.csv line 2: there is no image"):
        weigh.run(settings)
    assert whole(paths.WEIGHTS) == before


def test_too_few_who_train_are_one_line(settings: config.Config) -> None:
    split = pd.read_csv(paths.split_table(SUBTYPE), **split_table.CSV_FORMAT)
    split.assign(fold=split["fold"].where(split["label"] == 0, 1)).to_csv(paths.split_table(SUBTYPE), index=False)
    with pytest.raises(DataError, match="suspect: NPM1 fold 0: 0 patients of a class to learn from, 2 are needed"):
        suspect.run(settings, ["weighed"])
    assert not (paths.SUSPICION / "weighed").exists()


def test_down_weighted_names_networks(here: Path) -> None:
    for names in (["bags"], ["published", "published"]):
        with pytest.raises(config.ConfigError, match="down_weighted: must name candidates of kind cnn, each once"):
            config.load(write_params(here / "params.yaml", {"down_weighted": names}))


def test_the_encoder_by_which_looks_are_weighed_must_be_one(here: Path) -> None:
    changes = {"down_weighted": ["published"], "suspect.encoder": "theirs"}
    with pytest.raises(
        config.ConfigError, match=r"suspect\.encoder: there is no encoder theirs; encoders has: efficientnet_lite0"
    ):
        config.load(write_params(here / "params.yaml", changes))
    assert config.load(write_params(here / "params.yaml", {"suspect.encoder": "theirs"})).suspect.encoder == "theirs"
