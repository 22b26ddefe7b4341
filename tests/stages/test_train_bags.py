"""Stage `train_bags` and the stages behind it, of a learner that scores patients alone."""

from __future__ import annotations

import json
from pathlib import Path

import bag_cohort
import numpy as np
import pandas as pd
import pytest
from bag_cohort import ENCODER, FOLDS, SUBTYPE

from pipeline.__main__ import main
from pipeline.bags import patients
from pipeline.common import files, paths
from pipeline.common.errors import DataError
from pipeline.folds import split_table
from pipeline.stages import audit, candidates, evaluate, train_bags


@pytest.mark.parametrize("learner", [bag_cohort.POOLED, bag_cohort.INSTANCES], ids=lambda learner: learner["name"])
def test_every_patient_is_scored_by_models_that_had_not_seen_him_and_the_same_bytes_come_again(
    here: Path, learner: dict[str, object]
) -> None:
    settings = bag_cohort.settings(here, learner)
    bag_cohort.cohort_files()
    train_bags.run(settings, [SUBTYPE], ["bags"])
    folder = paths.MODELS / SUBTYPE / "bags"
    first = files.sha256_below(folder)
    train_bags.run(settings, [SUBTYPE], ["bags"])
    assert files.sha256_below(folder) == first
    split = pd.read_csv(paths.split_table(SUBTYPE))
    tested = []
    for k in range(FOLDS):
        table = pd.read_parquet(paths.fold(SUBTYPE, "bags", k) / "predictions.parquet")
        roles = split_table.roles(split, k, FOLDS)
        assert dict(zip(table["patient"], table["split"], strict=True)) == roles[roles != "train"].to_dict()
        tested += table.loc[table["split"] == "test", "patient"].tolist()
    assert sorted(tested) == sorted(split["patient"])


def test_a_test_patients_vectors_change_nobody_elses_model(here: Path) -> None:
    """Of a patient of fold 0 neither the model of fold 0 nor that which validates on fold 0 has learned."""
    settings = bag_cohort.settings(here)
    bag_cohort.cohort_files()
    train_bags.run(settings, [SUBTYPE], ["bags"])

    def models() -> list[bytes]:
        return [(paths.fold(SUBTYPE, "bags", k) / train_bags.COEFFICIENTS).read_bytes() for k in range(FOLDS)]

    before = models()
    file = paths.vectors(ENCODER, "control")
    vectors, rows = np.load(file), pd.read_parquet(paths.vector_rows(ENCODER, "control"))
    split = pd.read_csv(paths.split_table(SUBTYPE))
    theirs = split.loc[(split["fold"] == 0) & (split["label"] == 0), "patient"].iloc[0]
    vectors[(rows["patient"] == theirs).to_numpy()] += 3
    np.save(file, vectors)
    train_bags.run(settings, [SUBTYPE], ["bags"])
    assert [old == new for old, new in zip(before, models(), strict=True)] == [True, False, True]  # fold 2 validates on 0


def test_evaluate_has_figures_of_patients_alone(here: Path) -> None:
    settings = bag_cohort.settings(here, **{"evaluate.draws": 100})
    bag_cohort.cohort_files()
    train_bags.run(settings, [SUBTYPE], ["bags"])
    evaluate.run(settings, [SUBTYPE], ["bags"])
    folder = paths.report(SUBTYPE, "bags")
    found = json.loads((folder / "metrics.json").read_text())
    assert found["patient_auroc"]["value"] > 0.9
    assert not [name for name in found if name.startswith("image_")]
    split = pd.read_csv(paths.split_table(SUBTYPE))
    assert (found["patients"], found["images"]) == (len(split), split["images"].sum())
    patients = pd.read_csv(folder / "patients.csv").set_index("patient")
    assert patients["images"].to_dict() == split.set_index("patient")["images"].to_dict()
    folds = pd.read_csv(folder / "folds.csv")
    assert "image_auroc" not in folds
    assert set(folds["temperature"]) == {1.0}  # that is of images; patients are calibrated by those of other folds
    assert [len(pd.read_csv(folder / f"{name}.csv")) for name in ("by_class", "poolings")] == [0, 0]
    assert not (folder / "plots" / "loss.png").exists()


