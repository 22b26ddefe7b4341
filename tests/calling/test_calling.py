"""One answer for a patient: nothing of it has seen him or her, sets keep their coverage, figures are what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bag_cohort
import numpy as np
import pandas as pd
import pytest

from pipeline.bags import scoring
from pipeline.calling import answer, calls, conformal, crossed, measures, model, multinomial, tests_by_class
from pipeline.calling.patients import Everybody
from pipeline.common import config
from pipeline.common.params_judging import Call
from pipeline.evaluation import every_class

SUBTYPES, FOLDS, OF_CLASS = ["NPM1", "PML_RARA"], 3, 7


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    more = {"subtypes": SUBTYPES, "call.penalties": [0.01, 0.1], "call.inner_folds": 2}
    return bag_cohort.settings(tmp_path, {**bag_cohort.POOLED, "penalties": [0.01], "quantiles": []}, **more)


def drawn(seed: int = 0, of_class: int = OF_CLASS) -> Everybody:
    """Three classes, each with images that lie elsewhere along a direction of its own."""
    rng = np.random.default_rng(seed)
    names = ["control", *SUBTYPES]
    rows, bags = [], []
    for place, name in enumerate(names):
        for number in range(of_class):
            bag = rng.normal(size=(8, 5))
            bag[:4, place] += 2
            bags.append(bag.astype(np.float32))
            rows.append((f"{name}{number}", name, number % FOLDS, 8))
    return Everybody(pd.DataFrame(rows, columns=["patient", "class", "fold", "images"]), bags, names, {})


def answers(settings: config.Config, everybody: Everybody) -> dict[str, np.ndarray]:
    """All that is said of the patients."""
    found = calls.joint(settings, everybody)
    tests = calls.binary_tests(settings, "bags", everybody)
    return {
        "probabilities": calls.calibrated(found.scores, everybody.labels),
        "stacked": calls.stacked(settings, tests, everybody),
        "p-values": conformal.out_of_fold(found.scores, everybody.labels),
        "tests": tests_by_class.scores(tests, everybody.labels),
    }


@pytest.mark.parametrize("what", ["class", "vectors"])
def test_nothing_said_of_a_patient_has_seen_him_or_anybody_of_his_fold(settings: config.Config, what: str) -> None:
    """Of another patient of the fold, neither class nor vectors change the answer; of other folds' patients they do."""
    everybody = drawn()
    before = answers(settings, everybody)
    changed = 0  # a control of fold 0
    table, bags = everybody.table.copy(), list(everybody.bags)
    if what == "class":
        table.loc[changed, "class"] = SUBTYPES[0]
    else:
        bags[changed] = bags[changed] + 3
    after = answers(settings, Everybody(table, bags, everybody.names, {}))
    same_fold = everybody.folds == everybody.folds[changed]
    untouched = same_fold if what == "class" else same_fold & (np.arange(len(bags)) != changed)
    assert untouched[changed] == (what == "class")
    for name, values in before.items():
        np.testing.assert_array_equal(values[untouched], after[name][untouched], err_msg=name)
        assert (values[~same_fold] != after[name][~same_fold]).any(), name


def test_of_a_dealing_with_roles_the_test_patients_alone_are_answered_and_nothing_rests_on_them(
    settings: config.Config,
) -> None:
    """A patient who tests changes nothing but his or her own row; who trains or validates changes every answer."""
    everybody = replace(drawn(), roles=True)
    tested, validating, training = (np.flatnonzero(everybody.folds == fold) for fold in (0, 1, 2))
    before = answers(settings, everybody)
    for values in before.values():
        assert np.isfinite(values[tested]).all()
        assert np.isnan(values[[*validating, *training]]).all()

    def of_changed(who: int) -> dict[str, np.ndarray]:
        bags = list(everybody.bags)
        bags[who] = bags[who] + 3
        return answers(settings, replace(everybody, bags=bags))

    after, of_training = of_changed(int(tested[0])), of_changed(int(training[0]))
    of_validating = of_changed(int(validating[0]))
    for name, values in before.items():
        np.testing.assert_array_equal(values[tested[1:]], after[name][tested[1:]], err_msg=name)
        for changed in (of_training, of_validating) if name != "p-values" else ():  # of so few they have three values
            assert (values[tested] != changed[name][tested]).any(), name
    found = calls.joint(settings, everybody)
    assert (found.scores.numbers, found.scores.known) == ([0], [1])
    against = [one.patients for one in conformal.promises(found.scores, everybody.labels, 3, 0.5)]
    assert against == np.bincount(everybody.labels[validating]).tolist()
    kept = model.of_fold(found, everybody.labels, 1)  # the file that answers new patients, as the tested ones were
    bags = [everybody.bags[row] for row in tested]
    table = np.stack([scoring.statistics(bag, np.array(settings.call.quantiles)) for bag in bags])
    new = answer.logits({name: np.asarray(kept[name], dtype=np.float64) for name in ("weights", "intercept")}, table)
    np.testing.assert_allclose(new, found.scores.tested(0))


