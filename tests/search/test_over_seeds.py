"""Figures of a network that was trained with several seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.search import over_seeds


def scored(seed: int, shift: float = 1.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (0, f"{label}{patient}", label, rng.normal((label - 0.5) * shift, 1.0))
        for label in (0, 1)
        for patient in range(8)
        for _ in range(6)
    ]
    return pd.DataFrame(rows, columns=["fold", "patient", "label", "logit"])


def test_a_figure_is_the_mean_over_seeds_and_its_bounds_hold_it() -> None:
    alone = [over_seeds.measure(over_seeds.drawn([scored(n)], 0.5, 400, 1), 0.95) for n in range(3)]
    together = over_seeds.measure(over_seeds.drawn([scored(n) for n in range(3)], 0.5, 400, 1), 0.95)
    for name, interval in together.items():
        assert interval.value == pytest.approx(np.mean([of[name].value for of in alone]))
        assert interval.low <= interval.value <= interval.high
        assert 0 <= interval.low < interval.high <= 1, name


def test_seeds_that_disagree_widen_the_bounds() -> None:
    alike, apart = [scored(0)] * 3, [scored(0, 0.2), scored(0, 1.5), scored(0, 4.0)]
    widths = []
    for tables in (alike, apart):
        interval = over_seeds.measure(over_seeds.drawn(tables, 0.5, 400, 1), 0.95)["image_auroc"]
        widths.append(interval.high - interval.low)
    assert widths[1] > 1.3 * widths[0]


def test_a_gain_is_paired_by_patient() -> None:
    weak, strong = (over_seeds.drawn([scored(n, shift) for n in range(3)], 0.5, 400, 1) for shift in (0.5, 3.0))
    gained = over_seeds.gains(strong, weak, 0.95)["image_auroc"]
    assert gained.value == pytest.approx(strong["image_auroc"].mean - weak["image_auroc"].mean)
    assert 0 < gained.low < gained.value < gained.high
    turned = over_seeds.gains(weak, strong, 0.95)["image_auroc"]
    assert (turned.low, turned.high) == pytest.approx((-gained.high, -gained.low))


def test_a_gain_that_no_patient_moves_is_not_certain() -> None:
    """Percentiles of the differences would be 0 to 0."""
    perfect = scored(0).assign(logit=lambda rows: rows["label"] * 2.0 - 1.0 + np.arange(len(rows)) / 1e4)
    ours, theirs = (
        over_seeds.drawn([table, table], 0.5, 200, 1) for table in (perfect, perfect.assign(logit=perfect["logit"] * 2))
    )
    gain = over_seeds.gains(ours, theirs, 0.95)["patient_auroc"]
    assert (gain.value, gain.low, gain.high) == pytest.approx((0, -(1 - 0.025 ** (1 / 8)), 1 - 0.025 ** (1 / 8)))


def test_few_patients_who_are_all_ranked_right_are_no_proof() -> None:
    perfect = scored(0).assign(logit=lambda rows: rows["label"] * 2.0 - 1.0 + np.arange(len(rows)) / 1e4)
    found = over_seeds.measure(over_seeds.drawn([perfect, perfect], 0.5, 200, 1), 0.95)
    for name in ("patient_auroc", "patient_sensitivity", "patient_specificity", "image_accuracy"):
        assert found[name].value == 1
        assert found[name].low < 0.9, name