def test_the_audit_says_that_no_image_has_a_score(here: Path) -> None:
    settings = bag_cohort.settings(here, **{"evaluate.draws": 100, "audit.permutations": 20})
    bag_cohort.cohort_files()
    train_bags.run(settings, [SUBTYPE], ["bags"])
    evaluate.run(settings, [SUBTYPE], ["bags"])
    rng = np.random.default_rng(0)
    listed = pd.concat([pd.read_parquet(paths.vector_rows(ENCODER, name)) for name in ("control", SUBTYPE)])
    listed["class"] = listed["path"].str.partition("/")[0]
    unlike = {"pixels_sha256": listed["path"], "look_alike": "", "error": ""}
    numbers = {name: rng.normal(100, 5, len(listed)) for name in audit._MANIFEST if name not in {*listed, *unlike}}
    listed.assign(**unlike, **numbers).to_parquet(paths.MANIFEST, index=False)
    people = listed[["patient", "class"]].drop_duplicates().assign(sex="f", age="50", blast_share="", batch="")
    people.assign(promyelocyte_share="", leucocytes_per_ul="").to_csv(paths.PATIENTS, index=False)
    pd.DataFrame({"path": listed["path"], "diseased": listed["class"] == SUBTYPE}).to_parquet(paths.TRUTH, index=False)
    audit.run(settings, [SUBTYPE], ["bags"])
    checks = {check["name"]: check for check in json.loads(paths.audit(SUBTYPE, "bags").read_text())["checks"]}
    assert not checks["cell_truth"]["answered"]
    assert "this learner scores patients alone" in checks["cell_truth"]["found"]
    assert checks["patients_apart"]["answered"]
    assert not checks["patients_apart"]["red"]


def test_what_does_not_fit_is_one_line(here: Path) -> None:
    settings = bag_cohort.settings(here)
    with pytest.raises(DataError, match=r"data/splits/NPM1\.csv: not there"):
        train_bags.run(settings, [SUBTYPE], ["bags"])
    bag_cohort.cohort_files()
    file = paths.vectors(ENCODER, SUBTYPE)
    sound = np.load(file)
    np.save(file, sound[:-1])
    with pytest.raises(DataError, match=r"data/vectors/drawn/NPM1\.npy does not fit its table"):
        train_bags.run(settings, [SUBTYPE], ["bags"])
    for spoiled in (file, paths.vector_rows(ENCODER, SUBTYPE), paths.encoder(ENCODER)):
        content = spoiled.read_bytes()
        spoiled.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=rf"{spoiled}: damaged \(.+\); run `dvc checkout --force {spoiled}`"):
            train_bags.run(settings, [SUBTYPE], ["bags"])
        spoiled.write_bytes(content)
    sound_table = pd.read_parquet(paths.vector_rows(ENCODER, SUBTYPE))
    sound_table[["path"]].to_parquet(paths.vector_rows(ENCODER, SUBTYPE))
    with pytest.raises(DataError, match=r"NPM1\.parquet: damaged"):
        train_bags.run(settings, [SUBTYPE], ["bags"])
    sound_table.iloc[:-1].to_parquet(paths.vector_rows(ENCODER, SUBTYPE))
    np.save(file, sound[:-1])
    with pytest.raises(
        DataError, match=r"patient P26: \d+ vectors in data/vectors/drawn, and \d+ images in data/splits/NPM1\.csv"
    ):
        train_bags.run(settings, [SUBTYPE], ["bags"])
    sound_table.to_parquet(paths.vector_rows(ENCODER, SUBTYPE))
    sound[3, 2] = np.nan
    np.save(file, sound)
    with pytest.raises(DataError, match=r"patient P15 has a vector that is no number"):
        train_bags.run(settings, [SUBTYPE], ["bags"])
    split = pd.read_csv(paths.split_table(SUBTYPE))
    split.iloc[1:].to_csv(paths.split_table(SUBTYPE), index=False)
    with pytest.raises(DataError, match=r"patient P00 of control is in only one of"):
        train_bags.run(settings, [SUBTYPE], ["bags"])
    for faulty in ("", "patient,label\n"):
        paths.split_table(SUBTYPE).write_text(faulty)
        with pytest.raises(DataError, match=r"NPM1\.csv: damaged \(.+\); run `dvc checkout --force data/splits/NPM1\.csv`"):
            train_bags.run(settings, [SUBTYPE], ["bags"])
    assert not paths.MODELS.exists()


