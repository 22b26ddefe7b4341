"""Two states of the results beside each other: what got worse is said first, what chance explains is not called so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.common import config
from pipeline.common.errors import ModelError
from pipeline.stages import compare

PATIENTS = 40
HEADLINE = {"value": 0.9, "low": 0.8, "high": 0.95}


@pytest.fixture
def settings(params: Callable[[dict[str, Any]], config.Config]) -> config.Config:
    return params({"register.gate.draws": 500})


def scored(far: float, seed: int = 0, count: int = PATIENTS) -> pd.DataFrame:
    """Patients whose classes lie `far` apart, a fold after the other."""
    label = np.arange(count) % 2
    logit = np.random.default_rng(seed).normal(size=count) + far * (label - 0.5)
    score = 1 / (1 + np.exp(-logit))
    names = [f"Patient {number}" for number in range(count)]
    return pd.DataFrame(
        {
            "fold": np.arange(count) // 2 % 5,
            "patient": names,
            "label": label,
            "logit": logit,
            "score": score,
            "called": score > 0.5,
        }
    )


def write(folder: Path, name: str, patients: pd.DataFrame | None, **figures: Any) -> None:
    report = folder / "reports" / name
    report.mkdir(parents=True)
    (report / "metrics.json").write_text(json.dumps({"patient_auroc": HEADLINE, "patients": PATIENTS} | figures))
    if patients is not None:
        patients.to_csv(report / "patients.csv", index=False)


def page(settings: config.Config, here: Path) -> tuple[int, list[str]]:
    """The status and the lines of the page."""
    for name in ("before", "after"):
        (here / name).mkdir(exist_ok=True)
    status = compare.run(settings, here / "before", here / "after", ("main", "this"), ["A note."], here / "out")
    return status, (here / "out" / "comparison.md").read_text().splitlines()


def test_a_planted_regression_is_named_first_and_no_patient_is(settings: config.Config, here: Path) -> None:
    write(here / "before", "NPM1/bags", scored(4))
    write(here / "after", "NPM1/bags", scored(0, seed=1))
    for state in ("before", "after"):
        write(here / state, "NPM1/published", scored(2))
    status, lines = page(settings, here)
    assert status == compare.WORSE
    assert lines[0] == "**Worse: NPM1 bags (patient AUROC, Brier score, calls).**"
    assert "A note." in lines
    assert "The same patients have the same scores in: NPM1 published." in lines
    assert [path.name for path in (here / "out").glob("*.png")] == ["NPM1-bags.png"]
    assert "![NPM1 bags](NPM1-bags.png)" in lines
    assert "Patient" not in "\n".join(lines).replace("patients", "")


def test_a_gain_is_no_regression(settings: config.Config, here: Path) -> None:
    write(here / "before", "NPM1/bags", scored(0, seed=1))
    write(here / "after", "NPM1/bags", scored(4))
    status, lines = page(settings, here)
    assert status == 0
    better = "Better: NPM1 bags (patient AUROC, Brier score, calls)."
    assert lines[0] == f"**Nothing is worse by more than chance explains, of 1 results.** {better}"


def test_a_loss_that_so_few_patients_cannot_tell_from_chance_is_named_first_too(settings: config.Config, here: Path) -> None:
    few = scored(4, count=20)
    write(here / "before", "NPM1/bags", few)
    sign = np.where(np.arange(20) < 2, -1, 1)  # two patients are called wrongly now
    logit = few["logit"] * sign
    turned = few.assign(logit=logit, score=1 / (1 + np.exp(-logit)), called=logit > 0)
    write(here / "after", "NPM1/bags", turned)
    status, lines = page(settings, here)
    assert status == 0
    none = (
        "**Nothing is worse by more than chance explains, of 1 results.** Lower, but too few patients to tell it from chance: "
    )
    assert re.match(re.escape(none) + r"NPM1 bags \(patient AUROC -[.\d]+, Brier score \+[.\d]+\)\.$", lines[0])


def test_other_folds_and_other_spellings_are_the_same_patients_and_who_is_in_one_alone_is_left_out(
    settings: config.Config, here: Path
) -> None:
    write(here / "before", "NPM1/bags", scored(2))
    dealt = scored(2, seed=3).assign(patient=lambda table: table["patient"].str.upper(), fold=lambda table: 4 - table["fold"])
    write(here / "after", "NPM1/bags", dealt.iloc[:-4])
    _, lines = page(settings, here)
    assert [line for line in lines if line.startswith("| NPM1 bags | 36 of 40 → 36 |")]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"value": 0.7, "low": 0.6, "high": 0.8}, "**Worse: NPM1 bags (patient AUROC).**"),
        ({"value": 0.85, "low": 0.7, "high": 0.9}, "**Nothing is worse by more than chance explains, of 1 results.**"),
    ],
)
def test_without_scores_figures_are_held_against_the_bounds_they_had(
    settings: config.Config, here: Path, after: dict[str, float], said: str
) -> None:
    write(here / "before", "NPM1/bags", scored(2))
    write(here / "after", "NPM1/bags", None, patient_auroc=after)
    _, lines = page(settings, here)
    assert lines[0] == said
    assert lines[-1] == "- NPM1 bags: no scores of patients to pair"


def test_what_cannot_be_compared_says_so(settings: config.Config, here: Path) -> None:
    for name, state in (("gone/bags", "before"), ("new/bags", "after")):
        write(here / state, name, scored(2))
    write(here / "before", "seen/bags", scored(2))
    write(here / "after", "seen/bags", scored(2))
    (here / "after/reports/seen/bags/metrics.json").write_text(json.dumps({"leaked_patient_auroc": HEADLINE}))
    write(here / "before", "others/bags", scored(2))
    write(here / "after", "others/bags", scored(2).assign(patient=lambda table: "X" + table["patient"]))
    status, lines = page(settings, here)
    assert status == compare.WORSE
    assert lines[0] == "**Worse: gone bags (gone); seen bags (nothing is claimed any more: a search saw its patients).**"
    assert lines[-4:] == [
        "- gone bags: only one of the two has it",
        "- others bags: 0 patients are in both, not of both classes",
        "- seen bags: a search saw the patients, so nothing is claimed of them",
        "- new bags: only one of the two has it",
    ]


def test_damaged_files_and_empty_states_are_named(settings: config.Config, here: Path) -> None:
    with pytest.raises(ModelError, match="main and this: neither holds"):
        page(settings, here)
    write(here / "after", "NPM1/bags", scored(2).drop(columns="called"))
    with pytest.raises(ModelError, match="after: the files of NPM1 bags are damaged"):
        page(settings, here)
    assert not (here / "out").exists()