def test_probabilities_add_up_and_are_honest(settings: config.Config) -> None:
    found = answers(settings, drawn(of_class=20))
    labels = drawn(of_class=20).labels
    for name in ("probabilities", "stacked"):
        np.testing.assert_allclose(found[name].sum(axis=1), 1)
        assert measures.log_loss(labels, found[name]) < 0.7 * np.log(3), name
    assert calls.temperature(labels, np.log(found["probabilities"])) == pytest.approx(1, abs=0.35)


def test_no_score_is_of_a_patient_who_was_learned_from() -> None:
    folds = np.arange(12) % 4
    learned: dict[tuple[int, int], set[int]] = {}

    def fit(rows: np.ndarray, without: tuple[int, int]) -> crossed.Scores:
        learned[without] = set(rows.tolist())
        return lambda others: np.full((len(others), 1), without[0] * 10.0 + without[1])

    found = crossed.cross(folds, fit)
    assert len(found.pairs) == 6
    for pair, scores in found.pairs.items():
        assert set(np.flatnonzero(np.isfinite(scores[:, 0]))) == set(range(12)) - learned[pair]
        assert {int(fold) for fold in folds[list(learned[pair])]} == set(range(4)) - set(pair)
    rows, values = found.others(1)
    assert set(folds[rows]) == {0, 2, 3}
    assert dict(zip(folds[rows].tolist(), values[:, 0].tolist(), strict=True)) == {0: 1.0, 2: 12.0, 3: 13.0}
    assert found.tested(1)[:, 0].tolist() == [pytest.approx((1 + 12 + 13) / 3)] * 3


