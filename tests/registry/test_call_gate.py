"""Which call becomes champion: the one that gives patients' own classes more probability than chance explains."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.common.params_judging import Gate
from pipeline.registry import call_gate

RULES = Gate(min_gain=0.0, max_false_promotions=0.1, fewest_patients=4, draws=1000)


def scores(gain: float, seed: int, classes: tuple[int, ...] = (12, 8, 8)) -> pd.DataFrame:
    """Everybody's logarithm of the probability of the own class; that of equal seeds differs by `gain` alone."""
    labels = np.repeat(np.arange(len(classes)), classes)
    logit = np.log(np.random.default_rng(seed).uniform(0.2, 0.6, len(labels))) + gain
    return pd.DataFrame({"patient": [f"p{n} q{n}" for n in range(len(labels))], "fold": 0, "label": labels, "logit": logit})


def test_the_better_call_takes_the_place_and_an_equal_one_does_not() -> None:
    champion = scores(0, seed=1)
    better = call_gate.judge(scores(0.3, seed=1), champion, [], RULES, 1)
    assert (better.decision, better.figures["gain"]) == ("champion", pytest.approx(0.3))
    assert "log loss over 28 shared patients lower by 0.3000" in better.reason
    for other in (scores(0, seed=1), scores(-0.3, seed=1)):
        assert call_gate.judge(other, champion, [], RULES, 1).decision == "challenger"
    later = call_gate.judge(scores(0.3, seed=1), champion, [], RULES, 1, compared_before=50)
    assert later.decision == ("champion" if better.figures["chance"] <= 0.1 / 51 / 52 else "challenger")


def test_classes_weigh_alike() -> None:
    champion, candidate = scores(0, seed=1, classes=(20, 5)), scores(0, seed=1, classes=(20, 5))
    candidate.loc[candidate["label"] == 1, "logit"] += 0.4
    verdict = call_gate.judge(candidate, champion, [], RULES, 1)
    assert verdict.figures["gain"] == pytest.approx(0.2)


def test_of_calls_no_better_than_the_champion_few_come_through() -> None:
    promoted = [
        call_gate.judge(scores(0, seed=2 * n), scores(0, seed=2 * n + 1), [], RULES, n).decision == "champion"
        for n in range(150)
    ]
    assert np.mean(promoted) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)  # the first of all may have half of .1


def test_what_cannot_be_compared_is_no_champion() -> None:
    strangers = scores(1, seed=1).assign(patient=lambda table: "x" + table["patient"].str.replace(" q", " y"))
    assert call_gate.judge(strangers, scores(0, seed=1), [], RULES, 1).decision == "not comparable"
    assert call_gate.judge(scores(0, seed=1), None, [], RULES, 1).decision == "champion"
    missed = call_gate.judge(scores(0, seed=1), None, ["it is not above chance"], RULES, 1)
    assert (missed.decision, missed.reason) == ("challenger", "it is not above chance")
