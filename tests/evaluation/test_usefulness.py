"""Predictive values and net benefit, by hand: 10 patients of the subtype and 20 controls.

Logits at a prevalence of a half: subtype 2 x8, -2 x2; control 2 x4, -2 x16. So sensitivity .8, specificity .8.
"""

import math

import pytest

from pipeline.evaluation import usefulness

LABELS = [1] * 10 + [0] * 20
LOGITS = [2.0] * 8 + [-2.0] * 2 + [2.0] * 4 + [-2.0] * 16
CALLED = [x > 0 for x in LOGITS]


@pytest.mark.parametrize(
    ("prevalence", "ppv", "npv"),
    [(0.5, 0.8, 0.8), (0.1, 0.08 / 0.26, 0.72 / 0.74), (0.01, 0.008 / 0.206, 0.792 / 0.794)],
)
def test_predictive_values_by_bayes_rule(prevalence, ppv, npv) -> None:
    found = usefulness.predictive_values(LABELS, CALLED, prevalence, 0.95)
    assert found.ppv.value == pytest.approx(ppv)
    assert found.npv.value == pytest.approx(npv)
    for value in (found.ppv, found.npv):
        assert 0 <= value.low < value.value < value.high <= 1


def test_without_a_call_there_is_no_predictive_value() -> None:
    found = usefulness.predictive_values([1, 0], [False, False], 0.1, 0.95)
    assert math.isnan(found.ppv.value)
    assert found.npv.value == pytest.approx(0.9)


# At a prevalence of .2 logits move by log(1/4) = -1.386: risks are .649 (logit .614) and .033 (logit -3.386).
@pytest.mark.parametrize(
    ("risk", "benefit", "everybody"),
    [
        (0.02, 0.2 - 0.8 / 49, 0.2 - 0.8 / 49),  # below both risks: everybody is acted on
        (0.1, 0.2 * 0.8 - 0.8 * 0.2 / 9, 0.2 - 0.8 / 9),
        (0.5, 0.2 * 0.8 - 0.8 * 0.2, 0.2 - 0.8),
        (0.7, 0.0, 0.2 - 0.8 * 7 / 3),  # above both: nobody is
    ],
)
def test_net_benefit_by_hand(risk, benefit, everybody) -> None:
    (found,) = usefulness.decision_curve(LABELS, LOGITS, 0.2, [risk], 0.95)
    assert found.threshold == risk
    assert found.scores.value == pytest.approx(benefit)
    assert found.everybody == pytest.approx(everybody)
    assert found.scores.low <= found.scores.value <= found.scores.high


def test_a_class_that_is_missing_gives_no_benefit() -> None:
    (found,) = usefulness.decision_curve([1, 1], [1.0, 2.0], 0.2, [0.1], 0.95)
    assert math.isnan(found.scores.value)
