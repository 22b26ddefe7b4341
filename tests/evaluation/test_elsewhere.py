"""What a frozen model is worth elsewhere: against what is known by hand, or by how the scores were made."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.common.params_judging import Evaluate
from pipeline.evaluation import calibration, elsewhere, intervals, recalibration
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.pooling import probabilities

SETTINGS = Evaluate(threshold=0.5, target_specificity=0.95, fewest_controls=20, confidence=0.95, draws=200, bins=5)


def drawn(patients: int, intercept: float, slope: float, seed: int = 3) -> pd.DataFrame:
    """Patients, half of either class, whose true logits are `intercept` + `slope` times those that the model gave."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, 40 * patients)
    labels = (rng.random(len(true)) < probabilities(true)).astype(int)
    rows = np.concatenate([np.flatnonzero(labels == label)[: patients // 2] for label in (0, 1)])
    logits = (true[rows] - intercept) / slope
    return pd.DataFrame({"patient": [f"p{row}" for row in rows], "label": labels[rows], "logit": logits, "fold": 0}).assign(
        score=probabilities(logits)
    )


def test_a_difference_of_two_groups_has_newcombes_bounds() -> None:
    """56 of 70 and 48 of 80, by the Wilson bounds of each: table II, example (a), method 10, of Newcombe 1998."""
    there, home = Interval(0.8, 0.6919, 0.8770), Interval(0.6, 0.4904, 0.7003)
    found = elsewhere.difference(there, home)
    assert [found.value, found.low, found.high] == pytest.approx([0.2, 0.0524, 0.3339], abs=1e-3)


def test_a_difference_covers_what_two_models_really_differ_by() -> None:
    """Two groups of patients, of the same model: 0 lies within as often as it says, or oftener."""
    inside = 0
    for seed in range(30):
        one, other = drawn(40, 0, 1, seed), drawn(24, 0, 1, 1000 + seed)
        bounds = elsewhere.difference(*(intervals.patient_auroc(rows, 0.95) for rows in (one, other)))
        inside += bounds.low <= 0 <= bounds.high
    assert inside >= 27


def test_calibration_in_the_large_says_how_far_scores_are_off() -> None:
    found = elsewhere.calibrated(drawn(600, 0.8, 1.0), SETTINGS, seed=1)
    assert found.intercept.low < 0.8 < found.intercept.high
    assert found.intercept.low > 0
    assert found.predicted < found.observed.low
    bold = elsewhere.calibrated(drawn(600, 0.0, 0.5), SETTINGS, seed=1)
    assert bold.slope.low < 0.5 < bold.slope.high < 1


def test_recalibration_brings_back_what_was_planted_and_no_more_where_nothing_was() -> None:
    """Off by an intercept: four patients help already, and 32 reach nearly the best. In order: nothing is gained."""
    off, point = drawn(140, 1.2, 1.0), 0.5
    curve = recalibration.curve(off, point, draws=15, seed=5).set_index(["patients", "way"])
    assert list(dict.fromkeys(curve.index.get_level_values(0))) == [4, 8, 16, 32, 64, 128]
    true = off["logit"] + 1.2
    best = np.logaddexp(0, np.where(off["label"] == 1, -true, true)).mean()
    before, after = (curve.loc[(32, way), "log_loss"] for way in (recalibration.AS_REGISTERED, recalibration.INTERCEPT))
    assert after == pytest.approx(best, abs=0.03)
    assert before > best + 0.1
    assert curve.loc[(32, recalibration.INTERCEPT), "better"] == 1
    assert curve.loc[(32, recalibration.INTERCEPT), "sensitivity"] > curve.loc[(32, recalibration.AS_REGISTERED), "sensitivity"]
    fine = recalibration.curve(drawn(140, 0.0, 1.0), point, draws=15, seed=5).set_index(["patients", "way"])
    assert fine.loc[(4, recalibration.INTERCEPT), "log_loss"] > fine.loc[(4, recalibration.AS_REGISTERED), "log_loss"]


def test_it_takes_some_of_either_class_to_recalibrate_and_others_to_measure() -> None:
    patients = drawn(12, 0.0, 1.0)
    assert recalibration.sizes(patients["label"]) == [4]
    assert recalibration.sizes(patients["label"].head(5)) == []
    assert recalibration.curve(patients.head(6), 0.5, 5, 1).empty


def test_of_two_classes_that_are_apart_the_scores_stay_finite() -> None:
    apart = pd.DataFrame({"label": [0] * 10 + [1] * 10, "logit": [-3.0] * 10 + [3.0] * 10})
    assert np.isfinite(recalibration.curve(apart, 0.5, 5, 1)[list(recalibration.LOSSES)]).all(axis=None)


def test_what_is_not_known_is_null_in_the_file() -> None:
    """A class that a logit separates has no slope with bounds."""
    apart = pd.DataFrame({"patient": list("abcdefgh"), "fold": 0, "label": [0] * 4 + [1] * 4, "logit": [-3.0] * 4 + [3.0] * 4})
    apart = apart.assign(score=probabilities(apart["logit"]))
    found = elsewhere.found(None, apart, apart[["label", "logit"]], 0.5, {}, SETTINGS, 1)
    told = found.told()
    assert told["calibration"]["slope"]["value"] is None
    assert told["patient_auroc"]["value"] == 1
    assert told["home"] == {}


def test_intercept_and_slope_are_those_by_which_a_candidate_is_calibrated_at_home() -> None:
    patients = drawn(40, 0.7, 0.5)
    usual = calibration.patient_calibration(patients)
    found = recalibration.fitted(recalibration.BOTH, patients["label"].to_numpy(), patients["logit"].to_numpy())
    assert found == (usual.intercept, usual.slope)
