"""Intervals against tables and formulas of others; their coverage is measured by bench/coverage.py."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from cohorts import scored
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn import metrics as sk

from pipeline.evaluation import auroc_bounds, intervals, metrics, resampling


def of(images: pd.DataFrame, **options: float) -> dict[str, intervals.Interval]:
    settings = {"threshold": 0.5, "draws": 300, "seed": 1, "confidence": 0.95, **options}
    return intervals.measure(images, metrics.patient_scores(images), **settings)


@given(st.integers(0, 30), st.integers(1, 30))
def test_the_exact_interval_is_that_of_the_beta_distribution(right: int, more: int) -> None:
    total = right + more
    found = intervals.proportion(right, total, 0.9)
    low = stats.beta.ppf(0.05, right, total - right + 1) if right else 0
    high = stats.beta.ppf(0.95, right + 1, total - right) if more else 1
    assert (found.value, found.low, found.high) == pytest.approx((right / total, low, high))


def approximately(interval: intervals.Interval) -> intervals.Interval:
    return intervals.Interval(*(pytest.approx(side) for side in (interval.value, interval.low, interval.high)))


def test_nobody_is_no_proportion() -> None:
    assert math.isnan(intervals.proportion(0, 0, 0.95).value)


@given(st.floats(0, 1), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.9, 0.95]))
def test_at_each_bound_of_an_auroc_the_value_is_z_standard_errors_away(a: float, m: int, n: int, confidence: float) -> None:
    found = auroc_bounds.hanley_mcneil(a, np.ones((m, n)), confidence)
    z = stats.norm.ppf((1 + confidence) / 2)
    for bound, edge in ((found.low, 0.0), (found.high, 1.0)):
        if bound != edge:
            q1, q2 = bound / (2 - bound), 2 * bound**2 / (1 + bound)  # Hanley & McNeil's two probabilities
            common = (m + n) / 2 - 1
            variance = (bound * (1 - bound) + common * (q1 - bound**2) + common * (q2 - bound**2)) / (m * n)
            assert abs(a - bound) == pytest.approx(z * math.sqrt(variance), abs=1e-6)
    assert 0 <= found.low <= a <= found.high <= 1
    assert found.low < found.high


@given(st.floats(0.01, 0.99), st.integers(1, 60))
def test_the_bounds_of_an_average_precision_are_equally_far_on_the_logit_scale(value: float, positives: int) -> None:
    found = intervals.auprc(value, positives, 0.95)
    odds = [math.log(x / (1 - x)) for x in (found.low, value, found.high)]
    assert odds[2] - odds[1] == pytest.approx(odds[1] - odds[0])
    assert odds[2] - odds[1] == pytest.approx(1.96 / math.sqrt(positives * value * (1 - value)), rel=1e-3)
    assert intervals.auprc(1.0, positives, 0.95) == intervals.proportion(positives, positives, 0.95)


def test_more_patients_and_fewer_folds_make_an_auroc_surer() -> None:
    def width(*pairs: tuple[int, int]) -> float:
        folds = [np.repeat(range(len(pairs)), [pair[side] for pair in pairs]) for side in (0, 1)]
        found = auroc_bounds.hanley_mcneil(0.9, folds[0][:, None] == folds[1][None, :], 0.95)
        return found.high - found.low

    assert width((60, 36)) < width((12, 7)) < width((6, 4))
    assert width((12, 7), (12, 7)) < width((12, 7))
    assert width((24, 14)) < width((12, 7), (12, 7))


def test_patients_who_are_all_called_right_do_not_make_it_certain() -> None:
    rows = scored(6, 4, apart=60)
    found = of(rows)
    for name, interval in found.items():
        if name.endswith(("brier", "log_loss")):  # as many of either class may be wrong, as surely as the surest is right
            level, loss = name.split("_", 1)
            table = rows if level == "image" else metrics.patient_scores(rows)
            if_wrong = 1 if loss == "brier" else table.groupby("patient")["logit"].mean().abs().max()
            counted = min(intervals.kish(table[table["label"] == label].groupby("patient").size()) for label in (0, 1))
            assert interval.value == pytest.approx(0, abs=1e-6)
            assert (interval.low, interval.high) == (0, pytest.approx((1 - 0.025 ** (1 / (2 * counted))) * if_wrong))
        else:
            assert interval.value == pytest.approx(1)
            assert interval.low < 0.9, name
            assert interval.high == pytest.approx(1), name
    assert found["patient_sensitivity"].low == pytest.approx(0.025 ** (1 / 4))


def test_every_figure_has_the_interval_that_the_documentation_says() -> None:
    rows = scored(30, 18, folds=2, seed=3)
    patients, found = metrics.patient_scores(rows), of(rows)
    y, called = patients["label"] == 1, patients["logit"] > 0
    value = {name.removeprefix("patient_"): figure.value for name, figure in found.items() if name.startswith("patient_")}
    right = [int((called[y == label] == label).sum()) for label in (False, True)]
    of_patients = resampling.summarise(patients, 0.5)
    everyone = np.ones((30, 18))
    expected = {
        "specificity": intervals.proportion(right[0], 30, 0.95),
        "sensitivity": intervals.proportion(right[1], 18, 0.95),
        "accuracy": intervals.proportion(sum(right), 48, 0.95),
        "auroc": auroc_bounds.interval(of_patients.in_order, of_patients.same_fold, 0.95),
        "auroc_pooled": auroc_bounds.interval(of_patients.in_order, everyone, 0.95),
        "auprc": intervals.auprc(value["auprc"], 18, 0.95),
    }
    for name, interval in expected.items():
        assert found[f"patient_{name}"] == approximately(interval), name
    sides = [intervals.proportion(k, n, 0.975) for k, n in zip(right, (30, 18), strict=True)]
    at = {end: [getattr(side, end) for side in sides] for end in ("low", "high")}
    for end, (specificity, sensitivity) in at.items():  # the table of as many patients whose rates stand at the bounds
        weights = np.array([30 * specificity, 30 * (1 - specificity), 18 * sensitivity, 18 * (1 - sensitivity)])
        table = {"y_true": [0, 0, 1, 1], "y_pred": [0, 1, 1, 0], "sample_weight": weights}
        for name, figure in (
            ("balanced_accuracy", sk.balanced_accuracy_score),
            ("f1", sk.f1_score),
            ("mcc", sk.matthews_corrcoef),
        ):
            assert getattr(found[f"patient_{name}"], end) == pytest.approx(figure(**table)), name
    drawn = {}
    for level, table in (("image", rows), ("patient", patients)):
        sample = resampling.summarise(table, 0.5)
        drawn[level] = resampling.figures(sample, resampling.draw(sample, 300, 1))
    resampled = [("image", name) for name in drawn["image"] if name != "mcc"] + [("patient", "brier"), ("patient", "log_loss")]
    images = rows.groupby(["label", "patient"]).size()
    kish = {label: images[label].sum() ** 2 / (images[label] ** 2).sum() for label in (0, 1)}
    for level, name in resampled:
        loss = name in ("brier", "log_loss")
        forth = np.log(drawn[level][name]) if loss else special.logit(drawn[level][name])
        n = 18 if level == "patient" else {"specificity": kish[0], "sensitivity": kish[1]}.get(name, min(kish.values()))
        interval = found[f"{level}_{name}"]
        reach = stats.t.ppf(0.975, n - 1) * forth.std(ddof=1)
        if loss:
            table = rows if level == "image" else patients
            reach = stats.t.ppf(0.975, min(n - 1, freedom_of(table, name))) * forth.std(ddof=1)
            ends = [interval.value * math.exp(sign * reach) for sign in (-1, 1)]
            ends[1] = max(ends[1], (1 - 0.025 ** (1 / (2 * n))) * most_if_wrong(table, name))
        else:  # never surer than if all were right
            of_fold = [images.unstack(0).groupby(rows.groupby("patient")["fold"].first())] if name == "auroc" else []
            by_fold = [[intervals.kish(part[label].dropna()) for label in (0, 1)] for parts in of_fold for _, part in parts]
            sure = 0.025 ** (1 / n)
            if "auroc" in name:
                sure = auroc_bounds.all_in_order(by_fold or [list(kish.values())], 0.95)
            ends = [special.expit(special.logit(interval.value) + sign * reach) for sign in (-1, 1)]
            ends = [min(ends[0], sure), max(ends[1], 1 - sure)]
        assert (interval.low, interval.high) == pytest.approx(tuple(ends)), (level, name)


def costs(logit: pd.Series, label: pd.Series, loss: str) -> pd.Series:
    score = special.expit(logit)
    return (score - label) ** 2 if loss == "brier" else -np.log(np.where(label == 1, score, 1 - score))


def freedom_of(rows: pd.DataFrame, loss: str) -> float:
    """Satterthwaite's, of the mean of two means of which each has as many as Kish counts of those who add to it."""
    variances, freedoms = [], []
    for _, own in rows.assign(cost=costs(rows["logit"], rows["label"], loss)).groupby("label"):
        of_patient = own.groupby("patient")["cost"].agg(["size", "sum"])
        off = of_patient["sum"] - of_patient["size"] * own["cost"].mean()
        variances.append((off**2).sum() / len(own) ** 2)
        freedoms.append(of_patient["sum"].sum() ** 2 / (of_patient["sum"] ** 2).sum() - 1)
    return sum(variances) ** 2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))


