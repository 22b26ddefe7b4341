"""Baselines where it is known what they can and cannot reach."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import baselines, metrics


def cohort(planted: float, patients: int = 20, folds: int = 4, seed: int = 1) -> pd.DataFrame:
    """Images of `patients` + `patients`, each with a hue of his or her own; that of the subtype lies `planted` higher."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in (0, 1):
        for number in range(patients):
            hue = rng.normal(planted * label)
            for value in rng.normal(hue, 0.2, int(rng.integers(1, 12))):
                rows.append((f"{label}-{number}", label, number % folds, value, 1.0))
    return pd.DataFrame(rows, columns=["patient", "label", "fold", "hue", "constant"])


def test_a_planted_colour_is_found_and_no_colour_is_not() -> None:
    found = {}
    for planted in (6.0, 0.0):
        baseline = baselines.Baseline(cohort(planted), ["hue"], range(4), 4)
        found[planted] = baselines.patient_auroc(baseline.predictions()), baseline.null(60, seed=2)
    auroc, chance = found[6.0]
    assert auroc > 0.98
    assert auroc > chance.high
    assert chance.p_value == pytest.approx(1 / 61)
    auroc, chance = found[0.0]
    assert chance.low < auroc < chance.high
    assert chance.mean == pytest.approx(0.5, abs=0.1)


def test_a_feature_that_says_nothing_is_a_coin() -> None:
    predictions = baselines.Baseline(cohort(6.0), ["constant"], range(4), 4).predictions()
    assert baselines.patient_auroc(predictions) == 0.5


def test_every_patient_of_a_trained_fold_is_scored_once_and_by_others_alone() -> None:
    rows = cohort(1.0)
    whole = baselines.Baseline(rows, ["hue"], [0, 2], 4).predictions()
    assert set(whole["patient"]) == set(rows.loc[rows["fold"].isin([0, 2]), "patient"])
    assert len(whole) == rows["fold"].isin([0, 2]).sum()
    spoilt = rows.assign(hue=rows["hue"].where(rows["patient"] != "1-0", 1000.0))  # of fold 0
    others = whole["patient"] != "1-0"
    again = baselines.Baseline(spoilt, ["hue"], [0, 2], 4).predictions()
    tested = others & (whole["fold"] == 0)
    assert again.loc[tested, "logit"].tolist() == whole.loc[tested, "logit"].tolist()  # not seen by its own network ...
    assert again.loc[whole["fold"] == 2, "logit"].tolist() != whole.loc[whole["fold"] == 2, "logit"].tolist()  # ... but by that


def test_patients_and_classes_weigh_the_same() -> None:
    labels, patients = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 2, 3, 3])
    weights = baselines.weights(labels, patients)
    by_patient = np.bincount(patients, weights)
    assert weights.mean() == pytest.approx(1)
    assert by_patient[0] == pytest.approx(by_patient[1])
    assert by_patient[2] == pytest.approx(by_patient[3])
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=30))
def test_auroc_within_folds_is_the_share_of_pairs_in_order(rows: list[tuple[int, int, int]]) -> None:
    labels, scores, folds = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [
        1.0 if scores[b] > scores[a] else 0.5 if scores[b] == scores[a] else 0.0
        for a in range(len(rows))
        for b in range(len(rows))
        if (labels[a], labels[b]) == (0, 1) and folds[a] == folds[b]
    ]
    found = metrics.within_fold_auroc(labels, scores, folds)
    assert found == pytest.approx(np.mean(pairs)) if pairs else np.isnan(found)


def test_shuffled_labels_keep_their_numbers_in_every_fold() -> None:
    labels, folds = np.array([0, 0, 1, 1, 1, 0, 0, 1]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    drawn = [baselines.shuffled(labels, folds, np.random.default_rng(seed)) for seed in range(30)]
    assert {tuple(np.bincount(folds, each)) for each in drawn} == {(2, 2)}
    assert len({tuple(each) for each in drawn}) > 5


def test_age_and_sex_count_where_enough_is_known() -> None:
    table = pd.DataFrame({"label": [0, 0, 1, 1], "sex": ["f", "m", "f", ""], "age": ["30", "40", "", "70"]})
    assert baselines.people(table, 0.5)[1] == ["sex_f", "sex_m", "age"]
    assert baselines.people(table, 0.8)[1] == []
    assert baselines.people(table.assign(age="50"), 0.8)[1] == ["age"]
