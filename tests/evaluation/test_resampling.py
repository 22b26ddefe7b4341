"""Figures under weights of patients, against scikit-learn on rows that really are repeated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cohorts import scored
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline.evaluation import resampling
from pipeline.evaluation.pooling import probabilities


def by_scikit_learn(rows: pd.DataFrame, threshold: float) -> dict[str, float]:
    y, score = rows["label"].to_numpy(), probabilities(rows["logit"])
    called = (score > threshold).astype(int)
    alike = np.where(y == 1, 1 / y.sum(), 1 / (1 - y).sum())  # both classes weigh the same
    in_order = pairs = 0.0
    for _, fold in rows.groupby("fold"):
        if 0 < fold["label"].sum() < len(fold):
            possible = fold["label"].sum() * (1 - fold["label"]).sum()
            in_order, pairs = in_order + sk.roc_auc_score(fold["label"], fold["logit"]) * possible, pairs + possible
    return {
        "auroc": in_order / pairs,
        "auroc_pooled": sk.roc_auc_score(y, rows["logit"]),
        "auprc": sk.average_precision_score(y, rows["logit"]),
        "accuracy": sk.accuracy_score(y, called),
        "sensitivity": sk.recall_score(y, called),
        "specificity": sk.recall_score(y, called, pos_label=0),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "f1": sk.f1_score(y, called),
        "mcc": sk.matthews_corrcoef(y, called),
        "brier": sk.brier_score_loss(y, score, sample_weight=alike),
        "log_loss": sk.log_loss(y, score, sample_weight=alike),
    }


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 3), st.integers(0, 10_000), st.booleans(), st.floats(0.2, 0.8))
def test_every_figure_is_scikit_learns(controls: int, others: int, folds: int, seed: int, ties: bool, threshold: float) -> None:
    rows = scored(controls, others, folds=folds, seed=seed, ties=ties)
    sample = resampling.summarise(rows.sample(frac=1, random_state=seed), threshold)
    found = resampling.figures(sample, resampling.unweighted(sample))
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(by_scikit_learn(rows, threshold))


@given(st.integers(0, 10_000))
def test_a_weight_is_a_patient_repeated_with_all_images(seed: int) -> None:
    rows = scored(5, 6, folds=2, seed=seed, ties=True)
    sample = resampling.summarise(rows, 0.4)
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, len(sample.labels)).astype(float)
    weights[[0, -1]] = 1  # one of each class in any case
    patients = rows.groupby(["fold", "patient", "label"]).size().index
    own = {key: rows.set_index(["fold", "patient", "label"]).loc[[key]].reset_index() for key in patients}
    repeated = pd.concat([own[key] for key, times in zip(patients, weights, strict=True) for _ in range(int(times))])
    assume(repeated.groupby("fold")["label"].nunique().max() == 2)  # else no pair is of one fold
    found = resampling.figures(sample, weights[None, :])
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(by_scikit_learn(repeated, 0.4))


@pytest.mark.parametrize("folds", [1, 5])
@pytest.mark.parametrize("count", [5, 12])
def test_draws_spread_a_mean_as_much_as_other_patients_would(folds: int, count: int) -> None:
    """Also with one or two patients a stratum, where the plain bootstrap has no spread or half of it."""
    rows = pd.DataFrame({"fold": np.arange(2 * count) % folds, "label": np.repeat([0, 1], count)})
    rows = rows.assign(patient=[f"P{n}" for n in range(2 * count)], logit=np.random.default_rng(1).normal(size=2 * count))
    sample = resampling.summarise(rows, 0.5)
    weights = resampling.draw(sample, 20_000, seed=3)
    assert weights.sum(axis=1) == pytest.approx(2 * count)
    values = np.random.default_rng(2).normal(size=2 * count)
    for label in (0, 1):
        own = sample.labels == label
        means = weights[:, own] @ values[own] / own.sum()
        strata = [values[own]] if count // folds < 2 else [values[own & (sample.folds == k)] for k in range(folds)]
        variance = sum(len(part) * part.var(ddof=1) for part in strata) / own.sum() ** 2
        assert means.var() == pytest.approx(variance, rel=0.05)


def test_the_same_seed_gives_the_same_draws() -> None:
    sample = resampling.summarise(scored(6, 6, folds=2), 0.5)
    assert (resampling.draw(sample, 50, seed=1) == resampling.draw(sample, 50, seed=1)).all()
    assert (resampling.draw(sample, 50, seed=1) != resampling.draw(sample, 50, seed=2)).any()


def test_curves_are_scikit_learns() -> None:
    rows = scored(6, 6, ties=True)
    sample = resampling.summarise(rows, 0.5)
    ((fpr, tpr, precision),) = resampling.curves(sample, resampling.unweighted(sample))
    theirs = sk.roc_curve(rows["label"], rows["logit"], drop_intermediate=False)
    assert fpr == pytest.approx(theirs[0])
    assert tpr == pytest.approx(theirs[1])
    pr = sk.precision_recall_curve(rows["label"], rows["logit"])
    assert precision[1:] == pytest.approx(pr[0][:-1][::-1])