def most_if_wrong(rows: pd.DataFrame, loss: str) -> float:
    return float(rows.assign(cost=costs(-rows["logit"], rows["label"], loss)).groupby("patient")["cost"].mean().max())


@pytest.mark.parametrize("loss", ["brier", "log_loss"])
def test_a_loss_leaves_room_for_a_patient_who_was_not_seen(loss: str) -> None:
    """Of 24 patients nobody is wrong, or one is: the others may yet be, and a mean that one alone makes is hardly known."""
    rows = pd.DataFrame({"fold": 0, "patient": [f"P{n:02}" for n in range(48)], "label": np.repeat([0, 1], 24)})
    right = rows.assign(logit=np.where(rows["label"] == 1, 3.0, -3.0) + np.linspace(-0.5, 0.5, 48))
    none, one = (
        of(right)[f"patient_{loss}"],
        of(right.assign(logit=right["logit"].where(rows.index != 30, -3.0)))[f"patient_{loss}"],
    )
    share = 1 - 0.025 ** (1 / 48)
    assert none.high == pytest.approx(share * most_if_wrong(right, loss))
    assert none.high > none.value + 0.05
    assert one.high > max(none.high, 3 * one.value)
    alike = right.assign(logit=0.0)  # where all add the same to it, it is known well, and nobody is sure of anything
    assert of(alike)[f"patient_{loss}"].high == pytest.approx(of(alike)[f"patient_{loss}"].value)