def test_bags_stay_on_disk_and_are_those_of_the_patient_in_whatever_order_rows_are(here: Path) -> None:
    settings = bag_cohort.settings(here)
    bag_cohort.cohort_files()
    before = patients.read(settings, SUBTYPE, ENCODER, fold=0)
    assert all(isinstance(bag, np.memmap) and not bag.flags.owndata for bag in before.bags)
    expected = [dict(zip(own, bag.tolist(), strict=True)) for own, bag in zip(before.images, before.bags, strict=True)]
    order = np.random.default_rng(0).permutation(len(rows := pd.read_parquet(paths.vector_rows(ENCODER, SUBTYPE))))
    vectors = np.load(paths.vectors(ENCODER, SUBTYPE))[order]
    paths.vectors(ENCODER, SUBTYPE).unlink()  # what is mapped stays as it is
    np.save(paths.vectors(ENCODER, SUBTYPE), vectors)
    rows.iloc[order].to_parquet(paths.vector_rows(ENCODER, SUBTYPE))
    after = patients.read(settings, SUBTYPE, ENCODER, fold=0)
    assert [dict(zip(own, bag.tolist(), strict=True)) for own, bag in zip(after.images, after.bags, strict=True)] == expected


def test_a_candidates_file_holds_all_that_its_training_follows_from(here: Path) -> None:
    candidates.run(bag_cohort.settings(here))
    found = json.loads(paths.candidate(SUBTYPE, "bags").read_text())
    assert found == {"kind": "bag", "encoder": ENCODER, "learner": bag_cohort.POOLED}


def test_results_of_candidates_that_are_gone_are_removed_and_those_of_the_others_stay(here: Path) -> None:
    def of(name: str) -> list[Path]:
        of_audit = [paths.audit(SUBTYPE, name), paths.audit_networks(SUBTYPE, name), paths.other_classes(SUBTYPE, name)]
        return [*of_audit, paths.explained(SUBTYPE, name) / "index.html", paths.suspicion(SUBTYPE, name, 0)]

    of_all = [paths.verdicts(SUBTYPE), paths.verdicts("call"), paths.SUSPICION / "README"]
    for file in (*of_all, *of("bags"), *of("gone")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    candidates.run(bag_cohort.settings(here))
    assert all(file.exists() for file in (*of_all, *of("bags")))
    assert not any(file.exists() for file in of("gone"))


def test_vectors_of_an_encoder_that_is_gone_are_removed_and_what_is_kept_of_it_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag_cohort.cohort_files()
    left = [paths.VECTORS / name for name in ("gone", f"{SUBTYPE}-published", ".gone.unfinished")]
    for folder in (*left, paths.KEPT_VECTORS / "gone", paths.KEPT_VECTORS / ENCODER):
        folder.mkdir(parents=True)
    candidates.run(bag_cohort.settings(here))
    said = " ".join(capsys.readouterr().out.split())
    assert not [folder for folder in left if folder.exists()]
    assert all(f"{folder} removed: params.yaml names no such thing" in said for folder in left)
    assert ".vectors keeps vectors of gone, no encoder of params.yaml; delete what will not be needed again" in said
    assert (paths.KEPT_VECTORS / "gone").is_dir()
    assert paths.encoder(ENCODER).is_file()


def test_too_few_training_patients_are_one_line(here: Path) -> None:
    bag_cohort.cohort_files((6, 3))
    with pytest.raises(DataError, match=r"NPM1 fold 0: 1 training patients of NPM1; 2 are needed, to hold one out"):
        train_bags.run(bag_cohort.settings(here), [SUBTYPE], ["bags"])
    assert not paths.MODELS.exists()


def test_a_stage_of_one_kind_is_not_for_another(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag_cohort.settings(here)
    assert main(["train", SUBTYPE, "--candidate", "bags"]) == 2
    assert "there is no candidate of kind cnn" in " ".join(capsys.readouterr().err.split())
