"""Healthy cells of a leukaemia patient are found by what was learned on others, and the strange are found by their distance."""

from __future__ import annotations

from pathlib import Path

import bag_cohort
import numpy as np
import pandas as pd
import pytest
from bag_cohort import FOLDS, SUBTYPE

from pipeline.bags.patients import Patients
from pipeline.curation import ranking, suspicion
from pipeline.evaluation import metrics

SUSPECT = {"encoder": bag_cohort.ENCODER, "images_per_patient": 20, "penalty": 0.01, "inner_folds": 3}


@pytest.fixture
def drawn(here: Path) -> tuple[object, Patients, list[np.ndarray]]:
    """Settings, everybody, and which of each patient's images are leukaemic."""
    bags, labels = bag_cohort.bags((15, 12))
    names = [f"{'cn'[label]}{n:02}" for n, label in enumerate(labels)]
    split = pd.DataFrame({"patient": names, "label": labels, "fold": np.arange(len(labels)) % FOLDS})
    images = [[f"{('control', SUBTYPE)[label]}/{who}/image_{k}.tif" for k in range(len(bag))]
              for who, label, bag in zip(names, labels, bags, strict=True)]  # fmt: skip
    leukaemic = [(bag[:, 0] > 2.5) & bool(label) for bag, label in zip(bags, labels, strict=True)]
    settings = bag_cohort.settings(here, suspect=SUSPECT, curate={"neighbours": 2, "shown": 3, "flagged_share": 0.5})
    return settings, Patients(split, bags, images, {}), leukaemic


def table(settings: object, everybody: Patients) -> pd.DataFrame:
    paths = [path for own in everybody.images for path in own]
    manifest = pd.DataFrame({"path": paths, "sharpness": 10.0, "std_r": 40.0, "std_g": 40.0, "std_b": 40.0})
    manifest.loc[3, "sharpness"] = 1.0
    return ranking.table(settings, {SUBTYPE: everybody}, manifest)  # type: ignore[arg-type]  # a stub of settings


def test_healthy_cells_come_first_of_each_patient_and_a_fold_learns_nothing_of_its_own(drawn) -> None:
    settings, everybody, leukaemic = drawn
    logits = ranking.logits(settings, SUBTYPE, everybody)
    own = [row for row, label in enumerate(everybody.labels) if label]
    assert np.mean([metrics.auroc(leukaemic[row].astype(int), logits[row]) for row in own]) > 0.9
    spoilt = list(everybody.bags)
    spoilt[own[0]] = spoilt[own[0]] + 9
    again = ranking.logits(settings, SUBTYPE, Patients(everybody.split, spoilt, everybody.images, {}))
    folds = everybody.split["fold"]
    same = [np.array_equal(one, two) for one, two in zip(logits, again, strict=True)]
    assert same == [fold == folds[own[0]] and row != own[0] for row, fold in enumerate(folds)]


def test_the_order_in_which_a_subtype_has_the_controls_changes_nothing(drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, first, _ = drawn
    others = [[path.replace(SUBTYPE, "other") for path in own] for own in first.images]  # the same controls, other leukaemias

    def second(order: list[int]) -> Patients:
        return Patients(first.split.iloc[order], [first.bags[row] for row in order], [others[row] for row in order], {})

    paths = sorted({path for own in [*first.images, *others] for path in own})
    manifest = pd.DataFrame({"path": paths}).assign(sharpness=10.0, std_r=40.0, std_g=40.0, std_b=40.0)
    # any number that is an image's own, another one by each subtype
    monkeypatch.setattr(ranking, "logits", lambda _, name, whom: [bag[:, len(name) % 2].astype(float) for bag in whom.bags])
    as_dealt = list(range(len(others)))
    found = [ranking.table(settings, {"one": first, "four": second(order)}, manifest) for order in (as_dealt, as_dealt[::-1])]
    controls = [table[table["class"] == settings.control].reset_index(drop=True) for table in found]
    assert set(controls[0]["resembles"]) == {"one", "four"}
    pd.testing.assert_frame_equal(*controls)


def test_weights_are_ranks_within_a_patient_and_controls_all_count_the_same() -> None:
    bags, labels = bag_cohort.bags((9, 9))
    found = suspicion.weights(bags, labels, suspicion.Suspect(**SUSPECT), 0)
    leukaemic = [own[bag[:, 0] > 2.5].mean() for own, bag, label in zip(found, bags, labels, strict=True) if label]
    assert np.mean(leukaemic) > 0.75, "the upper 40 % have 0.8"
    for own, label in zip(found, labels, strict=True):
        expected = (np.arange(len(own)) + 0.5) / len(own) if label else np.ones(len(own))
        assert np.allclose(np.sort(own), expected)
    assert suspicion.ranks(np.array([3.0, 1.0, 1.0, 9.0])).tolist() == [0.625, 0.125, 0.375, 0.875]


def test_every_question_ranks_whom_it_is_asked_of_and_an_image_is_shown_once(drawn) -> None:
    settings, everybody, _ = drawn
    images = table(settings, everybody)
    control = images["class"] == "control"
    assert (images.loc[control, "healthy"] == 0).all()
    assert (images.loc[~control, "leukaemic"] == 0).all()
    for question, asked in {
        "healthy": ~control,
        "leukaemic": control,
        "artefact": control | True,
        "unlike": control | True,
    }.items():
        for _, own in images[asked].groupby("patient"):
            assert sorted(own[question]) == list(range(1, len(own) + 1))
    assert images.loc[images["path"].str.endswith("c00/image_3.tif"), "artefact"].tolist() == [1], "the blurred one"
    shown = list(ranking.shown(images, 3))
    assert [question for question, _ in shown] == list(ranking.QUESTIONS)
    paths = pd.concat([chosen["path"] for _, chosen in shown])
    assert paths.is_unique
    assert max(chosen.groupby("patient").size().max() for _, chosen in shown) <= 3
    flagged = ranking.flagged(images, 0.5)
    assert not flagged[control].any()
    assert flagged[~control].groupby(images["patient"]).mean().between(0.45, 0.55).all()


def test_an_image_like_no_other_patients_is_far_from_all() -> None:
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(12, 8)).astype(np.float32) for _ in range(6)]
    bags[2][5] += 20
    bags[4][3:6] += 30  # three alike, of one patient: they are strange to all others
    found = ranking.distances(bags, neighbours=2, images_per_patient=100)
    assert sorted(np.argsort(found)[-4:].tolist()) == [2 * 12 + 5, 4 * 12 + 3, 4 * 12 + 4, 4 * 12 + 5]
    everything = np.concatenate(bags).astype(np.float64)
    expected = np.sort(np.linalg.norm(everything[:, None] - everything[None, 12:], axis=2)[0])[1]
    assert found[0] == pytest.approx(expected, rel=1e-3)