def test_with_one_fold_the_pooled_auroc_is_the_same_with_the_same_interval() -> None:
    found = of(scored(12, 9))
    assert found["patient_auroc"] == approximately(found["patient_auroc_pooled"])


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=40))
def test_figures_of_calls_are_scikit_learns_and_lie_within_their_bounds(patients: list[tuple[int, int]]) -> None:
    labels, called = zip(*patients, strict=True)
    assume(0 < sum(labels) < len(labels))
    found = intervals.of_calls(labels, called, 0.95)
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, called),
            "sensitivity": sk.recall_score(labels, called),
            "specificity": sk.recall_score(labels, called, pos_label=0),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
            "f1": sk.f1_score(labels, called),
            "mcc": sk.matthews_corrcoef(labels, called),
        }
    )
    assert all(figure.low <= figure.value <= figure.high and figure.low < figure.high for figure in found.values())


def test_a_bootstrapped_interval_is_about_as_wide_as_theory_says() -> None:
    """One image a patient: the spread of a mean is known."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"fold": 0, "patient": [f"P{n:03}" for n in range(200)], "label": np.repeat([0, 1], 100)})
    rows = rows.assign(logit=rng.normal(rows["label"] * 2 - 1, 1.0))
    found = of(rows, draws=4000)["image_brier"]
    errors = (1 / (1 + np.exp(-rows["logit"])) - rows["label"]) ** 2
    spread = math.sqrt(sum(errors[rows["label"] == k].var() / 100 for k in (0, 1)) / 4)  # of the mean of the classes' means
    assert (found.high - found.low) == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_patients_decide_how_sure_an_image_figure_is() -> None:
    few, many = of(scored(5, 5, images=60)), of(scored(60, 60, images=5))
    for figure in ("image_auroc", "image_sensitivity", "image_accuracy"):
        assert few[figure].high - few[figure].low > 2 * (many[figure].high - many[figure].low)


def test_every_interval_holds_its_figure_and_the_same_seed_gives_the_same() -> None:
    for seed in range(5):
        rows = scored(7, 6, folds=3, seed=seed)
        found = of(rows)
        assert all(interval.low <= interval.value <= interval.high for interval in found.values()), found
        assert found == of(rows)


def test_nobody_can_be_further_off_than_by_1() -> None:
    """Three patients of a class, one surely wrong: on the logarithmic scale alone the bound would be anything."""
    rows = pd.DataFrame({"fold": 0, "patient": list("ABCDEF"), "label": [0, 0, 0, 1, 1, 1]})
    brier = of(rows.assign(logit=[-9.0, -9.0, 9.0, 9.0, 9.0, 9.0]))["patient_brier"]
    assert brier.value == pytest.approx(1 / 6, abs=1e-3)
    assert brier.high == 1


def rate_of(wrong: list[int], images: list[int]) -> intervals.Interval:
    """The sensitivity of the images of patients who have so many, so many wrong."""
    parts = [
        pd.DataFrame({"patient": f"P{n:02}", "label": 1, "logit": np.repeat([-9.0, 9.0], [bad, all_ - bad])})
        for n, (bad, all_) in enumerate(zip(wrong, images, strict=True))
    ]
    parts += [pd.DataFrame({"patient": [f"C{n:02}"], "label": 0, "logit": -9.0}) for n in range(5)]
    return of(pd.concat(parts, ignore_index=True).assign(fold=0), draws=1000)["image_sensitivity"]


def test_a_few_wrong_images_are_neither_surer_nor_much_less_sure_than_none() -> None:
    none, few = rate_of([0] * 24, [450] * 24), rate_of([10] + [0] * 23, [450] * 24)
    assert none.low == pytest.approx(0.025 ** (1 / 24))
    assert few.low == pytest.approx(none.low)
    assert few.high > few.value
    alike = rate_of([1] * 4, [22] * 4)  # no spread at all between the patients
    assert alike.value == pytest.approx(21 / 22)
    assert alike.low == pytest.approx(0.025 ** (1 / 4))
    assert alike.high > alike.value + 0.01
    halves = rate_of([225] * 24, [450] * 24)
    assert 0.48 < halves.low < 0.5  # far from 1 the bound of all right is none


def test_patients_with_many_more_images_count_for_fewer_patients() -> None:
    assert intervals.kish([7, 7, 7]) == pytest.approx(3)
    assert intervals.kish([500, 10, 10]) == pytest.approx(520**2 / (500**2 + 200))
    assert rate_of([0] * 4, [500, 10, 10, 10]).low < rate_of([0] * 4, [100] * 4).low


def test_the_draws_spread_as_a_share_does_of_patients_with_few_and_many_images() -> None:
    """Who has most of the images pulls the share along, and draws of all but one would spread too little around it."""
    images = np.array([500, 400, 250, 150, 100, 60, 60, 40, 40, 20, 20, 15, 12, 10])
    people = np.repeat(np.arange(28), np.tile(images, 2))
    sample = resampling.summarise(pd.DataFrame({"fold": 0, "patient": people, "label": people // 14, "logit": 0.0}), 0.5)
    own = images / images.sum()
    tendencies = np.random.default_rng(2).normal(size=(2000, 14))  # of patients who differ with a variance of 1
    off = own * (tendencies - tendencies @ own[:, None])
    drawn = resampling.draw(sample, 2000, 1)[:, :14]
    assert float((off @ drawn.T).var(axis=1).mean()) == pytest.approx((own**2).sum(), rel=0.05)
    assert float((off**2).sum(axis=1).mean()) * 14 / 13 < 0.85 * (own**2).sum()  # the variance of plain draws


def test_bands_hold_their_curve_and_end_in_the_corners() -> None:
    band = intervals.bands(resampling.summarise(scored(8, 8), 0.5), 200, 1, 0.95)
    assert band["roc"].is_monotonic_increasing
    assert band["roc"].iloc[-1] == 1
    assert (band["roc_low"] <= band["roc"] + 0.1).all()
    assert (band["roc_high"] >= band["roc"] - 0.1).all()
    assert band["pr"].iloc[-1] == pytest.approx(metrics_precision_at_full_recall(scored(8, 8)))


def metrics_precision_at_full_recall(rows: pd.DataFrame) -> float:
    lowest = rows.loc[rows["label"] == 1, "logit"].min()
    return float(rows.loc[rows["logit"] >= lowest, "label"].mean())
