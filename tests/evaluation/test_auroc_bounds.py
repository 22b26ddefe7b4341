"""Bounds of patient AUROCs: against formulas written out, and on cohorts whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from pipeline.evaluation import auroc_bounds


def in_order(controls: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (controls[:, None] < others[None, :]) + (controls[:, None] == others[None, :]) / 2


def scores(seed: int, counts: tuple[int, int], apart: float, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Of the subtype's patients, who spread so many times as much as the controls, `apart` standard errors of a difference."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, counts[0]), rng.normal(apart * math.hypot(1, spread), spread, counts[1])


@given(st.integers(0, 1000), st.integers(2, 12), st.integers(2, 12))
def test_delongs_bounds_are_those_of_the_placements(seed: int, m: int, n: int) -> None:
    pairs = in_order(*scores(seed, (m, n), 0.5))
    found, outer = (
        auroc_bounds.interval(pairs, np.ones((m, n)), 0.95),
        auroc_bounds.hanley_mcneil(pairs.mean(), np.ones((m, n)), 0.95),
    )
    if not 0 < pairs.mean() < 1:
        assert found == outer
        return
    of_controls, of_others = pairs.mean(axis=1).var(ddof=1) / m, pairs.mean(axis=0).var(ddof=1) / n
    freedom = (of_controls + of_others) ** 2 / (of_controls**2 / (m - 1) + of_others**2 / (n - 1))
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(of_controls + of_others) / (pairs.mean() * (1 - pairs.mean()))
    delong = special.expit(special.logit(pairs.mean()) + np.array([-reach, reach]))
    assert (found.low, found.high) == pytest.approx((min(delong[0], outer.low), max(delong[1], outer.high)))


@pytest.mark.parametrize("folds", [1, 5])
def test_the_bounds_hold_where_one_class_spreads_three_times_as_much(folds: int) -> None:
    """They did not by Hanley and McNeil alone, who take the spreads for alike."""
    counts, apart, truth = (60, 24), stats.norm.ppf(0.9), 0.9
    pair = (np.arange(60) % folds)[:, None] == (np.arange(24) % folds)[None, :]
    held = np.zeros(2)
    for seed in range(400):
        pairs = in_order(*scores(seed, counts, apart, 3))
        both = auroc_bounds.interval(pairs, pair, 0.95), auroc_bounds.hanley_mcneil(auroc_bounds.value(pairs, pair), pair, 0.95)
        held += [bounds.low <= truth <= bounds.high for bounds in both]
    assert held[0] / 400 >= 0.92
    assert held[1] / 400 < 0.91


def test_one_patient_of_each_class_in_a_fold_is_no_certainty() -> None:
    pair = np.eye(5)
    for right in range(6):
        found = auroc_bounds.interval(np.diag(np.arange(5) < right).astype(float), pair, 0.95)
        assert found.value == right / 5
        assert found.low <= right / 5 <= found.high
        assert found.high - found.low > 0.4


def test_all_in_order_is_the_bound_of_an_auroc_of_one() -> None:
    whole = auroc_bounds.interval(np.ones((12, 7)), np.ones((12, 7)), 0.95)
    assert auroc_bounds.all_in_order([[12, 7]], 0.95) == pytest.approx(whole.low)
    assert auroc_bounds.all_in_order([[6, 7]], 0.95) < auroc_bounds.all_in_order([[6.5, 7]], 0.95) < whole.low


def test_no_pair_has_no_auroc() -> None:
    found = auroc_bounds.interval(np.ones((2, 2)), np.zeros((2, 2)), 0.95)
    assert math.isnan(found.value)
    assert not found.known


def test_pairs_that_do_not_count_change_nothing() -> None:
    rng = np.random.default_rng(0)
    pairs, weights = in_order(*scores(1, (9, 8), 0.7)), np.ones((9, 8))
    more = np.pad(weights, ((0, 4), (0, 3)))
    wider = np.pad(pairs, ((0, 4), (0, 3)), constant_values=rng.random())
    assert auroc_bounds.interval(wider, more, 0.95) == auroc_bounds.interval(pairs, weights, 0.95)


def test_scores_that_err_on_the_same_patients_are_compared_more_sharply() -> None:
    rng = np.random.default_rng(2)
    common, label = rng.normal(size=60), np.repeat([0, 1], 30)
    weights = np.ones((30, 30))

    def gain(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
        both = [in_order(score[label == 0], score[label == 1]) for score in (ours, theirs)]
        found = auroc_bounds.gain(*both, weights, 0.95)
        return found.value, found.low, found.high

    one, other = (2 * label + common + rng.normal(0, 0.2, 60) for _ in range(2))
    alone = 2 * label + rng.normal(size=60)
    assert gain(one, one)[0] == 0
    _, low, high = gain(one, other)
    _, low_alone, high_alone = gain(one, alone)
    assert low < 0 < high
    assert high - low < 0.7 * (high_alone - low_alone)
    nothing = rng.normal(size=60)
    assert gain(one, nothing)[1] > 0
    assert gain(nothing, one)[2] < 0


def test_two_scores_that_are_always_right_are_not_surely_equal() -> None:
    found = auroc_bounds.gain(np.ones((6, 6)), np.ones((6, 6)), np.ones((6, 6)), 0.95)
    assert found.value == 0
    assert found.low < -0.1
    assert found.high > 0.1
