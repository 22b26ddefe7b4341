"""Baselines on tables where the answer is known."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.auditing import baselines, permutation
from pipeline.auditing.baselines import Baseline
from pipeline.evaluation import metrics
from pipeline.images import manifest

FOLDS = 5


def images(shift: float, seed: int, patients: int = 60, unequal: bool = False) -> pd.DataFrame:
    """Every second patient is of the subtype, whose images are redder by `shift` standard deviations."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        label = number % 2
        own = rng.normal(label * shift)
        count = 3 + (90 if unequal and number == 0 else 0)
        rows += [(f"P{number:02}", label, (number // 2) % FOLDS, own + rng.normal(0, 0.3), rng.normal()) for _ in range(count)]
    return pd.DataFrame(rows, columns=["patient", "label", "fold", "red", "green"])


def baseline(rows: pd.DataFrame, trained: list[int] | None = None) -> Baseline:
    return Baseline(rows, ["red", "green"], list(range(FOLDS)) if trained is None else trained, FOLDS)


scored = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 2)), min_size=1, max_size=25)


@given(scored)
def test_auroc_within_folds_is_the_share_of_the_folds_pairs_in_order(rows: list[tuple[int, int, int]]) -> None:
    pairs = [(a, b) for a, b in itertools.product(rows, rows) if a[0] == 1 and b[0] == 0 and a[2] == b[2]]
    found = metrics.within_fold_auroc(*(list(column) for column in zip(*rows, strict=True)))
    if pairs:
        assert found == pytest.approx(sum(1 if a[1] > b[1] else 0.5 if a[1] == b[1] else 0 for a, b in pairs) / len(pairs))
    else:
        assert math.isnan(found)


def test_a_planted_colour_is_found_and_chance_does_not_reach_it() -> None:
    found = baseline(images(4, seed=1))
    chance = found.null(99, seed=3)
    assert found.patient_auroc() > 0.97
    assert 0.9 < found.image_auroc() <= 1
    assert chance.high < found.patient_auroc()
    assert chance.p_value == 0.01
    assert chance.permutations == 99


def test_without_a_difference_it_stays_within_chance() -> None:
    inside = [baseline(images(0, seed)).null(39, seed=3).p_value for seed in range(6)]
    assert sum(p > 0.05 for p in inside) >= 5
    assert np.mean([baseline(images(0, seed)).patient_auroc() for seed in range(20)]) == pytest.approx(0.5, abs=0.07)


def test_chance_is_half_and_the_same_for_the_same_seed() -> None:
    found = baseline(images(1, seed=5), trained=[0, 2])
    chance = found.null(100, seed=1)
    assert chance.low < chance.mean < chance.high
    assert chance.mean == pytest.approx(0.5, abs=0.05)
    assert chance == found.null(100, seed=1)
    assert chance != found.null(100, seed=2)


def test_test_patients_are_never_fitted_on() -> None:
    """What only the tested fold and its validation fold show cannot be learned."""
    rows = images(0, seed=2)
    rows["red"] = np.where(rows["fold"].isin([0, 1]), rows["label"] * 10.0, 0.0)
    assert Baseline(rows, ["red"], [0], FOLDS).patient_auroc() == 0.5  # a feature without spread has no weight


def test_only_trained_folds_are_tested() -> None:
    rows = images(3, seed=1)
    rows.loc[rows["fold"] == 4, "red"] *= -1
    assert baseline(rows, trained=[0]).patient_auroc() > 0.9
    assert baseline(rows, trained=[4]).patient_auroc() < 0.1


def test_it_is_measured_on_the_patients_of_the_network_and_trained_on_all() -> None:
    rows = images(1, seed=4)
    of_fold_0 = set(rows.loc[rows["fold"] == 0, "patient"])
    found = Baseline(rows, ["red", "green"], list(range(FOLDS)), FOLDS, of_fold_0)
    assert found.patient_auroc() == baseline(rows, [0]).patient_auroc() != baseline(rows).patient_auroc()
    assert found.null(19, seed=3) == baseline(rows, [0]).null(19, seed=3)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = images(0.5, seed=4)
    mixed = rows.sample(frac=1, random_state=0)
    assert baseline(mixed).patient_auroc() == baseline(rows).patient_auroc()
    assert baseline(mixed).null(10, seed=0) == baseline(rows).null(10, seed=0)


def test_patients_and_classes_weigh_alike() -> None:
    labels, patients = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 3, 3])
    weights = baselines.weights(labels, patients)
    assert weights.tolist() == [0.5, 0.5, 0.5, 1.5, 1.5, 1.5]
    assert weights.mean() == 1


def test_one_patient_with_many_images_does_not_decide() -> None:
    few, many = images(2, seed=6), images(2, seed=6, unequal=True)
    assert (len(few), len(many)) == (180, 270)
    for rows in (few, many):  # P00 is a control, as red as the subtype
        rows.loc[rows["patient"] == "P00", "red"] = 5.0
    assert baseline(many).patient_auroc() == pytest.approx(baseline(few).patient_auroc(), abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 99))
def test_shuffled_labels_keep_the_classes_of_every_fold(rows: list[tuple[int, int]], seed: int) -> None:
    labels, folds = (np.array(column) for column in zip(*rows, strict=True))
    drawn = permutation.shuffled(labels, folds, np.random.default_rng(seed))
    for fold in set(folds):
        assert sorted(drawn[folds == fold]) == sorted(labels[folds == fold])


def test_p_value_counts_the_observed_among_the_draws() -> None:
    assert permutation.null(0.9, np.array([0.2, 0.9, 0.5])).p_value == 0.5
    assert permutation.null(1.0, np.array([0.2, 0.9, 0.5])).p_value == 0.25


def people(sexes: str, ages: list[str]) -> pd.DataFrame:
    sex = ["" if letter == "?" else letter for letter in sexes]
    return pd.DataFrame({"label": [0, 0, 1, 1], "sex": sex, "age": ages})


def test_sex_and_age_count_where_known_of_enough_of_either_class() -> None:
    numbers, known = baselines.describe_people(people("fmmf", ["30", "", "", ""]), 0.8)
    assert known == ["sex_f", "sex_m"]
    assert numbers[known].to_numpy().tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]
    numbers, known = baselines.describe_people(people("f?mf", ["30", "", "50.5", "61"]), 0.5)
    assert known == ["sex_f", "sex_m", "age"]
    assert numbers["sex_f"].tolist() == [1, 0, 0, 1]
    assert baselines.describe_people(people("ff??", [""] * 4), 0.5)[1] == []


def test_an_unknown_age_is_no_reason_to_leave_a_patient_out() -> None:
    rows = images(3, seed=1)
    rows.loc[rows["patient"].isin(["P03", "P20"]), "red"] = float("nan")
    assert 0.85 < baseline(rows).patient_auroc() < 1


def test_colours_are_columns_of_the_manifest() -> None:
    assert set(baselines.COLOURS) == {name for name in manifest.NUMBERS if name.startswith(("mean_", "std_"))}
