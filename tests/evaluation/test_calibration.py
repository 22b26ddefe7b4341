"""Temperature, operating point and reliability, where the right answer is known."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from cohorts import scored
from scipy import stats
from scipy.stats import binomtest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation import calibration, figures, intervals, published_form, resampling
from pipeline.evaluation.pooling import probabilities


def patients_of(true_temperature: float, count: int = 4000) -> pd.DataFrame:
    """One image a patient, whose logit is too large by `true_temperature`."""
    rng = np.random.default_rng(4)
    honest = rng.normal(0, 2, count)
    label = (rng.random(count) < probabilities(honest)).astype(int)
    return pd.DataFrame(
        {"fold": 0, "patient": [f"P{n}" for n in range(count)], "label": label, "logit": honest * true_temperature}
    )


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_a_temperature_is_found_again(heat: float) -> None:
    assert calibration.temperature(patients_of(heat)) == pytest.approx(heat, rel=0.1)


def test_a_patient_with_many_images_does_not_decide_over_the_temperature() -> None:
    table = patients_of(2.0, 300)
    loud = pd.DataFrame({"fold": 0, "patient": "LOUD", "label": 0, "logit": np.full(100_000, 9.0)})
    alone = calibration.temperature(pd.concat([table, loud.head(1)]))
    assert calibration.temperature(pd.concat([table, loud])) == pytest.approx(alone, rel=1e-6)


def test_scores_that_separate_stay_within_bounds() -> None:
    table = pd.DataFrame({"patient": ["A", "B"], "label": [0, 1], "logit": [-1.0, 1.0]})
    assert calibration.temperature(table) == pytest.approx(0.05, rel=0.01)
    assert calibration.temperature(table.assign(logit=-table["logit"])) == pytest.approx(20, rel=0.01)


def test_the_operating_point_is_the_lowest_that_reaches_the_specificity() -> None:
    scores = np.linspace(0.01, 0.4, 40)
    table = pd.DataFrame({"label": 0, "score": scores})
    point = calibration.operating_point(table, 0.95, 20, 0.5)
    assert point.threshold == scores[38]  # .95 of 41
    assert point.reason.startswith("39 of 40 controls of other folds")
    assert point.reason.endswith(f"with 95% confidence at least {stats.beta.ppf(0.05, 39, 2):.3f} of them do")
    assert (point.chosen, point.validation_controls) == (True, 40)
    assert calibration.operating_point(table.head(18), 0.95, 1, 0.5).threshold == scores[17]  # there are not so many
    few = calibration.operating_point(table.head(19), 0.95, 20, 0.5)
    assert (few.threshold, few.chosen, few.validation_controls) == (0.5, False, 19)
    assert few.reason.startswith("19 controls of other folds are too few (20 needed)")


@pytest.mark.parametrize(("controls", "target"), [(20, 0.95), (33, 0.9)])
def test_other_controls_are_as_often_below_the_operating_point_as_it_aims_at(controls: int, target: float) -> None:
    rng = np.random.default_rng(2)
    below = []
    for _ in range(2000):
        scores = rng.random(controls)
        threshold = calibration.operating_point(pd.DataFrame({"label": 0, "score": scores}), target, 20, 0.5).threshold
        below.append(threshold)  # of evenly spread scores this share lies at or below it
    assert target - 0.005 < np.mean(below) < target + 1 / controls


def test_honest_scores_are_called_so_whatever_the_mix_of_the_classes() -> None:
    """Logits that are the log likelihood ratio are honest for as many of either class; here there are 60 to 24."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], [6000, 2400])
    logits = 2 * rng.normal(2 * (labels - 0.5), 1)
    mixed = calibration.at_class_mix(labels, logits)
    assert [found.value for found in calibration.intercept_and_slope(labels, mixed)] == pytest.approx([0, 1], abs=0.1)
    assert calibration.expected_calibration_error(calibration.reliability(labels, probabilities(mixed), 5, 0.95)) < 0.015
    assert calibration.intercept_and_slope(labels, logits)[0].high < -0.8  # what the mix alone does
    even = np.repeat([0, 1], 50)
    assert calibration.at_class_mix(even, logits[:100]) == pytest.approx(logits[:100])
    assert calibration.at_class_mix(np.zeros(3), logits[:3]) == pytest.approx(logits[:3])