def test_the_regression_weighs_classes_alike_and_is_the_plain_one() -> None:
    """Fitted in the patients' own directions, it is what a fit to all features gives."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [20, 6, 9])
    table = rng.normal(size=(35, 50)) + labels[:, None] * 0.3
    settings = Call(candidates=[], coverage=0.9, quantiles=[], penalties=[0.01], inner_folds=2)
    found = multinomial.fit(table, labels, 3, settings, 1)
    mean = table.mean(axis=0)
    scale = np.sqrt(((table - mean) ** 2).sum(axis=1).mean())
    weights = 1 / 3 / np.bincount(labels)[labels]
    plain = LogisticRegression(C=100, tol=1e-9, max_iter=5000).fit((table - mean) / scale, labels, sample_weight=weights)
    expected = plain.predict_proba((table - mean) / scale)
    np.testing.assert_allclose(answer.probabilities(answer.logits(found, table)), expected, atol=1e-4)
    by_class = [expected[labels == label].mean(axis=0) for label in range(3)]
    np.testing.assert_allclose(np.mean(by_class, axis=0), 1 / 3, atol=1e-4)


def test_p_values_by_hand() -> None:
    known = [(np.array([0, 0, 1]), np.array([0.1, 0.5, 0.3])), (np.array([0, 1]), np.array([0.2, 0.9]))]
    own = [np.array([[0.3, 0.35]]), np.array([[0.2, 0.95]])]
    # class 0: of 3 known, .5 of fold one is stranger and .2 of fold two as strange; class 1: of 2 nobody is
    np.testing.assert_allclose(answer.p_values(known, own), [[3 / 4, 1 / 3]])


def test_between_two_known_patients_a_rank_is_between_theirs() -> None:
    known = [(np.array([0, 0, 0, 0]), np.array([0.2, 0.4, 0.4, 0.8]))]

    def p_value(own: float) -> float:
        return float(answer.p_values(known, [np.array([[own]])])[0, 0])

    assert p_value(0.1) == 1  # nobody is less strange
    assert p_value(0.25) == pytest.approx((1 + 3 - 0.25) / 5)
    assert p_value(0.4) == pytest.approx((1 + 3) / 5)  # as strange as two
    assert p_value(0.5) == pytest.approx((1 + 1 - 0.25) / 5)
    assert p_value(0.9) == pytest.approx(1 / 5)  # never less than one rank: nobody is stranger
    falling = [p_value(own) for own in np.linspace(0.4001, 1, 50)]
    assert falling == sorted(falling, reverse=True)


def test_inside_and_in_words() -> None:
    assert answer.inside(np.array([0.1, 0.1000001, 0.0999, 0.5]), 0.9).tolist() == [False, True, False, True]
    assert answer.in_words([]) == "none of these"
    assert answer.in_words(["control"]) == "control"
    assert answer.in_words(["control", "NPM1"]) == "can't say: control or NPM1"


@pytest.mark.parametrize(
    ("patients", "coverage", "kept", "needed"),
    [(9, 0.9, True, 9), (8, 0.9, False, 9), (18, 0.95, False, 19), (19, 0.95, True, 19), (48, 0.9, True, 9)],
)
def test_what_so_few_patients_can_promise(patients: int, coverage: float, kept: bool, needed: int) -> None:
    found = conformal.promise(patients, coverage)
    assert (found.kept, found.needed) == (kept, needed)
    assert conformal.promise(patients, found.highest).kept
    assert not conformal.promise(patients, found.highest + 0.001).kept


def test_no_coverage_is_advised_that_params_yaml_refuses() -> None:
    assert conformal.promise(18, 0.95).advice == "More patients, or call.coverage of 0.94 at most"
    assert [conformal.promise(patients, 0.9).advice for patients in (0, 1)] == ["More patients"] * 2


def test_sets_hold_the_class_of_new_patients_as_often_as_is_asked_for() -> None:
    """Over cohorts; `bench/call.py` has the table."""
    rng = np.random.default_rng(5)
    known = config.load(Path(__file__).parents[2] / "params.yaml")
    settings = known.model_copy(update={"call": known.call.model_copy(update={"penalties": [0.01]})})
    centres = np.eye(3, 6) * 1.5
    held, of_everybody = [], []
    for _ in range(16):
        labels = np.repeat([0, 1, 2], 15)
        table = pd.DataFrame({"class": [f"c{label}" for label in labels], "fold": np.tile(np.arange(5), 9)})
        everybody = Everybody(table, [], ["c0", "c1", "c2"], {})
        found = calls.regressions(settings, centres[labels] + rng.normal(size=(45, 6)), everybody)
        own = conformal.out_of_fold(found.scores, labels)
        of_everybody.append(answer.inside(own, 0.8)[np.arange(45), labels].mean())
        learned = [model.of_fold(found, labels, k) for k in range(5)]
        theirs = np.repeat([0, 1, 2], 30)
        new = centres[theirs] + rng.normal(size=(90, 6))
        strange = [answer.strangeness(answer.logits(one, new)) for one in learned]
        p_values = answer.p_values([(one["classes"], one["strangeness"]) for one in learned], strange)
        held.append(answer.inside(p_values, 0.8)[np.arange(90), theirs].mean())
    assert np.mean(held) == pytest.approx(0.8, abs=0.03)
    assert np.mean(of_everybody) == pytest.approx(0.8, abs=0.03)


def test_figures_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    called = [
        [0.6, 0.3, 0.1],
        [0.6, 0.3, 0.1],
        [0.6, 0.3, 0.1],
        [0.3, 0.6, 0.1],
        [0.1, 0.6, 0.3],
        [0.3, 0.1, 0.6],
        [0.6, 0.1, 0.3],
    ]
    probabilities = np.array([*called, [0.6, 0.3, 0.1]])
    found = measures.of_calls(labels, probabilities, 200, 1, 0.95)
    assert found["balanced_accuracy"].value == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert found["top_2"].value == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert found["macro_f1"].value == pytest.approx((2 * 3 / (4 + 5) + 2 * 1 / (2 + 2) + 0) / 3)
    assert found["balanced_accuracy"].low < found["balanced_accuracy"].value < found["balanced_accuracy"].high
    assert measures.confusion(labels, probabilities.argmax(axis=1), 3).tolist() == [[3, 1, 0], [0, 1, 1], [2, 0, 0]]
    sets = np.array([[1, 0, 0]] * 3 + [[0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 1]], dtype=bool)
    of_sets = measures.of_sets(labels, sets, 0.95)
    assert of_sets["coverage"].value == 6 / 8
    assert of_sets["single_share"].value == 5 / 8
    assert of_sets["single_right"].value == 4 / 5
    everything = measures.of_sets(labels, np.ones_like(sets), 0.95)
    assert {name: interval.value for name, interval in everything.items()} == {"coverage": 1, "single_share": 0}


def test_a_test_is_asked_about_every_class() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    scored = np.array([[0.2, 0.6], [0.4, 0.1], [0.9, 0.7], [0.3, 0.8], [0.8, 0.9]])
    found = tests_by_class.matrix(scored, labels, ["control", "A", "B"], 0.5, 0.95).set_index(["test", "class"])
    assert found["called"].to_dict() == {
        ("A", "control"): 0, ("A", "A"): 1, ("A", "B"): 1, ("B", "control"): 1, ("B", "A"): 2, ("B", "B"): 1,
    }  # fmt: skip
    assert found.loc[("A", "B"), "how"] == every_class.OTHERS
    assert found.loc[("B", "control"), "how"] == every_class.OWN
