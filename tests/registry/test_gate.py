"""A candidate takes the champion's place only if it is better on the patients both have scored out of fold."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scores import scores

from pipeline.common.params_judging import Gate
from pipeline.evaluation import metrics
from pipeline.registry import gate

RULES = Gate(min_gain=0.0, max_false_promotions=0.1, fewest_patients=10, draws=2000)


def test_a_better_one_is_promoted_and_a_worse_one_is_not() -> None:
    better = gate.judge(scores(3.0), scores(1.0, seed=1), [], RULES, 0)
    assert (better.decision, better.alias) == ("champion", "champion")
    assert better.figures["gain"] > 0
    assert better.figures["chance"] <= better.figures["allowed"] == pytest.approx(0.05)
    assert better.figures["patient_auroc"] > better.figures["champion_patient_auroc"]
    worse = gate.judge(scores(1.0, seed=1), scores(3.0), [], RULES, 0)
    assert (worse.decision, worse.alias) == ("challenger", "challenger")
    assert worse.figures["gain"] == pytest.approx(-better.figures["gain"])
    assert worse.reason.endswith("nobody can be better than the champion on these patients")  # it ranks all of them right
    missed = gate.judge(scores(1.5), scores(1.6, seed=2), [], RULES, 0)
    assert missed.decision == "challenger"
    assert missed.reason.endswith("needed: 0 or more, with at most 0.0500")


def test_a_scale_decides_nothing() -> None:
    """Neither a stretch nor a shift nor any other rising curve, in every fold another one, makes a model better or worse."""
    champion = scores(2.0)
    for same in (champion["logit"], champion["logit"] * 1.2, 4 * champion["logit"] - 3, np.sinh(champion["logit"])):
        verdict = gate.judge(champion.assign(logit=same + champion["fold"]), champion, [], RULES, 0)
        assert verdict.decision == "challenger"
        assert (verdict.figures["gain"], verdict.figures["chance"]) == (0, 1)
    candidate = scores(3.0, seed=1)
    judged = gate.judge(candidate, champion, [], RULES, 0)
    timid = candidate.assign(logit=candidate["logit"] / 20 + 5)
    assert gate.judge(timid, champion, [], RULES, 0) == judged


def test_a_gain_must_be_as_large_as_the_rules_say_and_as_sure() -> None:
    candidate, champion = scores(3.0), scores(1.0, seed=1)
    gain = gate.judge(candidate, champion, [], RULES, 0).figures["gain"]
    demanding = RULES.model_copy(update={"min_gain": gain + 0.001})
    assert gate.judge(candidate, champion, [], demanding, 0).decision == "challenger"
    assert gate.judge(candidate, champion, [], RULES.model_copy(update={"max_false_promotions": 0.0}), 0).alias == "challenger"


def test_a_champion_of_few_patients_is_said_to_be_one() -> None:
    table = scores(1.0)
    one_each = table.groupby("label").head(1)
    assert gate.judge(one_each, None, [], RULES, 0).reason == (
        "no champion yet, and all floors are reached, but only 1 control and 1 patient of the subtype were tested: too few to "
        "rely on it (register.gate.fewest_patients is 10)"
    )
    assert "only 10 controls and 9 patients" in gate.on_few(
        pd.concat([table.groupby("label").head(9), table[table["label"] == 0].iloc[9:10]]), RULES
    )
    assert gate.on_few(table.groupby("label").head(10), RULES) == ""


@given(st.lists(st.integers(1, 4), max_size=12), st.floats(0.01, 0.5))
def test_however_many_come_and_however_together_they_have_the_stated_chance_at_most(groups: list[int], rate: float) -> None:
    spent, before = 0.0, 0
    for together in groups:
        spent += together * gate.level(rate, before, together)
        before += together
    assert spent == pytest.approx(rate * before / (before + 1))
    assert gate.level(rate, 0) == pytest.approx(rate / 2)


def test_more_attempts_ask_for_more() -> None:
    candidate, champion = scores(1.3, seed=1), scores(1.0, seed=9)
    chance = gate.judge(candidate, champion, [], RULES, 0).figures["chance"]
    assert gate.level(0.1, 9) < chance < gate.level(0.1, 0)
    assert gate.judge(candidate, champion, [], RULES, 0).decision == "champion"
    assert gate.judge(candidate, champion, [], RULES, 0, compared_before=9).decision == "challenger"


def test_a_patient_is_the_same_when_an_image_comes_or_goes() -> None:
    candidate, champion = scores(3.0), scores(1.0, seed=1)
    judged = gate.judge(candidate, champion, [], RULES, 0)
    before = champion.assign(patient="gone" + champion["patient"] + " " + champion["patient"])
    now = candidate.assign(patient=candidate["patient"] + " new" + candidate["patient"])
    assert gate.judge(now, before.sample(frac=1, random_state=1), [], RULES, 0).figures == judged.figures


def test_only_patients_whom_both_have_scored_count() -> None:
    candidate, champion = scores(3.0), scores(1.0, seed=1)
    strangers = champion.assign(patient="other " + champion["patient"], logit=-9 * (champion["label"] - 0.5))
    judged = gate.judge(candidate, champion, [], RULES, 0)
    assert gate.judge(candidate, pd.concat([champion, strangers]), [], RULES, 0) == judged
    few = champion[(champion["label"] == 0) | (champion["patient"] < "p33")]
    verdict = gate.judge(candidate, few, [], RULES, 0)
    assert (verdict.decision, verdict.alias, verdict.figures) == ("not comparable", "challenger", {})
    assert verdict.reason == "both have scored 30 controls and 3 subtype's patients out of fold, 10 of each are needed"


def test_other_folds_and_a_champion_without_scores_cannot_be_compared() -> None:
    verdict = gate.judge(scores(3.0, folds=1), scores(1.0), [], RULES, 0)
    assert (verdict.decision, verdict.reason) == ("not comparable", "its scores are of 1 fold, the champion's of 5")
    champion = scores(1.0, seed=1)
    apart = champion[(champion["fold"] < 3) == (champion["label"] == 0)]
    verdict = gate.judge(scores(3.0), apart, [], RULES.model_copy(update={"fewest_patients": 2}), 0)
    assert verdict.decision == "not comparable", "patients are ranked within folds, and none has both classes"
    nothing = pd.DataFrame(columns=gate.SCORES)
    assert gate.judge(scores(3.0), nothing, [], RULES, 0).decision == "not comparable"


def test_the_floors_come_first_and_decide_alone_where_there_is_no_champion() -> None:
    missed = ["patient_sensitivity 0.400 is below the floor 0.500"]
    assert gate.judge(scores(3.0), scores(1.0), missed, RULES, 0) == gate.Verdict("challenger", missed[0], {})
    assert gate.judge(scores(3.0), None, missed, RULES, 0).decision == "challenger"
    assert gate.judge(scores(1.0), None, [], RULES, 0).decision == "champion"


@given(st.integers(0, 10_000), st.integers(2, 20), st.integers(2, 20), st.integers(1, 3))
def test_the_gain_is_the_difference_of_the_aurocs_within_folds(seed: int, controls: int, patients: int, folds: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [controls, patients])
    fold = np.concatenate([np.arange(controls), np.arange(patients)]) % folds
    both = pd.DataFrame({"label": y, "fold": fold, "fold_champion": fold})
    both["logit"], both["logit_champion"] = rng.normal(size=(2, len(y))).round(1)  # with ties
    found = gate.compare(both, 100, seed)
    ours, theirs = (metrics.within_fold_auroc(y, both[name], fold) for name in ("logit", "logit_champion"))
    assert found["patient_auroc"] == pytest.approx(ours)
    assert found["champion_patient_auroc"] == pytest.approx(theirs)
    assert found["gain"] == pytest.approx(ours - theirs, abs=1e-12)
    assert found["gain_low"] <= found["gain"] <= found["gain_high"]


def test_the_chance_is_that_of_all_exchanges_done_one_by_one() -> None:
    """By hand: 2^9 exchanges of nine patients' places, each ranked anew."""
    rng = np.random.default_rng(4)
    y = np.repeat([0, 1], [5, 4])
    logits = np.stack([y * 1.2, y * 0.2]) + rng.normal(size=(2, 9))
    places = np.argsort(np.argsort(logits, axis=1), axis=1)

    def gain(of: np.ndarray) -> float:
        above = np.sign(of[:, y == 1][:, :, None] - of[:, y == 0][:, None, :]).mean(axis=(1, 2)) / 2
        return float(above[0] - above[1])

    exchanged = [
        gain(np.where(np.array(swap), places[::-1], places)) for swap in itertools.product((False, True), repeat=len(y))
    ]
    by_pair = (
        np.sign(places[0, y == 1][:, None] - places[0, y == 0]) - np.sign(places[1, y == 1][:, None] - places[1, y == 0])
    ) / 2
    pairs = list(itertools.product(range(4), range(5)))
    shared = [by_pair[p] * by_pair[q] for p in pairs for q in pairs if p[0] == q[0] or p[1] == q[1]]
    apart = [by_pair[p] * by_pair[q] for p in pairs for q in pairs if p[0] != q[0] and p[1] != q[1]]
    variance = sum(product - np.mean(apart) for product in shared) / 20**2
    wider = np.sqrt(variance / np.var(exchanged))
    assert wider > 1
    exact = np.mean(np.array(exchanged) * wider >= gain(places) - 1e-9)
    assert 0.02 < exact < 0.5
    both = pd.DataFrame({"label": y, "fold": 0, "fold_champion": 0, "logit": logits[0], "logit_champion": logits[1]})
    assert gate.compare(both, 50_000, 0)["chance"] == pytest.approx(exact, abs=0.01)


def test_two_that_rank_everybody_right_are_not_said_to_be_equal_for_certain() -> None:
    y = np.repeat([0, 1], [6, 4])
    both = pd.DataFrame({"label": y, "fold": 0, "fold_champion": 0, "logit": y + np.arange(10) / 20, "logit_champion": y * 1.0})
    found = gate.compare(both, 100, 0)
    assert (found["gain"], found["chance"]) == (0, 1)
    assert found["gain_high"] == -found["gain_low"] == pytest.approx(1 - 0.025 ** (1 / 4))
