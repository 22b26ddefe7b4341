"""The audit of tiny cohorts in which what could explain a result was planted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from pipeline.auditing import groups
from pipeline.auditing.checks import BASELINES, baseline, by_group
from pipeline.auditing.permutation import Null
from pipeline.cohort.patients import COLUMNS
from pipeline.common import config, paths
from pipeline.common.errors import DataError, ModelError
from pipeline.evaluation import pooling, score_table, seen_by_search
from pipeline.evaluation.figures import Interval
from pipeline.images import manifest
from pipeline.stages import audit, evaluate

PATIENTS, IMAGES, FOLDS = 20, 6, 5  # of each class; of each patient

SURE = {"value": 0.95, "low": 0.9, "high": 1.0}

Params = Callable[[dict[str, Any]], config.Config]


@pytest.fixture
def settings(params: Params, here: Path) -> config.Config:
    changes = {"folds": [0, 1, 2, 3, 4], "audit.permutations": 39, "seed": 1}
    return params(changes)


INTERVAL = {"value": 0.9, "low": 0.8, "high": 0.95}


def predictions() -> pd.DataFrame:
    """What the networks of all folds scored."""
    folds = [pd.read_parquet(paths.fold("NPM1", "published", k) / "predictions.parquet").assign(fold=k) for k in range(FOLDS)]
    return pd.concat(folds, ignore_index=True)


def put_scored(table: pd.DataFrame, seen: Sequence[str] = ()) -> None:
    """As `evaluate` leaves it."""
    path = paths.scored("NPM1", "published")
    path.parent.mkdir(parents=True, exist_ok=True)
    calibrated = score_table.calibrated(table, 1.0).assign(intercept=0.0, slope=1.0)
    score_table.table(calibrated, seen, 0.5).to_parquet(path, index=False)


def cohort(
    redder: float = 0, network: float = 3, auroc: object = SURE, known: bool = True, control: str = "control"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Files of a cohort whose subtype is redder and scored higher by so many standard deviations; split and manifest."""
    rng = np.random.default_rng(3)
    people = [(f"{name[0]}{n:02}", name, n) for name in (control, "NPM1") for n in range(PATIENTS)]
    split, images, listed, of_folds = [], [], [], {k: [] for k in range(FOLDS)}
    for patient, name, n in people:
        label = int(name == "NPM1")
        split.append((patient, label, n % FOLDS, IMAGES))
        listed.append(
            {"patient": patient, "class": name, "sex": "fm"[n % 2] if known else "", "age": str(30 + n) if known else ""}
        )
        own = rng.normal(label * redder)
        for i in range(IMAGES):
            path = f"{name}/{patient}/image_{i}.tif"
            colours = dict.fromkeys(manifest.NUMBERS, 100.0) | {"mean_r": 100 + own + rng.normal(0, 0.2)}
            images.append(
                {"path": path, "class": name, "patient": patient, "pixels_sha256": path, "look_alike": "", "error": ""}
                | colours
            )
            logit = network * (label - 0.5) + rng.normal()
            for k, of_fold in of_folds.items():
                where = {k: "test", (k + 1) % FOLDS: "val"}.get(n % FOLDS)
                if where:
                    of_fold.append((patient, path, where, label, logit))
    paths.SPLITS.mkdir(parents=True)
    tables = pd.DataFrame(split, columns=["patient", "label", "fold", "images"]), pd.DataFrame(images)
    put(*tables)
    pd.DataFrame(listed).reindex(columns=COLUMNS, fill_value="").to_csv(paths.PATIENTS, index=False)
    pd.DataFrame(columns=["path", "cell_type", "diseased"]).to_parquet(paths.TRUTH, index=False)
    for k, of_fold in of_folds.items():
        paths.fold("NPM1", "published", k).mkdir(parents=True)
        table = pd.DataFrame(of_fold, columns=["patient", "path", "split", "label", "logit"])
        table.to_parquet(paths.fold("NPM1", "published", k) / "predictions.parquet", index=False)
    put_scored(predictions())
    paths.report("NPM1", "published").mkdir(parents=True)
    (paths.report("NPM1", "published") / "metrics.json").write_text(json.dumps({"patient_auroc": auroc}))
    return tables


