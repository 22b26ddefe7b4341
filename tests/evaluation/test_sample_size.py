"""How many patients it takes, held against simulated cohorts and exact bounds."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from pipeline.evaluation import sample_size


def test_four_of_four_show_no_more_than_their_lower_bound() -> None:
    assert sample_size.bound_if_all_right(4, 0.95) == pytest.approx(0.025 ** (1 / 4))
    assert math.isnan(sample_size.bound_if_all_right(0, 0.95))


@pytest.mark.parametrize(("rate", "half_width"), [(0.9, 0.05), (0.9, 0.1), (0.5, 0.1), (0.99, 0.02)])
def test_from_so_many_patients_on_the_interval_is_narrow_enough(rate, half_width) -> None:
    def width(patients: int) -> float:
        bounds = binomtest(round(rate * patients), patients).proportion_ci(0.95, method="exact")
        return float(bounds.high - bounds.low)

    found = sample_size.patients_for_rate(rate, half_width, 0.95)
    assert width(found - 1) > 2 * half_width
    assert all(width(patients) <= 2 * half_width for patients in range(found, 3 * found))


def test_the_auroc_has_the_wanted_width() -> None:
    n = sample_size.patients_for_auroc(0.9, 0.05, 2.5, 0.95)
    for patients, narrow in ((n, True), (n - 1, False)):
        reach = norm.ppf(0.975) * math.sqrt(sample_size.auroc_variance(0.9, patients, round(2.5 * patients)))
        assert (reach <= 0.05) == narrow


def test_the_least_auroc_is_told_from_chance_as_often_as_said() -> None:
    n, m, power = 24, 60, 0.8
    least = sample_size.least_shown_auroc(n, m, 0.95, power)
    assert 0.5 < least < 0.8
    rng = np.random.default_rng(3)
    shift = math.sqrt(2) * norm.ppf(least)
    scores, others = rng.normal(shift, 1, (2000, n)), rng.normal(0, 1, (2000, m))
    found = np.array([(a[:, None] > b).mean() for a, b in zip(scores, others, strict=True)])
    shown = found - norm.ppf(0.975) * math.sqrt(sample_size.auroc_variance(0.5, n, m)) > 0.5
    assert shown.mean() == pytest.approx(power, abs=0.04)


def test_too_few_tell_nothing() -> None:
    assert math.isnan(sample_size.least_shown_auroc(1, 1, 0.95, 0.8))
    assert math.isnan(sample_size.least_shown_auroc(0, 20, 0.95, 0.8))
