"""The audit of cohorts in which something is planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from pipeline import audit, baselines, config, groups, ingest, manifest, paths, scoring, splits
from pipeline.errors import DataError, ModelError

FOLDS = 3
PEOPLE = 12  # of each class


@pytest.fixture
def settings(here: Path) -> config.Config:
    values = config.load(ROOT / "params.yaml").model_dump(by_alias=True)
    values |= {"subtypes": ["NPM1"], "split": {"n_folds": FOLDS}}
    values["train"]["folds"] = list(range(FOLDS))
    values["audit"] |= {"permutations": 40, "fewest_patients": 3}
    return config.Config.model_validate(values)


def write(settings: config.Config, *, colour: float = 0.0, old: float = 0.0, skill: float = 6.0) -> None:
    """What the other stages leave of a cohort whose subtype is `colour` redder and `old` years older."""
    rng = np.random.default_rng(3)
    images, people, truth = [], [], []
    for label, name in enumerate(settings.classes):
        for number in range(PEOPLE):
            patient = f"{name[0]}{number:02}"
            hue = rng.normal(150 + 40 * colour * label, 5)
            people.append((patient, name, "fm"[number % 2], str(int(40 + old * label + rng.integers(0, 20))), number % FOLDS))
            for n in range(6):
                path = f"{name}/{patient}/image_{n}.tif"
                row = dict.fromkeys(baselines.COLOURS, 10.0) | {"mean_r": rng.normal(hue, 2)}
                text = {"path": path, "class": name, "patient": patient, "pixels_sha256": path}
                images.append({**text, "look_alike": "", "error": "", **row})
                truth.append((path, "blast", bool(label and n % 2)))
    paths.SPLITS.mkdir(parents=True)
    pd.DataFrame(images).to_parquet(paths.MANIFEST, index=False)
    table = pd.DataFrame(people, columns=["patient", "class", "sex", "age", "fold"])
    listed = table[["patient", "class", "sex", "age"]].assign(blast_share="", promyelocyte_share="", leucocytes_per_ul="")
    listed.to_csv(paths.PATIENTS, index=False)
    pd.DataFrame(truth, columns=ingest.TRUTH_COLUMNS).to_parquet(paths.TRUTH, index=False)
    split = table.assign(label=(table["class"] != settings.control).astype(int), images=6)[splits.COLUMNS]
    split.to_csv(paths.split_table("NPM1"), index=False)
    shown = pd.DataFrame(images)[["path", "patient"]].merge(split, on="patient")
    shown = shown.assign(logit=rng.normal(-2, 0.5, len(shown)) + skill * pd.DataFrame(truth)[2].to_numpy())
    for k in range(FOLDS):
        roles = splits.roles(split, k, FOLDS).rename("split").reset_index()
        scored = shown.merge(roles, on="patient").query("split != 'train'")
        scored = scored.assign(score=scoring.probabilities(scored["logit"]))
        paths.fold("NPM1", k).mkdir(parents=True)
        scored.drop(columns=["fold", "images"]).to_parquet(paths.fold("NPM1", k) / "predictions.parquet", index=False)
    auroc = {"patient_auroc": {"value": 0.97, "low": 0.9, "high": 0.99}}
    paths.report("NPM1").mkdir(parents=True)
    (paths.report("NPM1") / "metrics.json").write_text(json.dumps(auroc))


def run(settings: config.Config) -> dict[str, dict[str, Any]]:
    audit.run(settings, ["NPM1"])
    found = json.loads(paths.audit("NPM1").read_text())
    assert found["red"] == sum(check["red"] for check in found["checks"])
    return {check["name"]: check for check in found["checks"]}


def test_nothing_planted_is_nothing_red(settings: config.Config) -> None:
    write(settings)
    found = run(settings)
    assert [name for name, check in found.items() if check["red"]] == []
    assert found["by_blast_share"]["value"] is None
    assert found["by_sex"]["value"]["groups"][0]["control"] == {"patients": 6, "right": 6}
    assert found["cell_truth"]["value"]["leukaemic_called"]["images"] == 36
    assert found["cell_truth"]["value"]["image_auroc_within_patient"] > 0.9
    before = paths.audit("NPM1").read_bytes()
    run(settings)
    assert paths.audit("NPM1").read_bytes() == before


def test_a_colour_that_tells_the_classes_apart_is_red(settings: config.Config) -> None:
    write(settings, colour=1.0)
    found = run(settings)
    assert [name for name, check in found.items() if check["red"]] == ["colour_only"]
    value = found["colour_only"]["value"]
    assert value["patient_auroc"] > 0.95
    assert value["patient_auroc"] > value["permuted"]["high"]
    assert "stained" in found["colour_only"]["advice"]


def test_an_age_that_tells_them_apart_is_red_and_an_unsure_network_is_too(settings: config.Config) -> None:
    write(settings, old=30)
    assert run(settings)["metadata_only"]["red"]
    auroc = {"patient_auroc": {"value": 0.97, "low": 0.3, "high": 0.99}}
    (paths.report("NPM1") / "metrics.json").write_text(json.dumps(auroc))
    assert run(settings)["colour_only"]["red"]


def test_a_network_that_knows_the_patient_and_not_the_cell_is_red(settings: config.Config) -> None:
    write(settings, skill=0.0)
    assert run(settings)["cell_truth"]["red"]


@pytest.mark.parametrize(("column", "check"), [("pixels_sha256", "same_pictures"), ("look_alike", "similar_pictures")])
def test_a_picture_in_two_folds_is_named(settings: config.Config, column: str, check: str) -> None:
    write(settings)
    frame = pd.read_parquet(paths.MANIFEST)
    frame.loc[frame["path"].isin(["control/c00/image_1.tif", "NPM1/N01/image_2.tif"]), column] = "twin"
    frame.to_parquet(paths.MANIFEST, index=False)
    found = run(settings)[check]
    assert found["red"]
    assert found["value"] == {"count": 1, "examples": ["control/c00/image_1.tif and NPM1/N01/image_2.tif"]}


def test_a_patient_scored_in_another_role_is_named(settings: config.Config) -> None:
    write(settings)
    split = pd.read_csv(paths.split_table("NPM1"))
    split.loc[split["patient"] == "N03", "fold"] = 1
    split.to_csv(paths.split_table("NPM1"), index=False)
    found = run(settings)["patients_apart"]
    assert found["red"]
    assert any(text.startswith("N03: ") for text in found["value"]["examples"])


def test_what_is_missing_or_old_is_one_line(settings: config.Config) -> None:
    write(settings)
    metrics = paths.report("NPM1") / "metrics.json"
    metrics.write_text('{"patient_auroc": 0.9}')
    with pytest.raises(ModelError, match=r"metrics\.json: holds no patient_auroc with bounds; delete it"):
        audit.run(settings, ["NPM1"])
    metrics.unlink()
    with pytest.raises(DataError, match=r"metrics\.json: not there"):
        audit.run(settings, ["NPM1"])
    listed = pd.read_csv(paths.PATIENTS)
    listed[listed["patient"] != "N05"].to_csv(paths.PATIENTS, index=False)
    with pytest.raises(DataError, match=r"patients\.csv: does not have patient N05"):
        audit.run(settings, ["NPM1"])


def test_groups_by_hand() -> None:
    table = pd.DataFrame({"fold": 0, "label": [0, 0, 0, 1, 1, 1], "logit": [-1.0, -2, 1, 2, 3, -3]})
    table["called"] = table["logit"] > 0
    names, order = pd.Series(["b", "b", "a", "b", "b", "a"]), pd.Series([2, 2, 1, 2, 2, 1])
    first, second = groups.results(table, names, order, fewest=2)
    assert (first["group"], first["note"]) == ("a", "too few to say: 1 control, 1 subtype")
    assert first["sensitivity"] is None
    assert second["subtype"] == {"patients": 2, "right": 2}
    assert (second["sensitivity"], second["specificity"], second["patient_auroc"]) == (1, 1, 1)
    assert groups.difference([first, second], fewest=2) is None


def test_thirds_by_hand() -> None:
    values = pd.Series([1.0, 2, 3, 4, 5, 6, np.nan])
    assert groups.thirds(values).tolist() == ["1 to 2"] * 2 + ["3 to 4"] * 2 + ["5 to 6"] * 2 + [groups.UNKNOWN]
    assert groups.thirds(pd.Series([7.0, 7, 7])).tolist() == ["7"] * 3


def test_the_manifest_has_what_the_colour_baseline_takes() -> None:
    assert set(baselines.COLOURS) == {f"{what}_{channel}" for what in ("mean", "std") for channel in "rgb"}
    assert set(baselines.COLOURS) <= set(manifest.NUMBERS)