def put(split: pd.DataFrame, images: pd.DataFrame) -> None:
    split.to_csv(paths.split_table("NPM1"), index=False)
    images.to_parquet(paths.MANIFEST, index=False)


def found(settings: config.Config) -> dict[str, dict[str, Any]]:
    audit.run(settings, ["NPM1"], ["published"])
    report = json.loads(paths.audit("NPM1", "published").read_text())
    assert report["red"] == sum(check["red"] for check in report["checks"])
    return {check["name"]: check for check in report["checks"]}


def test_a_sound_cohort_has_nothing_red_and_the_same_bytes(settings: config.Config, capsys: pytest.CaptureFixture[str]) -> None:
    cohort()
    checks = found(settings)
    assert not [name for name, check in checks.items() if check["red"]]
    assert "RED" not in capsys.readouterr().out
    before = paths.audit("NPM1", "published").read_bytes()
    audit.run(settings, ["NPM1"], ["published"])
    assert paths.audit("NPM1", "published").read_bytes() == before
    assert [path.name for path in paths.audit("NPM1", "published").parent.iterdir()] == ["published.json"]
    assert all(check["question"].endswith("?") and check["rule"] for check in checks.values())
    assert all(bool(check["advice"]) == (check["state"] in ("red", "amber")) for check in checks.values() if check["answered"])
    assert checks["image_count_only"]["state"] == "nothing to judge"  # every patient has as many
    assert checks["same_sex_and_age"]["state"] == "clear"
    chance = checks["colour_only"]["value"]["permuted"]
    assert chance["low"] <= checks["colour_only"]["value"]["patient_auroc"] <= chance["high"]


def test_a_planted_colour_is_red_and_named(settings: config.Config, capsys: pytest.CaptureFixture[str]) -> None:
    cohort(redder=5)
    colour = found(settings)["colour_only"]
    assert colour["red"]
    assert colour["value"]["patient_auroc"] > 0.97
    assert colour["value"]["image_auroc"] > 0.97
    assert colour["value"]["permuted"]["p_value"] == 1 / 40
    said = capsys.readouterr().out
    assert "RED colour_only" in said
    assert "stained or photographed differently" in said


def test_more_images_of_one_class_are_red(settings: config.Config) -> None:
    split, images = cohort()
    spare = (images["class"] == "control") & images["path"].str.contains("image_[45]")
    put(split, images.assign(error=np.where(spare, "too dark", "")))
    count = found(settings)["image_count_only"]
    assert count["red"]
    assert count["value"]["patient_auroc"] == 1


def hash_of(path: str) -> float:
    """A score that says nothing, the same in every run."""
    return hashlib.sha256(path.encode()).digest()[0] / 64 - 2


NONE = Interval(float("nan"), float("nan"), float("nan"))


@pytest.mark.parametrize(
    ("gain", "p_value", "state"),
    [
        (Interval(0.1, -0.05, 0.2), 0.01, "red"),  # beats chance, and the network may be no better
        (Interval(0.1, 0.01, 0.2), 0.01, "clear"),  # beats chance, and the network is better still
        (Interval(0.1, -0.05, 0.2), 0.3, "amber"),  # neither is sure
        (Interval(0.1, 0.0, 0.2), 0.3, "amber"),
        (Interval(0.4, 0.2, 0.6), 0.3, "clear"),
        (NONE, 0.01, "red"),
        (NONE, 0.3, "amber"),
    ],
)
def test_a_baseline_is_red_where_it_beats_chance_and_explains_the_result(gain: Interval, p_value: float, state: str) -> None:
    chance = Null(0.5, 0.3, 0.7, p_value, 0.01, 99)
    found = baseline(BASELINES["colour"], ["mean_r"], {"patient_auroc": 0.8}, chance, Interval(0.9, 0.8, 1.0), gain, 0.05)
    assert found.state == state
    assert ("stained" in found.advice) == (state == "red")
    assert ("patients" in found.advice) == (state != "clear")


