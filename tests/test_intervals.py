"""Intervals against tables and formulas of others; their coverage is measured by bench/coverage.py."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from cohorts import scored
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline import intervals, metrics, resampling


def of(images: pd.DataFrame, **options: float) -> dict[str, intervals.Interval]:
    settings = {"threshold": 0.5, "draws": 300, "seed": 1, "confidence": 0.95, **options}
    return intervals.measure(images, metrics.patient_scores(images), **settings)


@given(st.integers(0, 30), st.integers(1, 30))
def test_the_exact_interval_is_that_of_the_beta_distribution(right: int, more: int) -> None:
    total = right + more
    found = intervals.proportion(right, total, 0.9)
    low = stats.beta.ppf(0.05, right, total - right + 1) if right else 0
    high = stats.beta.ppf(0.95, right + 1, total - right) if more else 1
    assert (found.value, found.low, found.high) == pytest.approx((right / total, low, high))


def test_nobody_is_no_proportion() -> None:
    assert math.isnan(intervals.proportion(0, 0, 0.95).value)


@given(st.floats(0, 1), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.9, 0.95]))
def test_at_each_bound_of_an_auroc_the_value_is_z_standard_errors_away(a: float, m: int, n: int, confidence: float) -> None:
    found = intervals.auroc(a, np.array([[m, n]]), confidence)
    z = stats.norm.ppf((1 + confidence) / 2)
    for bound, edge in ((found.low, 0.0), (found.high, 1.0)):
        if bound != edge:
            q1, q2 = bound / (2 - bound), 2 * bound**2 / (1 + bound)  # Hanley & McNeil's two probabilities
            common = (m + n) / 2 - 1
            variance = (bound * (1 - bound) + common * (q1 - bound**2) + common * (q2 - bound**2)) / (m * n)
            assert abs(a - bound) == pytest.approx(z * math.sqrt(variance), abs=1e-6)
    assert 0 <= found.low <= a <= found.high <= 1
    assert found.low < found.high


@given(st.floats(0.01, 0.99), st.integers(1, 60))
def test_the_bounds_of_an_average_precision_are_equally_far_on_the_logit_scale(value: float, positives: int) -> None:
    found = intervals.auprc(value, positives, 0.95)
    odds = [math.log(x / (1 - x)) for x in (found.low, value, found.high)]
    assert odds[2] - odds[1] == pytest.approx(odds[1] - odds[0])
    assert odds[2] - odds[1] == pytest.approx(1.96 / math.sqrt(positives * value * (1 - value)), rel=1e-3)
    assert intervals.auprc(1.0, positives, 0.95) == intervals.proportion(positives, positives, 0.95)


def test_more_patients_and_fewer_folds_make_an_auroc_surer() -> None:
    def width(*pairs: tuple[int, int]) -> float:
        found = intervals.auroc(0.9, np.array(pairs), 0.95)
        return found.high - found.low

    assert width((60, 36)) < width((12, 7)) < width((6, 4))
    assert width((12, 7), (12, 7)) < width((12, 7))
    assert width((24, 14)) < width((12, 7), (12, 7))


def test_patients_who_are_all_called_right_do_not_make_it_certain() -> None:
    rows = scored(6, 4, apart=60)
    found = of(rows)
    for name, interval in found.items():
        if "brier" not in name and "log_loss" not in name:
            assert interval.value == pytest.approx(1)
            assert interval.low < 0.9, name
            assert interval.high == pytest.approx(1), name
    assert found["patient_sensitivity"].low == pytest.approx(0.025 ** (1 / 4))


def test_a_bootstrapped_interval_is_about_as_wide_as_theory_says() -> None:
    """One image a patient: the spread of a mean is known."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"fold": 0, "patient": [f"P{n:03}" for n in range(200)], "label": np.repeat([0, 1], 100)})
    rows = rows.assign(logit=rng.normal(rows["label"] * 2 - 1, 1.0))
    found = of(rows, draws=4000)["image_brier"]
    errors = (1 / (1 + np.exp(-rows["logit"])) - rows["label"]) ** 2
    spread = math.sqrt(sum(errors[rows["label"] == k].var() / 100 for k in (0, 1)) / 4)
    assert (found.high - found.low) == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_patients_decide_how_sure_an_image_figure_is() -> None:
    few, many = of(scored(5, 5, images=60)), of(scored(60, 60, images=5))
    for figure in ("image_auroc", "image_sensitivity", "image_accuracy"):
        assert few[figure].high - few[figure].low > 2 * (many[figure].high - many[figure].low)


def test_every_interval_holds_its_figure_and_the_same_seed_gives_the_same() -> None:
    for seed in range(5):
        rows = scored(7, 6, folds=3, seed=seed)
        found = of(rows)
        assert all(interval.low <= interval.value <= interval.high for interval in found.values()), found
        assert found == of(rows)


def test_bands_hold_their_curve_and_end_in_the_corners() -> None:
    band = intervals.bands(resampling.summarise(scored(8, 8), 0.5), 200, 1, 0.95)
    assert band["roc"].is_monotonic_increasing
    assert band["roc"].iloc[-1] == 1
    assert (band["roc_low"] <= band["roc"] + 0.1).all()
    assert (band["roc_high"] >= band["roc"] - 0.1).all()
    assert band["pr"].iloc[-1] == pytest.approx(metrics_precision_at_full_recall(scored(8, 8)))


def metrics_precision_at_full_recall(rows: pd.DataFrame) -> float:
    lowest = rows.loc[rows["label"] == 1, "logit"].min()
    return float(rows.loc[rows["logit"] >= lowest, "label"].mean())
