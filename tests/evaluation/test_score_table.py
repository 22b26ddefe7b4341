"""The table of scored images: calibrated, called, and which of them figures rest on."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from pipeline.evaluation import score_table

IMAGES = pd.DataFrame(
    {
        "fold": [0, 0, 0, 1, 1],
        "split": ["val", "test", "test", "test", "test"],
        "patient": ["A", "B", "C", "A", "D"],
        "path": ["a", "b", "c", "a", "d"],
        "label": [0, 0, 1, 0, 1],
        "logit": [3.0, -1.0, 0.5, 2.0, -2.0],
        "intercept": [-0.1, -0.1, -0.1, 0.2, 0.2],
        "slope": [2.0, 2.0, 2.0, 0.5, 0.5],
    }
)


def test_a_temperature_moves_scores_towards_a_half() -> None:
    found = score_table.calibrated(pd.DataFrame({"logit": [3.0, -1.0]}), 2.0)
    assert found["logit"].tolist() == [3.0, -1.0]
    assert found["calibrated_logit"].tolist() == [1.5, -0.5]
    assert found["score"].to_numpy() == pytest.approx([1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(0.5))])


def test_figures_rest_on_test_images_of_patients_whom_no_search_saw() -> None:
    everybody = score_table.table(score_table.calibrated(IMAGES, 1.0), [], 0.7)
    assert everybody["claimed"].tolist() == [False, True, True, True, True]
    assert everybody["called"].tolist() == [True, False, False, True, False]
    some = score_table.claimed(score_table.table(score_table.calibrated(IMAGES, 2.0), ["A"], 0.7))
    assert some["path"].tolist() == ["b", "c", "d"]
    assert some["logit"].tolist() == [-0.5, 0.25, -1.0]


def test_where_a_search_saw_a_whole_class_all_test_images_stay_to_look_at() -> None:
    table = score_table.table(score_table.calibrated(IMAGES, 1.0), ["C", "D"], 0.5)
    assert table["claimed"].tolist() == [False, True, True, True, True]


def test_a_patient_is_calibrated_as_the_fold_says() -> None:
    table = score_table.table(score_table.calibrated(IMAGES, 1.0), [], 0.5)
    found = score_table.patients(score_table.claimed(table))
    assert found[["fold", "patient"]].to_numpy().tolist() == [[0, "B"], [0, "C"], [1, "A"], [1, "D"]]
    assert found["logit"].tolist() == pytest.approx([-2.1, 0.9, 1.2, -0.8])