def test_intercept_and_slope_of_calibrated_scores_are_0_and_1() -> None:
    table = patients_of(1.0)
    found = calibration.intercept_and_slope(table["label"], table["logit"])
    assert [interval.value for interval in found] == pytest.approx([0, 1], abs=0.1)
    assert all(interval.low < truth < interval.high for interval, truth in zip(found, (0, 1), strict=True))
    shifted = calibration.intercept_and_slope(table["label"], table["logit"] * 2 + 1)
    assert shifted[1].value == pytest.approx(0.5, abs=0.05)
    assert shifted[0].high < -0.5
    assert math.isnan(calibration.intercept_and_slope([0, 0], [1.0, 2.0])[0].value)


def test_slope_and_intercept_are_those_of_scikit_learn() -> None:
    table = patients_of(1.5, 60)
    _, slope = calibration.intercept_and_slope(table["label"], table["logit"])
    fit = LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-9).fit(table[["logit"]], table["label"])
    assert slope.value == pytest.approx(float(fit.coef_[0, 0]), rel=1e-3)


def test_the_bounds_of_intercept_and_slope_hold_with_few_patients() -> None:
    held = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        honest = rng.normal(0, 1.5, 48)
        found = calibration.intercept_and_slope((rng.random(48) < probabilities(honest)).astype(int), honest)
        held.append([bounds.low <= truth <= bounds.high for bounds, truth in zip(found, (0, 1), strict=True)])
    assert (np.mean(held, axis=0) > 0.9).all()


def test_of_scores_that_separate_only_the_least_slope_can_be_told() -> None:
    _, slope = calibration.intercept_and_slope([0] * 6 + [1] * 4, np.linspace(-1, 1, 10))
    assert math.isnan(slope.value)
    assert math.isnan(slope.high)
    assert 0 < slope.low < 20


def test_perfectly_calibrated_scores_of_few_patients_have_an_error_too() -> None:
    rng = np.random.default_rng(1)
    logits = 1.8 * rng.normal(0.9 * np.repeat([-1, 1], [60, 24]), 1) + np.log(24 / 60)
    found = calibration.calibrated_error(probabilities(logits), 5, 4000, 0, 0.95)
    assert 0.03 < found.value < 0.08
    assert 0 < found.low < found.value < found.high < 0.2
    drawn = (np.random.default_rng(9).random((300, 84)) < probabilities(logits)).astype(int)
    by_hand = [
        calibration.expected_calibration_error(calibration.reliability(labels, probabilities(logits), 5, 0.95))
        for labels in drawn[:40]
    ]
    assert np.mean(by_hand) == pytest.approx(found.value, rel=0.2)


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (-1.0, 2.0), (0.5, 0.6)])
def test_the_calibration_of_patients_is_found_again(intercept: float, slope: float) -> None:
    honest = patients_of(1.0)
    shown = honest.assign(logit=(honest["logit"] - intercept) / slope)
    found = calibration.patient_calibration(shown)
    assert (found.intercept, found.slope) == pytest.approx((intercept, slope), abs=0.12)
    twice = pd.concat([shown, shown[shown["label"] == 1]])  # a patient with two rows weighs as one
    assert astuple(calibration.patient_calibration(twice)) == pytest.approx((found.intercept, found.slope), abs=1e-4)


def test_few_patients_whom_the_logit_separates_make_nobody_certain() -> None:
    table = pd.DataFrame({"patient": list("ABCDEF"), "label": [0] * 3 + [1] * 3, "logit": [-0.6, -0.5, -0.4, 0.1, 0.2, 0.3]})
    found = calibration.patient_calibration(table)
    assert 1 < found.slope < 5
    assert 0 < found.intercept < 1  # the classes part at -.15
    assert calibration.patient_calibration(table[table["label"] == 0]) == calibration.PatientCalibration(0, 1)


def test_nobody_is_calibrated_by_himself() -> None:
    scored = pd.DataFrame(
        {
            "fold": [0, 0, 1, 1],
            "split": ["test", "val", "test", "val"],
            "patient": ["A", "B", "B", "A"],
            "label": 0,
            "logit": 0.0,
        }
    )
    assert calibration.other_patients(scored, 0)["patient"].tolist() == ["B", "B"]
    assert calibration.other_patients(scored, 1)["patient"].tolist() == ["A", "A"]


def test_reliability_by_hand() -> None:
    table = calibration.reliability([0] * 5 + [0, 0, 1, 1, 1], np.linspace(0.05, 0.95, 10), 5, 0.95)
    assert table["n"].tolist() == [5, 5]  # not five bins of two
    assert table["share"].tolist() == [0.0, 0.6]
    assert table["mean_score"].tolist() == pytest.approx([0.25, 0.75])
    bounds = binomtest(3, 5).proportion_ci(0.95, method="exact")
    assert (table["low"][1], table["high"][1]) == pytest.approx((bounds.low, bounds.high))
    assert calibration.expected_calibration_error(table) == pytest.approx((0.25 + 0.15) / 2)


