import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation import figures, resampling
from pipeline.evaluation.figures import Interval


def test_every_figure_that_is_measured_has_its_words_and_no_other() -> None:
    rows = pd.DataFrame({"fold": 0, "patient": list("abcd"), "label": [0, 0, 1, 1], "logit": [-2.0, 1.0, -1.0, 2.0]})
    sample = resampling.summarise(rows, 0.5)
    measured = resampling.figures(sample, resampling.unweighted(sample))
    assert list(figures.ALL) == list(measured)
    for key in figures.keys(figures.HEADLINE) + figures.keys(figures.COMPARED):
        assert key.split("_", 1)[1] in measured


def test_what_is_called_a_share_lies_between_0_and_1_and_a_loss_falls_as_patients_are_ranked_better() -> None:
    def measured(logits: list[float]) -> dict[str, float]:
        rows = pd.DataFrame({"fold": 0, "patient": list("abcd"), "label": [0, 0, 1, 1], "logit": logits})
        sample = resampling.summarise(rows, 0.5)
        return {name: float(value[0]) for name, value in resampling.figures(sample, resampling.unweighted(sample)).items()}

    right, wrong = measured([-3.0, -2.0, 2.0, 3.0]), measured([3.0, 2.0, -2.0, -3.0])
    for name, figure in figures.ALL.items():
        assert (right[name] < wrong[name]) == figure.loss
        assert not figure.share or 0 <= min(right[name], wrong[name]) <= max(right[name], wrong[name]) <= 1


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("image_accuracy", "image accuracy"),
        ("patient_auroc", "patient AUROC"),
        ("patient_auprc", "patient AUPRC"),
        ("patient_brier", "patient Brier score"),
        ("image_balanced_accuracy", "image balanced accuracy"),
    ],
)
def test_a_key_in_words(key: str, words: str) -> None:
    assert figures.words(key) == words
    assert figures.words(key, direction=True) == words + (" (lower is better)" if "brier" in key else "")


def test_an_interval_is_written_one_way_with_as_many_digits_as_asked() -> None:
    interval = Interval(0.9, 0.8504, 1.0)
    assert f"{interval:.3f}" == "0.900 (0.850 to 1.000)"
    assert f"{interval:+.1f}" == "+0.9 (+0.9 to +1.0)"
    assert interval.bounds(".2f") == "0.85 to 1.00"


def test_an_interval_that_was_taken_apart_comes_back() -> None:
    interval = Interval(0.9, 0.8, float("nan"))
    apart = dict(figures.flat("f1", interval))
    assert list(apart) == ["f1", "f1_low", "f1_high"]
    again = figures.unflat({"support": 3, **apart}, "f1")
    np.testing.assert_equal(asdict(again), asdict(interval))
    assert interval.known is False
    assert Interval(**json.loads(json.dumps(asdict(interval)))).known is False
    assert Interval(0.9, 0.8, 1.0).known is True
