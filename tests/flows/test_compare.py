"""`python -m flows compare`: two commits' results side by side, from git, DVC's cache and its remote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_history
from conftest import ROOT, write_params
from small_history import commit, git, kept

from flows import __main__ as flows

SCORES, FIGURES = "reports/NPM1/published/patients.csv", Path("reports/NPM1/published/metrics.json")


def evaluated(far: float) -> str:
    """Results whose classes lie `far` apart; the digest of the scores."""
    label = np.arange(40) % 2
    logit = np.random.default_rng(1).normal(size=40) + far * (label - 0.5)
    score = 1 / (1 + np.exp(-logit))
    columns = {"fold": np.arange(40) // 2 % 5, "patient": [f"P{n}" for n in range(40)], "label": label, "logit": logit}
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    value = {"value": min(far / 4, 1.0), "low": far / 5, "high": 1.0}
    FIGURES.write_text(json.dumps({"patient_auroc": value, "patients": 40}))
    table = pd.DataFrame(columns | {"score": score, "called": score > 0.5}).to_csv(index=False).encode()
    return small_history.lock({SCORES: table, str(FIGURES): FIGURES.read_bytes()})[SCORES]


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A sound result on the branch main, committed; on another one, checked out, a worse one. The digest of its scores."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write_params(here / "params.yaml", {"register.gate.draws": 200})
    small_history.start()
    digest = evaluated(4)
    commit()
    git("checkout", "--quiet", "-b", "worse")
    evaluated(0)
    return digest


def test_a_planted_regression_is_named_and_fails_a_check_that_asks_for_it(
    project: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flows.main(["compare", "main", "--fail-on-regression"]) == 3
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "**Worse: NPM1 published (patient AUROC, Brier score, calls).**"
    of = f"this checkout ({git('rev-parse', 'HEAD')[:12]}, with results that are not committed)"
    assert said[2] == f"{of} beside main ({git('rev-parse', 'main')[:12]})."
    assert sorted(path.name for path in Path("comparison").iterdir()) == ["NPM1-published.png", "comparison.md"]
    commit()
    assert git("status", "--porcelain") == ""


def test_scores_come_from_the_remote_and_without_it_figures_are_compared_and_that_is_said(
    project: str, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    remote = tmp_path_factory.mktemp("remote")
    with Path(".dvc/config").open("a") as file:
        file.write(f"    remote = there\n['remote \"there\"']\n    url = {remote}\n")
    there = remote / kept(project).relative_to(".dvc/cache")
    there.parent.mkdir(parents=True)
    kept(project).rename(there)
    assert flows.main(["compare", "main"]) == 0
    assert "| NPM1 published | 40 of 40 | " in capsys.readouterr().out
    kept(project).unlink()
    there.unlink()
    assert flows.main(["compare", "main"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "**Worse: NPM1 published (patient AUROC).**"
    assert said[4].startswith("1 of 2 tables of patients' scores are neither in DVC's cache nor to be had from its remote (")
    assert said[4].endswith("): of those results metrics.json alone is compared, unpaired.")
    assert said[-1] == "- NPM1 published: no scores of patients to pair"


def test_scores_are_never_paired_beside_figures_of_another_run(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As where `python -m pipeline evaluate` ran by hand, of which dvc.lock does not know."""
    FIGURES.write_text(json.dumps({"patient_auroc": {"value": 0.1, "low": 0.0, "high": 0.2}, "patients": 40}))
    assert flows.main(["compare", "main"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "**Worse: NPM1 published (patient AUROC).**"
    assert f"its dvc.lock names another {FIGURES} than is there, so the scores that it names are of another run" in said[4]
    assert said[-1] == "- NPM1 published: no scores of patients to pair"


def test_a_commit_that_git_does_not_know_is_named(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert flows.main(["compare", "mian"]) == 2
    assert capsys.readouterr().err == (
        "error: git knows no commit mian; `git fetch --all` may bring it, `git branch --all` lists them\n"
    )
