"""What is worked out for all cells at once is what `scoring` says of each bag."""

from __future__ import annotations

import bag_cohort
import numpy as np
import pytest

from pipeline.bags import instances, pooled, scoring
from pipeline.common.params_learning import InstancesLearner, PooledLearner
from pipeline.explanation import cells, deletion

LEARNERS = ("pooled", "instances", "attention")


def coefficients(learner: str) -> dict[str, np.ndarray]:
    """Learned, but those of attention drawn: training them takes TensorFlow's seconds."""
    bags, labels = bag_cohort.bags((8, 8))
    if learner == "pooled":
        return pooled.fit(bags, labels, PooledLearner(**bag_cohort.POOLED), 0)
    if learner == "instances":
        return instances.fit(bags, labels, InstancesLearner(**bag_cohort.INSTANCES), 0)
    rng, members, d, h, a = np.random.default_rng(1), 2, bag_cohort.DIMENSION, 8, 4
    shapes = {
        **{"hidden": (members, d, h), "hidden_bias": (members, h), "view": (members, h, a), "view_bias": (members, a)},
        **{"gate": (members, h, a), "gate_bias": (members, a), "attention": (members, a), "out": (members, h)},
        "out_bias": (members,),
    }
    drawn = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return {**drawn, "attention": 5 * drawn["attention"], "mean": rng.normal(size=d), "scale": rng.uniform(1, 2, d)}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("images", [2, 3, 17])
def test_each_cell_left_out_alone_and_exchanged_is_what_scoring_says_of_that_bag(learner: str, images: int) -> None:
    known, rng = coefficients(learner), np.random.default_rng(images)
    bag = rng.normal(size=(images, bag_cohort.DIMENSION)).astype(np.float32)
    bag[0] = bag[-1]  # ties have an order too
    new = rng.normal(scale=3, size=(5, bag_cohort.DIMENSION)).astype(np.float32)

    def logits(bags: list[np.ndarray]) -> np.ndarray:
        return scoring.logits(learner, known, bags)

    without = logits([np.delete(bag, row, axis=0) for row in range(images)])
    assert cells.left_out(learner, known, bag) == pytest.approx(without, abs=1e-7)
    assert cells.alone(learner, known, bag) == pytest.approx(logits([bag[[row]] for row in range(images)]), abs=1e-7)
    for row in (0, images - 1):
        replaced = [np.concatenate([bag[:row], vector[None], bag[row + 1 :]]) for vector in new]
        assert cells.exchanged(learner, known, bag, row, new) == pytest.approx(logits(replaced), abs=1e-7)


@pytest.mark.parametrize("learner", LEARNERS)
def test_of_an_only_cell_nothing_is_left_but_it_can_be_exchanged(learner: str) -> None:
    known, bag = coefficients(learner), np.ones((1, bag_cohort.DIMENSION), np.float32)
    assert np.isnan(cells.left_out(learner, known, bag)).all()
    new = np.concatenate([2 * bag, 3 * bag])
    assert cells.exchanged(learner, known, bag, 0, new) == pytest.approx(scoring.logits(learner, known, [2 * bag, 3 * bag]))


def test_one_cell_with_all_the_attention_leaves_a_logit_of_the_others() -> None:
    known, rng = coefficients("attention"), np.random.default_rng(0)
    known["attention"] = known["attention"] * 1e4
    bag = rng.normal(size=(9, bag_cohort.DIMENSION)).astype(np.float32)
    without = scoring.logits("attention", known, [np.delete(bag, row, axis=0) for row in range(9)])
    found = cells.left_out("attention", known, bag)
    assert np.isfinite(found).all()
    assert found == pytest.approx(without, abs=1e-6)


def test_shares_are_of_what_speaks_for_the_subtype_and_of_what_speaks_against() -> None:
    assert cells.shares(np.array([3.0, 1.0, -2.0, 0.0])) == pytest.approx([0.75, 0.25, -1.0, 0.0])
    assert cells.shares(np.zeros(3)) == pytest.approx(np.zeros(3))
    assert cells.mean_left_out(np.array([1.0, 2.0, 6.0])) == pytest.approx([4.0, 3.5, 1.5])


def test_the_order_of_what_each_cell_does_lowers_the_score_faster_than_chance_and_another_does_not() -> None:
    """Of a mean, whose best order is known: the highest first."""
    logits = np.random.default_rng(0).normal(size=40)

    def left(rows: np.ndarray) -> float:
        return float(logits[rows].mean())

    random = [deletion.curve(left, order) for order in deletion.random_orders(40, 50, [0])]
    best = np.argsort(-logits)
    assert deletion.area(deletion.curve(left, best), random) > 0.2
    assert deletion.area(deletion.curve(left, best[::-1]), random) < -0.2
    assert [len(some) for some in deletion.gone(best)] == [2, 4, 8, 12, 16, 20]
    assert [len(some) for some in deletion.gone(best[:2])] == [1] * 6, "something is always left"


def test_an_interval_over_patients_is_students() -> None:
    found = deletion.over_patients([1.0, 2.0, 3.0], 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)
    assert np.isnan(deletion.over_patients([1.0], 0.95).low)
    assert np.isnan(deletion.over_patients([], 0.95).value)
