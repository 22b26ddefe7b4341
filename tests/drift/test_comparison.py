"""The test that exchanges patients: right as often as it says, blind to how many images a patient has, and to the mix of
classes.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pipeline.drift import comparison

RNG_SEED = 5


def views(rng: np.random.Generator, patients: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    return {"colours": rng.normal(size=(patients, 6)) + shift, "vectors": rng.normal(size=(patients, 40))}


def p_value(rng: np.random.Generator, new: int, shift: float = 0.0, permutations: int = 199) -> float:
    found = comparison.compare(views(rng, 30), views(rng, new, shift), ["a"] * 30, ["a"] * new, permutations, 1)
    assert found is not None
    return found.p_value


def test_where_nothing_differs_the_p_values_are_uniform() -> None:
    rng = np.random.default_rng(RNG_SEED)
    found = np.array([p_value(rng, 8) for _ in range(300)])
    assert (found <= 0.05).mean() == pytest.approx(0.05, abs=0.04)  # three standard errors
    assert (found <= 0.5).mean() == pytest.approx(0.5, abs=0.09)


def test_a_shift_of_one_view_is_found_and_named() -> None:
    rng = np.random.default_rng(RNG_SEED)
    found = comparison.compare(views(rng, 30), views(rng, 8, 1.5), ["a"] * 30, ["a"] * 8, 999, 1)
    assert found is not None
    assert found.p_value == found.views["colours"].p_of_all < 0.01 < 0.05 < found.views["vectors"].p_value
    assert found.views["colours"].times > 3


def test_the_statistic_is_the_energy_distance_and_the_p_that_of_all_exchanges() -> None:
    rng = np.random.default_rng(RNG_SEED)
    values = rng.normal(size=(7, 2))
    values[4:] += 1.0
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    d = cdist(z, z)

    def energy(new: tuple[int, ...]) -> float:
        old = [row for row in range(7) if row not in new]
        between = d[np.ix_(new, old)].mean()
        return float(2 * between - d[np.ix_(new, new)].mean() - d[np.ix_(old, old)].mean())

    every = np.array([energy(new) for new in itertools.combinations(range(7), 3)])
    exact = (every >= energy((4, 5, 6)) - 1e-12).mean()
    found = comparison.compare({"one": values[:4]}, {"one": values[4:]}, ["a"] * 4, ["a"] * 3, 4999, 1)
    assert found is not None
    assert found.p_value == pytest.approx(exact, abs=0.02)
    assert found.least_p == pytest.approx(1 / 35)


def test_a_single_patient_is_ranked_and_can_be_no_surer_than_that() -> None:
    rng = np.random.default_rng(RNG_SEED)
    known, new = rng.normal(size=(30, 6)), rng.normal(size=(1, 6)) + 50.0
    found = comparison.compare({"colours": known}, {"colours": new}, ["a"] * 30, ["a"], 999, 1)
    assert found is not None
    assert found.least_p == pytest.approx(1 / 31)
    assert found.p_value == pytest.approx(1 / 31, abs=0.02)


def test_another_mix_of_classes_is_no_difference() -> None:
    rng = np.random.default_rng(RNG_SEED)
    old, new = np.array(["a"] * 24 + ["b"] * 6), np.array(["a"] * 2 + ["b"] * 14)
    known, fresh = (views(rng, len(classes)) for classes in (old, new))
    for table, classes in ((known, old), (fresh, new)):
        table["colours"][classes == "b"] += 4.0
    within = comparison.compare(known, fresh, old, new, 999, 1)
    across = comparison.compare(known, fresh, ["all"] * 30, ["all"] * 16, 999, 1)
    assert within is not None
    assert across is not None
    assert within.p_value > 0.05 > 0.003 > across.p_value


def test_of_a_class_that_nobody_knows_there_is_nothing_to_say() -> None:
    rng = np.random.default_rng(RNG_SEED)
    known = views(rng, 10)
    assert comparison.compare(known, views(rng, 2), ["a"] * 10, ["c"] * 2, 99, 1) is None
    found = comparison.compare(known, views(rng, 3), ["a"] * 10, ["a", "c", "a"], 99, 1)
    assert found is not None
    assert (found.known, found.new) == (10, 2)
