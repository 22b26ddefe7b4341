"""Who learns and who is tested with few patients of a subtype, and when transfer is said to harm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common.errors import ConfigError, LeakError
from pipeline.folds import split_table
from pipeline.transfer import curve, draws

FOLDS = 5


def everybody(table: pd.DataFrame) -> set[str]:
    return set(table["patient"])


def split(controls: int, patients: int, first: int = 0) -> pd.DataFrame:
    rows = [(f"c{n:03}", 0, n % FOLDS, 9) for n in range(controls)]
    rows += [(f"n{n:03}", 1, (n + first) % FOLDS, 9) for n in range(patients)]
    return pd.DataFrame(rows, columns=split_table.COLUMNS)


@settings(max_examples=15)
@given(st.integers(15, 40), st.integers(10, 40), st.integers(0, 4), st.integers(0, 99))
def test_nobody_learns_who_is_tested_and_no_control_learns_whom_a_network_learned(
    controls: int, patients: int, fold: int, seed: int
) -> None:
    table = split(controls, patients)
    without_images = {"n001", "c001"}
    learnable = everybody(table) - without_images
    sizes = draws.possible(table, learnable, list(range(FOLDS)), [2, 4, 8])
    before: set[str] = set()
    for size in sizes:
        one = draws.draw(table, learnable, fold, size, FOLDS, seed)
        learners = one.learners
        assert not set(learners["patient"]) & set(one.tested["patient"])
        assert not without_images & {*learners["patient"], *one.more_controls["patient"]}, "of whom all images were left out"
        assert set(one.tested["fold"]) == {fold}
        assert set(learners.loc[learners["label"] == 0, "fold"]) == {(fold + 1) % FOLDS}
        chosen = set(learners.loc[learners["label"] == 1, "patient"])
        assert len(chosen) == size
        assert before <= chosen, "who learned among fewer learns among more"
        before = chosen
        stop = set(draws.stoppers(one))
        for label in (0, 1):
            own = set(learners.loc[learners["label"] == label, "patient"])
            assert own & stop
            assert own - stop
        draws.require_unseen(one, "OTHER", split(controls, 0), FOLDS)
        assert not set(one.more_controls["patient"]) & (set(one.tested["patient"]) | set(learners["patient"]))


def test_a_network_that_trained_on_somebody_here_is_refused() -> None:
    one = draws.draw(split(20, 20), everybody(split(20, 20)), 0, 4, FOLDS, 0)
    moved = split(20, 20).assign(fold=lambda table: (table["fold"] + 2) % FOLDS)
    with pytest.raises(LeakError, match=r"patient c\d+ trained the network of OTHER, fold 0"):
        draws.require_unseen(one, "OTHER", moved, FOLDS)


def test_too_few_patients_are_one_line() -> None:
    assert draws.possible(split(20, 10), everybody(split(20, 10)), [0, 1], [2, 4, 8, 16]) == [2, 4, 8]
    with pytest.raises(ConfigError, match="only 1 patients are outside the tested fold"):
        draws.possible(split(20, 2), everybody(split(20, 2)), [0, 1], [2, 4])
    with pytest.raises(ConfigError, match="fold 0 has one control to learn from"):
        draws.draw(split(5, 20), everybody(split(5, 20)), 0, 2, FOLDS, 0)


def scores(**shift: float) -> pd.DataFrame:
    """Of 40 + 40 patients by way, the subtype's so much higher; the same noise in each way but for its order."""
    parts = []
    for number, (way, by) in enumerate(shift.items()):
        rng = np.random.default_rng(number)
        labels = np.repeat([0, 1], 40)
        names = [f"{label}-{n}" for n, label in enumerate(labels)]
        parts.append(
            pd.DataFrame({"way": way, "size": 4, "fold": 0, "patient": names, "label": labels,
                          "logit": rng.normal(size=80) + by * labels})
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def verdicts(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    return {(one.way, one.other): one.verdict for one in curve.comparisons(table, 0.95)}


def test_vectors_of_our_networks_that_harm_are_negative_transfer() -> None:
    assert verdicts(scores(scratch=3.0, own=0.0))["own", "scratch"] == "negative transfer"
    assert verdicts(scores(scratch=0.0, own=3.0))["own", "scratch"] == "transfer helps"
    assert verdicts(scores(scratch=1.0, own=1.0))["own", "scratch"] == "not told apart"
    found = verdicts(scores(scratch=3.0, general=0.0, own=3.0))
    assert (found["general", "scratch"], found["own", "general"]) == ("negative transfer", "better")
    assert verdicts(scores(general=3.0, own=0.0)) == {("own", "general"): "worse"}


def test_the_curve_has_every_way_and_its_bounds() -> None:
    table = curve.reached(scores(general=2.0, own=0.0), 0.95).set_index("way")
    assert table.loc["general", "low"] < table.loc["general", "patient_auroc"] < table.loc["general", "high"]
    assert table.loc["general", "low"] > table.loc["own", "patient_auroc"]
    assert table[["controls", "patients"]].to_numpy().tolist() == [[40, 40]] * 2
