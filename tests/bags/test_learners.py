"""What each learner must do for a user: find patients by a share of their images, whatever the order; the same bytes again."""

from __future__ import annotations

from functools import cache
from typing import Any

import bag_cohort
import numpy as np
import pytest
from pydantic import TypeAdapter

from pipeline.bags import attention, inner_folds, instances, pooled, scoring
from pipeline.common.params_learning import BagCandidate
from pipeline.evaluation import metrics

FITS: dict[str, Any] = {"pooled": pooled.fit, "instances": instances.fit, "attention": attention.fit}
LEARNERS = [bag_cohort.POOLED, bag_cohort.INSTANCES, bag_cohort.ATTENTION]


def fitted(learner: dict[str, Any], seed: int = 3) -> dict[str, np.ndarray]:
    bags, labels = bag_cohort.bags((18, 12))
    whole = {"kind": "bag", "encoder": "e", "learner": learner}
    return FITS[learner["name"]](bags, labels, TypeAdapter(BagCandidate).validate_python(whole).learner, seed)


@cache
def once(name: str) -> dict[str, np.ndarray]:
    return fitted(next(learner for learner in LEARNERS if learner["name"] == name))


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: learner["name"])
def test_new_patients_are_told_apart_and_the_same_data_give_the_same_bytes(learner: dict[str, Any]) -> None:
    first, again = once(learner["name"]), fitted(learner)
    assert first.keys() == again.keys()
    assert all(np.asarray(first[name]).tobytes() == np.asarray(again[name]).tobytes() for name in first)
    bags, labels = bag_cohort.bags((40, 40), seed=1)
    logits = scoring.logits(learner["name"], first, bags)
    assert metrics.auroc(labels, logits) > 0.9
    assert inner_folds.log_loss(labels, logits) < 0.5


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: learner["name"])
def test_a_score_does_not_depend_on_the_order_of_images_nor_on_other_patients(learner: dict[str, Any]) -> None:
    coefficients = once(learner["name"])
    bags, _ = bag_cohort.bags((3, 3), seed=2)
    together = scoring.logits(learner["name"], coefficients, bags)
    turned = scoring.logits(learner["name"], coefficients, [bag[::-1] for bag in bags])
    alone = [scoring.logits(learner["name"], coefficients, [bag])[0] for bag in bags]
    np.testing.assert_allclose(turned, together, rtol=1e-9)
    assert alone == together.tolist()
    one_image = scoring.logits(learner["name"], coefficients, [bags[0][:1]])
    assert np.isfinite(one_image).all()


def test_attention_scores_by_the_network_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forward pass that travels, in NumPy, is the trained one in Keras."""
    networks = []
    build = attention._network
    monkeypatch.setattr(attention, "_network", lambda *about: networks.append(build(*about)) or networks[-1])
    coefficients = fitted({**bag_cohort.ATTENTION, "members": 1})
    bags, _ = bag_cohort.bags((2, 2), seed=4)
    for bag in bags:
        scaled = ((bag - coefficients["mean"]) / coefficients["scale"]).astype(np.float32)
        by_keras = float(np.asarray(networks[-1](scaled[None], training=False))[0, 0])
        assert scoring.attention(coefficients, bag) == pytest.approx(by_keras, abs=1e-4)


def test_pooling_is_learned_from_patients_whom_the_regression_on_images_had_not_seen() -> None:
    """Of labels that mean nothing it learns nothing: logits of the very patients would separate them."""
    bags, _ = bag_cohort.bags((20, 20), blasts=0.0)
    labels = np.repeat([0, 1], 20)
    pairs = instances.held_out(bags, bags, labels, 1e-5, 4, 0)
    unseen = metrics.auroc(labels, pairs[:, 0])
    assert unseen < 0.7
    learned = instances.of_images(bags, labels, 1e-5)
    seen = [scoring.image_logits(learned, bag).mean() for bag in bags]
    assert metrics.auroc(labels, seen) > unseen + 0.15


def test_statistics_by_hand() -> None:
    bag = np.array([[0, 2], [2, 4], [4, 6]], dtype=np.float32)
    sd = np.sqrt(8 / 3)
    assert scoring.statistics(bag, np.array([0.5])).tolist() == pytest.approx([2, 4, sd, sd, 2, 4])


def test_either_class_weighs_half_whatever_its_number() -> None:
    labels, logits = np.array([0, 0, 0, 1]), np.array([-1.0, -1, -1, 2])
    by_hand = (np.log1p(np.exp(-1)) + np.log1p(np.exp(-2))) / 2
    assert inner_folds.log_loss(labels, logits) == pytest.approx(by_hand)
