"""A candidate takes the champion's place only if it is better on the patients both have scored out of fold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scores import scores
from sklearn.metrics import brier_score_loss

from pipeline.common.config import Gate
from pipeline.evaluation import pooling
from pipeline.registry import gate

RULES = Gate(min_gain=0.0, max_probability_worse=0.1, fewest_patients=10, draws=500)


def test_a_better_one_is_promoted_and_a_worse_one_is_not() -> None:
    better = gate.judge(scores(3.0), scores(1.0, seed=1), [], RULES, 0)
    assert (better.decision, better.alias) == ("champion", "champion")
    assert better.figures["gain"] > 0
    assert better.figures["probability_worse"] < 0.1
    assert better.figures["patient_auroc"] > better.figures["champion_patient_auroc"]
    worse = gate.judge(scores(1.0, seed=1), scores(3.0), [], RULES, 0)
    assert (worse.decision, worse.alias) == ("challenger", "challenger")
    assert worse.figures["gain"] == pytest.approx(-better.figures["gain"])
    assert "needed: 0 or more, and at most 0.1" in worse.reason


def test_one_that_is_the_same_is_not_better() -> None:
    verdict = gate.judge(scores(2.0), scores(2.0), [], RULES, 0)
    assert verdict.decision == "challenger"
    assert verdict.figures["gain"] == 0
    assert verdict.figures["probability_worse"] == 1


def test_a_gain_must_be_as_large_as_the_rules_say_and_as_sure() -> None:
    candidate, champion = scores(3.0), scores(1.0, seed=1)
    gain = gate.judge(candidate, champion, [], RULES, 0).figures["gain"]
    demanding = RULES.model_copy(update={"min_gain": gain + 0.001})
    assert gate.judge(candidate, champion, [], demanding, 0).decision == "challenger"
    slightly = champion.assign(logit=champion["logit"] + 0.5)  # helps one class and harms the other
    verdict = gate.judge(slightly, champion, [], RULES.model_copy(update={"max_probability_worse": 0.0}), 0)
    assert verdict.decision == "challenger"


def test_only_patients_whom_both_have_scored_count() -> None:
    candidate, champion = scores(3.0), scores(1.0, seed=1)
    strangers = champion.assign(patient="other " + champion["patient"], logit=-9 * (champion["label"] - 0.5))
    judged = gate.judge(candidate, champion, [], RULES, 0)
    assert gate.judge(candidate, pd.concat([champion, strangers]), [], RULES, 0) == judged
    few = champion[(champion["label"] == 0) | (champion["patient"] < "p33")]
    verdict = gate.judge(candidate, few, [], RULES, 0)
    assert (verdict.decision, verdict.alias, verdict.figures) == ("not comparable", "challenger", {})
    assert verdict.reason == "both have scored 30 controls and 3 subtype's patients out of fold, 10 of each are needed"


def test_other_numbers_of_folds_and_a_champion_without_scores_cannot_be_compared() -> None:
    verdict = gate.judge(scores(3.0, folds=1), scores(1.0), [], RULES, 0)
    assert (verdict.decision, verdict.reason) == ("not comparable", "its scores are of 1 fold, the champion's of 5")
    nothing = pd.DataFrame(columns=gate.SCORES)
    assert gate.judge(scores(3.0), nothing, [], RULES, 0).decision == "not comparable"


def test_the_floors_come_first_and_decide_alone_where_there_is_no_champion() -> None:
    missed = ["patient_sensitivity 0.400 is below the floor 0.500"]
    assert gate.judge(scores(3.0), scores(1.0), missed, RULES, 0) == gate.Verdict("challenger", missed[0], {})
    assert gate.judge(scores(3.0), None, missed, RULES, 0).decision == "challenger"
    assert gate.judge(scores(1.0), None, [], RULES, 0).decision == "champion"


@given(st.integers(0, 10_000), st.integers(2, 20), st.integers(2, 20))
def test_the_gain_is_the_difference_of_scikit_learns_brier_scores(seed: int, controls: int, patients: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [controls, patients])
    both = pd.DataFrame({"label": y, "fold": 0, "fold_champion": 0, "logit": rng.normal(size=len(y)), "logit_champion": 0.0})
    both["logit_champion"] = rng.normal(size=len(y))
    weights = np.where(y == 1, 1 / patients, 1 / controls)
    probabilities = [pooling.probabilities(both[name]) for name in ("logit_champion", "logit")]
    brier = [brier_score_loss(y, of_model, sample_weight=weights) for of_model in probabilities]
    found = gate.compare(both, 100, seed)
    assert found["gain"] == pytest.approx(brier[0] - brier[1])
    assert found["gain_low"] <= found["gain_high"]


def test_the_draws_spread_as_the_mean_does() -> None:
    """Against the textbook's standard error of a difference of paired means."""
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], [40, 30])
    logits = rng.normal(size=(2, len(y)))
    both = pd.DataFrame({"label": y, "fold": 0, "fold_champion": 0, "logit": logits[0], "logit_champion": logits[1]})
    lower = (pooling.probabilities(both["logit_champion"]) - y) ** 2 - (pooling.probabilities(both["logit"]) - y) ** 2
    error = np.sqrt(sum(lower[y == label].var(ddof=1) / (y == label).sum() for label in (0, 1))) / 2
    found = gate.compare(both, 20_000, 0)
    assert found["gain_high"] - found["gain_low"] == pytest.approx(2 * 1.96 * error, rel=0.05)