def test_where_nothing_can_be_told_the_audit_is_amber_and_says_so(
    settings: config.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort()
    put_scored(predictions().assign(logit=lambda table: table["path"].map(lambda path: hash_of(path))))
    checks = found(settings)
    assert checks["colour_only"]["state"] == "amber"
    assert "amber colour_only" in capsys.readouterr().out
    assert "stained" not in checks["colour_only"]["advice"]
    assert json.loads(paths.audit("NPM1", "published").read_text())["state"] in ("amber", "red")


def test_a_result_that_is_of_age_is_seen_among_patients_of_one_age(settings: config.Config) -> None:
    """Ages overlap in a few patients, among whom the score, which follows the age, tells nothing."""
    cohort()
    listed = pd.read_csv(paths.PATIENTS, dtype="str", keep_default_na=False)
    number = listed["patient"].str[1:].astype(int)
    old = (listed["class"] == "NPM1") ^ (number >= 12)  # the last eight of either class are of the other's age
    listed["age"], listed["sex"] = np.where(old, "70", "30"), "f"
    listed.to_csv(paths.PATIENTS, index=False)
    ages = dict(zip(listed["patient"], old, strict=True))
    table = predictions()
    rng = np.random.default_rng(1)
    noise = dict(zip(listed["patient"], rng.normal(0, 0.1, len(listed)), strict=True))
    put_scored(table.assign(logit=table["patient"].map(lambda name: 4 * ages[name] + noise[name])))
    check = found(settings)["same_sex_and_age"]
    assert check["state"] != "clear"
    assert check["value"]["patient_auroc"]["value"] == pytest.approx(0.5, abs=0.2)
    assert check["value"]["subtype_patients"] == PATIENTS
    listed["age"] = np.where(listed["class"] == "NPM1", "70", "30")
    listed.to_csv(paths.PATIENTS, index=False)
    check = found(settings)["same_sex_and_age"]
    assert check["state"] == "amber"
    assert check["value"]["pairs"] == 0
    assert check["found"].startswith("no pair")


def test_groups_too_small_for_any_difference_to_show_are_amber(settings: config.Config) -> None:
    def of(patients: int) -> dict[str, Any]:
        rows = [
            {"group": name, "control": {"patients": 0, "right": 0}, "subtype": {"patients": patients, "right": patients}}
            for name in ("women", "men")
        ]
        found = by_group("by_sex", "sex", rows, 3, 0.05)
        return {"state": found.state, "difference": (found.value or {})["difference"]}

    assert of(3)["state"] == "amber"
    assert of(3)["difference"]["least_p"] == pytest.approx(2 / 20)  # of C(6, 3) draws
    assert of(6)["state"] == "clear"
    assert of(2) == {"state": "amber", "difference": None}


@pytest.mark.parametrize(("column", "name"), [("pixels_sha256", "same_pictures"), ("look_alike", "similar_pictures")])
def test_a_picture_in_two_folds_is_red_and_both_paths_are_named(settings: config.Config, column: str, name: str) -> None:
    split, images = cohort()
    pair = ["NPM1/N03/image_1.tif", "control/c00/image_2.tif"]
    images.loc[images["path"].isin(pair), column] = pair[0]
    images.loc[images["path"].isin(["NPM1/N07/image_1.tif", "NPM1/N02/image_2.tif"]), column] = "within one fold"
    put(split, images)
    checks = found(settings)
    assert checks[name]["red"]
    assert checks[name]["value"] == {"count": 1, "examples": [f"{pair[1]} and {pair[0]}"]}
    assert not checks["patients_apart"]["red"]


def test_a_patient_in_two_folds_roles_or_classes_is_red_and_named(settings: config.Config) -> None:
    split, images = cohort()
    assert not found(settings)["patients_apart"]["red"]
    put(pd.concat([split, split[split["patient"] == "c03"].assign(fold=1)]), images)
    people = found(settings)["patients_apart"]
    assert people["red"]
    assert "c03: more than once in the split" in people["value"]["examples"]
    put(split.assign(fold=split["fold"].where(split["patient"] != "N04", 2)), images)
    people = found(settings)["patients_apart"]
    assert "N04: scored as test by the model of fold 4, dealt otherwise" in people["value"]["examples"]
    images.loc[images["path"] == "NPM1/N05/image_1.tif", "patient"] = "c05"
    put(split, images)
    people = found(settings)["patients_apart"]
    assert people["value"] == {"count": 1, "examples": ["c05: in the classes NPM1, control"]}


def test_what_is_not_known_of_the_patients_is_said_and_not_red(settings: config.Config) -> None:
    cohort(known=False)
    checks = found(settings)
    for name in ("metadata_only", "by_sex", "by_age", "by_blast_share", "cell_truth"):
        assert not checks[name]["answered"]
        assert checks[name]["value"] is None
        assert checks[name]["found"].startswith("not known")
        assert not checks[name]["red"]
    assert "by_leucocytes_per_ul" not in checks


def test_age_that_tells_the_classes_apart_is_red(settings: config.Config) -> None:
    cohort()
    listed = pd.read_csv(paths.PATIENTS, dtype="str", keep_default_na=False)
    listed["age"] = np.where(listed["class"] == "NPM1", "70", "30")
    listed.loc[0, "age"] = ""
    listed.to_csv(paths.PATIENTS, index=False)
    metadata = found(settings)["metadata_only"]
    assert metadata["red"]
    assert metadata["value"]["features"] == ["sex_f", "sex_m", "age"]
    assert metadata["value"]["patient_auroc"] > 0.95


def test_groups_are_counted(settings: config.Config) -> None:
    cohort(network=50)
    listed = pd.read_csv(paths.PATIENTS, dtype="str", keep_default_na=False)
    listed.loc[listed["patient"].isin(["c00", "c02", "c04", "N01"]), "sex"] = ""
    listed.loc[listed["class"] == "NPM1", "blast_share"] = [f"{n / 100}" for n in range(19)] + [""]
    listed.to_csv(paths.PATIENTS, index=False)
    checks = found(settings)
    women, men, unknown = checks["by_sex"]["value"]["groups"]
    assert [row["group"] for row in (women, men, unknown)] == ["women", "men", "not known"]
    assert women["control"] == {"patients": 7, "right": 7}
    assert women["subtype"] == {"patients": 10, "right": 10}
    assert (women["sensitivity"], women["specificity"], women["patient_auroc"], women["note"]) == (1, 1, 1, "")
    assert (men["control"]["patients"], men["subtype"]["patients"]) == (10, 9)
    assert (unknown["control"]["patients"], unknown["subtype"]["patients"]) == (3, 1)
    assert unknown["sensitivity"] is unknown["specificity"] is unknown["patient_auroc"] is None
    assert unknown["note"] == "too few to say: 3 control, 1 subtype"
    assert [row["group"] for row in checks["by_age"]["value"]["groups"]] == ["30 to 36", "37 to 43", "44 to 49"]
    blasts = checks["by_blast_share"]["value"]["groups"]
    assert [(row["group"], row["control"]["patients"], row["subtype"]["patients"]) for row in blasts] == [
        ("0 to 0.06", 0, 7),
        ("0.07 to 0.12", 0, 6),
        ("0.13 to 0.18", 0, 6),
        ("not known", 0, 1),
    ]
    assert blasts[0]["sensitivity"] == 1
    assert blasts[0]["patient_auroc"] is None


def test_a_group_that_is_called_wrong_is_red_and_named(settings: config.Config) -> None:
    cohort(network=50)
    table = predictions()
    odd = table["patient"].str[1:].astype(int) % 2 == 1  # men
    put_scored(table.assign(logit=np.where(odd & (table["label"] == 1), -20.0, table["logit"])))
    checks = found(settings)
    assert checks["by_sex"]["red"]
    difference = checks["by_sex"]["value"]["difference"]
    assert (difference["group"], difference["rate"]) == ("women", "sensitivity")
    assert difference["p_value"] == pytest.approx(2 * 2 / 184756, abs=1e-6)  # the two extreme of C(20, 10) draws; two classes
    assert not checks["by_age"]["red"]


def test_equal_values_share_a_third() -> None:
    assert groups.thirds(pd.Series([5.0, 5, 5, float("nan")])).tolist() == ["5", "5", "5", "not known"]
    assert groups.thirds(pd.Series([1.0, 1, 1, 1, 2, 3])).tolist() == ["1"] * 4 + ["2 to 3"] * 2
    assert groups.thirds(pd.Series([3.0, 1, 2])).tolist() == ["3", "1", "2"]
    assert groups.thirds(pd.Series([float("nan")])).tolist() == ["not known"]


@pytest.mark.parametrize("follows", [True, False])
def test_whether_the_score_follows_the_cell(settings: config.Config, follows: bool) -> None:
    _, images = cohort()
    number = images["path"].str.extract(r"image_(\d)")[0].astype(int)
    diseased = (images["class"] == "NPM1") & (number >= 2)
    pd.DataFrame({"path": images["path"], "cell_type": "x", "diseased": diseased}).to_parquet(paths.TRUTH, index=False)
    cells = dict(zip(images["path"], np.where(diseased, 4.0, -4.0), strict=True))
    people = {"NPM1": 4.0, "control": -4.0}
    table = predictions()
    put_scored(table.assign(logit=table["path"].map(cells if follows else lambda path: people[path.split("/")[0]])))
    truth = found(settings)["cell_truth"]
    assert truth["red"] is not follows
    value = truth["value"]
    assert value["image_auroc"] == value["image_auroc_within_patient"] == (1 if follows else 0.5)
    assert value["leukaemic_called"] == {"images": 80, "called": 80}
    assert value["normal_called"] == {"images": 40, "called": 0 if follows else 40}
    assert value["control_called"] == {"images": 120, "called": 0}


@pytest.mark.parametrize(
    ("content", "error"), [("", DataError), ("{}", ModelError), ('{"patient_auroc": 0.9}', ModelError), (None, DataError)]
)
def test_a_missing_or_damaged_result_is_one_line(settings: config.Config, content: str | None, error: type[Exception]) -> None:
    cohort()
    file = paths.report("NPM1", "published") / "metrics.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(error, match=re.escape(str(file))) as raised:
        audit.run(settings, ["NPM1"], ["published"])
    assert r"\n" not in str(raised.value)
    assert not paths.audit("NPM1", "published").exists()


def test_a_patient_without_a_line_is_named(settings: config.Config) -> None:
    cohort()
    listed = pd.read_csv(paths.PATIENTS, dtype="str", keep_default_na=False)
    listed[listed["patient"] != "N07"].to_csv(paths.PATIENTS, index=False)
    with pytest.raises(DataError, match=r"data/patients\.csv: does not have patient N07"):
        audit.run(settings, ["NPM1"], ["published"])


def test_scores_of_other_folds_are_refused(settings: config.Config) -> None:
    cohort()
    put_scored(predictions().query("fold == 0"))
    with pytest.raises(
        ModelError, match=r"published\.parquet: not of params\.yaml's folds, or of an earlier version; run `dvc repro`"
    ):
        audit.run(settings, ["NPM1"], ["published"])


def test_the_audit_judges_the_calls_that_evaluate_writes(params: Params, here: Path) -> None:
    """Also where the temperature moves scores over the threshold."""
    changes = {"audit.permutations": 39, "evaluate.threshold": 0.8, "evaluate.draws": 100}
    settings = params({"folds": [0, 1, 2, 3, 4], **changes})
    _, images = cohort(network=1)
    truth = pd.DataFrame(
        {"path": images["path"], "cell_type": "x", "diseased": images["path"].str.endswith(("0.tif", "1.tif"))}
    )
    truth.to_parquet(paths.TRUTH, index=False)
    loud = 0
    for k in range(FOLDS):
        file = paths.fold("NPM1", "published", k) / "predictions.parquet"
        table = pd.read_parquet(file)
        table["logit"] = table["logit"] * 3  # surer than they are right
        table.to_parquet(file, index=False)
        tested = table[table["split"] == "test"]
        loud += int((pooling.probabilities(tested["logit"]) > 0.8).sum())
        history = {"epoch": [0], "loss": [0.5], "val_loss": [0.5], "accuracy": [0.5], "val_accuracy": [0.5], "kept": [1]}
        pd.DataFrame(history).to_csv(paths.fold("NPM1", "published", k) / "history.csv", index=False)
        (paths.fold("NPM1", "published", k) / "spec.json").write_text("{}")
    evaluate.run(settings, ["NPM1"], ["published"])
    checks = found(settings)
    patients = pd.read_csv(paths.report("NPM1", "published") / "patients.csv")
    for side, label in (("control", 0), ("subtype", 1)):
        right = int((patients.loc[patients["label"] == label, "called"] == bool(label)).sum())
        for name in ("by_sex", "by_age", "by_images"):
            assert sum(group[side]["right"] for group in checks[name]["value"]["groups"]) == right
    recall = (
        pd.read_csv(paths.report("NPM1", "published") / "by_class.csv")
        .query("source == 'measured'")
        .set_index("class")["recall"]
    )
    value = checks["cell_truth"]["value"]
    called = [value[f"{who}_called"]["called"] for who in ("leukaemic", "normal", "control")]
    assert called[0] + called[1] == round(recall["subtype"] * PATIENTS * IMAGES)
    assert called[2] == round((1 - recall["control"]) * PATIENTS * IMAGES)
    assert sum(called) < loud  # the temperature changed calls, or this would show nothing


def test_a_search_that_saw_all_test_patients_is_red(settings: config.Config) -> None:
    cohort()
    assert not found(settings)["search_apart"]["red"]
    split = pd.read_csv(paths.split_table("NPM1"))
    for patients, red in ((split["patient"].tolist()[:1], False), (split["patient"].tolist(), True)):
        put_scored(predictions(), patients)
        figures = seen_by_search.named({"patient_auroc": INTERVAL}, leaked=red) | {"patients_seen_by_search": len(patients)}
        (paths.report("NPM1", "published") / "metrics.json").write_text(json.dumps(figures))
        check = found(settings)["search_apart"]
        assert check["red"] == red
        assert f"it saw {len(patients)} of" in check["found"]


def test_vectors_that_know_the_batch_are_red_where_the_metadata_has_one(settings: config.Config, params: Params) -> None:
    cohort()
    assert audit._neighbours(settings, "NPM1", "published", pd.DataFrame()).state == "nothing to judge"
    bags = config.load(ROOT / "params.yaml").candidates["bags"].model_dump()
    both = params({"candidates.bags": bags, "kinds.bag": ["bags"], "audit.permutations": 39})
    listed = pd.read_csv(paths.PATIENTS, dtype="str", keep_default_na=False)
    listed["batch"] = ["one" if int(patient[1:]) % 4 < 2 else "two" for patient in listed["patient"]]
    listed.to_csv(paths.PATIENTS, index=False)
    rng = np.random.default_rng(1)
    for name, own in listed.groupby("class"):
        rows = own.loc[own.index.repeat(IMAGES)]
        vectors = rng.normal(size=(len(rows), 8)) + 4 * (rows["batch"] == "two").to_numpy()[:, None] * [
            1,
            -1,
            1,
            -1,
            1,
            -1,
            1,
            -1,
        ]
        paths.vectors("efficientnet_lite0", str(name)).parent.mkdir(parents=True, exist_ok=True)
        np.save(paths.vectors("efficientnet_lite0", str(name)), vectors.astype(np.float32))
        rows[["patient"]].to_parquet(paths.vector_rows("efficientnet_lite0", str(name)), index=False)
    split = pd.read_csv(paths.split_table("NPM1"), dtype={"patient": "str"})
    patients = listed.merge(split, on="patient").assign(images=IMAGES)
    told = audit._neighbours(both, "NPM1", "bags", patients)
    assert told.red
    assert "robustness index 0." in told.found