def test_balanced_draws_are_the_table_of_as_many_images_of_each_class() -> None:
    """90 of 100 control images and 16 of 20 of the subtype called right: of 800 + 800, 720 and 640."""
    logit = np.concatenate([np.full(90, -1.0), np.full(10, 1.0), np.full(16, 1.0), np.full(4, -1.0)])
    rows = pd.DataFrame({"fold": 0, "label": np.repeat([0, 1], [100, 20]), "logit": logit})
    rows["patient"] = [f"{label}-{n % 10}" for n, label in enumerate(rows["label"])]
    found = published_form.balanced_draws(resampling.summarise(rows, 0.5), 800, 2000, 1, 0.95)
    whole = sk.precision_recall_fscore_support(np.repeat([0, 1], 800), np.repeat([0, 1, 1, 0], [720, 80, 640, 160]))
    for figure, theirs in zip(("precision", "recall", "f1", "support"), whole, strict=True):
        assert found[figure].tolist() == pytest.approx(theirs.tolist())
    assert found["accuracy"].tolist() == pytest.approx([0.85, 0.85])
    for figure in figures.PUBLISHED:
        assert (found[f"{figure}_low"] < found[figure]).all()
        assert (found[f"{figure}_high"] > found[figure]).all()


def test_balanced_draws_spread_more_where_patients_differ() -> None:
    calls = np.array([[1] * 10, [-1] * 10] * 5).ravel()  # each patient all right or all wrong
    mixed = np.tile([1, -1], 50)  # each patient half right
    width = {}
    for name, logit in (("patients differ", calls), ("patients alike", mixed)):
        rows = pd.DataFrame({"fold": 0, "label": np.repeat([0, 1], 100), "logit": np.concatenate([-logit, logit])})
        rows["patient"] = [f"P{n // 10}" for n in range(200)]
        row = published_form.balanced_draws(resampling.summarise(rows, 0.5), 800, 2000, 1, 0.95).loc["subtype"]
        width[name] = row["recall_high"] - row["recall_low"]
    t = stats.t.ppf(0.975, 9)  # ten patients of the subtype
    assert width["patients alike"] == pytest.approx(2 * t * math.sqrt(0.25 / 800), rel=0.1)  # images alone
    assert width["patients differ"] > 4 * width["patients alike"]


def test_images_that_are_all_called_right_do_not_make_it_certain() -> None:
    """Four patients show little, however many images they have."""
    sample = resampling.summarise(scored(4, 4, images=200, apart=60), 0.5)
    for found in (published_form.balanced_draws(sample, 800, 500, 1, 0.95), published_form.as_tested(sample, 500, 1, 0.95)):
        for figure in figures.PUBLISHED:
            assert found[figure].tolist() == [1, 1]
            surest = [0.025 ** (1 / intervals.kish(sample.sums["rows"][sample.labels == label])) for label in (0, 1)]
            assert found[f"{figure}_low"].tolist() == pytest.approx(surest if figure == "recall" else [min(surest)] * 2)
            assert max(surest) < 0.025 ** (1 / 4)
            assert found[f"{figure}_high"].tolist() == [1, 1]


def test_the_table_of_all_test_images_is_scikit_learns_with_the_bounds_of_the_image_figures() -> None:
    rows = scored(12, 7, folds=2, seed=4)
    called = (probabilities(rows["logit"]) > 0.4).astype(int)
    sample = resampling.summarise(rows, 0.4)
    found = published_form.as_tested(sample, 300, 1, 0.95)
    theirs = sk.precision_recall_fscore_support(rows["label"], called)
    for figure, column in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
        assert found[figure].tolist() == pytest.approx(column.tolist())
    assert found["accuracy"].tolist() == pytest.approx([sk.accuracy_score(rows["label"], called)] * 2)
    of_images = intervals.of_level(sample, "image", draws=300, seed=1, confidence=0.95)
    cells = {"specificity": ("control", "recall"), "sensitivity": ("subtype", "recall"), "f1": ("subtype", "f1")}
    for name, (row, figure) in (cells | {"accuracy": ("control", "accuracy")}).items():
        bounds = found.loc[row, [f"{figure}_low", f"{figure}_high"]].tolist()
        assert bounds == pytest.approx([of_images[name].low, of_images[name].high]), name
