"""Temperature, operating point and reliability, where the right answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from pipeline import calibration, comparison, metrics, resampling
from pipeline.scoring import probabilities


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
    assert (scores > point.threshold).sum() == 2
    assert point.threshold == scores[37]
    assert "38 of 40 validation controls" in point.reason
    few = calibration.operating_point(table.head(19), 0.95, 20, 0.5)
    assert few.threshold == 0.5
    assert few.reason.startswith("19 validation controls are too few (20 needed)")


def test_intercept_and_slope_of_calibrated_scores_are_0_and_1() -> None:
    table = patients_of(1.0)
    assert calibration.intercept_and_slope(table["label"], table["logit"]) == pytest.approx((0, 1), abs=0.1)
    shifted = calibration.intercept_and_slope(table["label"], table["logit"] * 2 + 1)
    assert shifted[1] == pytest.approx(0.5, abs=0.05)
    assert shifted[0] < -0.5
    assert math.isnan(calibration.intercept_and_slope([0, 0], [1.0, 2.0])[0])
    assert math.isnan(calibration.intercept_and_slope([0, 0, 1], [1.0, 2.0, 3.0])[1])  # separated


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
    found = comparison.balanced_draws(resampling.summarise(rows, 0.5), 800, 2000, 1, 0.95)
    whole = metrics.by_class(np.repeat([0, 1], 800), np.repeat([False, True, True, False], [720, 80, 640, 160]))
    for figure in ("precision", "recall", "f1"):
        assert found[figure].tolist() == pytest.approx(whole[figure].tolist())
    assert found["accuracy"].tolist() == pytest.approx([0.85, 0.85])
    for figure in comparison.FIGURES:
        assert (found[f"{figure}_low"] < found[figure]).all()
        assert (found[f"{figure}_high"] > found[figure]).all()


def test_balanced_draws_spread_more_where_patients_differ() -> None:
    calls = np.array([[1] * 10, [-1] * 10] * 5).ravel()  # each patient all right or all wrong
    mixed = np.tile([1, -1], 50)  # each patient half right
    width = {}
    for name, logit in (("patients differ", calls), ("patients alike", mixed)):
        rows = pd.DataFrame({"fold": 0, "label": np.repeat([0, 1], 100), "logit": np.concatenate([-logit, logit])})
        rows["patient"] = [f"P{n // 10}" for n in range(200)]
        row = comparison.balanced_draws(resampling.summarise(rows, 0.5), 800, 2000, 1, 0.95).loc["subtype"]
        width[name] = row["recall_high"] - row["recall_low"]
    assert width["patients alike"] == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 800), rel=0.15)  # images alone
    assert width["patients differ"] > 4 * width["patients alike"]
