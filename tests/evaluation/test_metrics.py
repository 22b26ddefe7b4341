"""Figures against tables worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation import metrics, pooling, published_figures
from pipeline.networks import loss

LABELS = np.array([0, 0, 0, 0, 1, 1])
CALLED = np.array([False, False, False, True, True, False])


def test_rates_by_hand() -> None:
    assert metrics.confusion(LABELS, CALLED).tolist() == [[3, 1], [1, 1]]
    assert loss.balanced_accuracy(LABELS, CALLED) == 0.625


def test_auroc_is_the_share_of_pairs_in_order_ties_counting_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.4, 0.9])
    pairs = [(c, s) for c in scores[LABELS == 0] for s in scores[LABELS == 1]]
    by_hand = sum(1.0 if s > c else 0.5 if s == c else 0.0 for c, s in pairs) / len(pairs)
    assert metrics.auroc(LABELS, scores) == pytest.approx(by_hand)
    assert math.isnan(metrics.auroc(np.zeros(4), scores[:4]))


def test_roc_curve_runs_from_corner_to_corner_and_encloses_the_auroc() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.4, 0.9])
    curve = metrics.roc_curve(LABELS, scores)
    assert curve[["fpr", "tpr"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert np.trapezoid(curve["tpr"], curve["fpr"]) == pytest.approx(metrics.auroc(LABELS, scores))


def test_probabilities_and_loss_survive_any_logit() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert pooling.probabilities([-1e4, 0, 1e4]).tolist() == [0.0, 0.5, 1.0]
        assert loss.balanced_log_loss([0, 1], [1e4, -1e4]) == 1e4
    assert loss.balanced_log_loss([0, 0, 0, 1], [0, 0, 0, 0]) == pytest.approx(math.log(2))


def test_loss_weighs_the_classes_alike() -> None:
    few, many = [0, 1], [0] * 50 + [1]
    assert loss.balanced_log_loss(few, [2.0, 1.0]) == pytest.approx(loss.balanced_log_loss(many, [2.0] * 50 + [1.0]))


def test_a_patients_score_is_the_probability_at_the_mean_logit() -> None:
    predictions = pd.DataFrame({"fold": 0, "patient": ["A", "A", "B"], "label": [1, 1, 0], "logit": [3.0, -1.0, -2.0]})
    patients = metrics.patient_scores(predictions)
    assert patients["images"].tolist() == [2, 1]
    assert patients["score"].to_numpy() == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(2))])


def test_other_poolings_by_hand() -> None:
    images = pd.DataFrame({"fold": 0, "patient": ["A"] * 5, "label": 1, "logit": [-2.0, -1.0, 0.5, 3.0, 9.0]})
    pooled = {name: table["logit"].tolist() for name, table in metrics.other_poolings(images, 0.5).items()}
    assert pooled == {
        "median of the logits": [0.5],
        "mean of the highest quarter": [6.0],
        "share of images called the subtype": [0.6],
    }
    assert metrics.other_poolings(images, 0.7)["share of images called the subtype"]["logit"].tolist() == [0.4]


def test_the_published_figures_agree_with_each_other() -> None:
    """F1 follows from precision and recall, accuracy from the recalls at equal support; figures have two decimals.

    With one exception the published figures are consistent within rounding, which a slip of the pen here would break.
    """
    for subtype, figures in published_figures.FIGURES.items():
        for precision, recall, f1 in zip(figures.precision, figures.recall, figures.f1, strict=True):
            assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=0.0151), subtype
        assert sum(figures.recall) / 2 == pytest.approx(figures.accuracy, abs=0.0101), subtype
