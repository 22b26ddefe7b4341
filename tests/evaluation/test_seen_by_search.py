"""Patients whom a search saw leave the figures, and a search that saw all of them is not to be overlooked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_cohort import SUBTYPES, audit_file, cohort_files

from pipeline.common import config, paths
from pipeline.common.errors import ConfigError, ModelError
from pipeline.evaluation import floors, seen_by_search
from pipeline.folds import split_table
from pipeline.registry import model_card, trained_files
from pipeline.search import space
from pipeline.stages import evaluate, report

Params = Callable[[dict[str, Any]], config.Config]
FOLDS = [0, 1]


@pytest.fixture
def tuned(here: Path, params: Params) -> Callable[[list[str]], config.Config]:
    """Settings in which a search for NPM1 saw the given patients, and the files of the stages before evaluate."""

    def settings(seen: list[str]) -> config.Config:
        network = {"first_conv": 64, "conv": [256, 192, 192], "dense": [256], "learning_rate": 1e-4}
        changed = params(
            {
                "subtypes": SUBTYPES,
                "ingest.demo.patients": {"control": 10, "NPM1": 10, "NEW": 10},
                "folds": FOLDS,
                "candidates.published.networks": {"NPM1": {**network, "tuned_on": seen}, "NEW": network},
                "evaluate.draws": 200,
            }
        )
        for folder in ("data", "models", "reports"):
            shutil.rmtree(folder, ignore_errors=True)
        cohort_files(changed)
        for k in FOLDS:
            path = paths.fold("NPM1", "published", k) / "spec.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"tuned_on": split_table.told_apart(seen)}))
        evaluate.run(changed, SUBTYPES, ["published"])
        for subtype in SUBTYPES:
            audit_file(subtype)
        return changed

    return settings


def patients(settings: config.Config, fold: int | None = None) -> list[str]:
    split = pd.read_csv(paths.split_table("NPM1"), **split_table.CSV_FORMAT)
    return split.loc[split["fold"] == fold if fold is not None else split["fold"] >= 0, "patient"].tolist()


def metrics(subtype: str = "NPM1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((paths.report(subtype, "published") / "metrics.json").read_text())
    return found


def page(settings: config.Config) -> str:
    report.run(settings)
    return paths.REPORT_PAGE.read_text()


def test_patients_under_other_names_are_not_overlooked(tuned: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"NPM1\.tuned_on: none of its 2 patients is in data/splits/NPM1\.csv"):
        tuned(["PQ7XN2", "PZZ4RA"])
    tuned(["c01", "N0l"])
    assert "NPM1.tuned_on: 1 of 2 patients are not in the cohort, first N0l" in capsys.readouterr().err


def test_patients_whom_the_search_saw_leave_the_figures(tuned: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tuned(["c01", "c06", "N01", "N06"])  # of fold 1
    tested = pd.read_csv(paths.report("NPM1", "published") / "patients.csv")["patient"]
    assert sorted(tested) == sorted(patients(settings, 0))
    assert metrics()["patients"] == 4
    assert metrics()["patients_seen_by_search"] == 4
    assert "image_accuracy" in metrics()
    assert "NPM1 published: the search for its network saw 4 of 8 test patients; they are left out" in capsys.readouterr().err
    html = page(settings)
    assert "found by a search that saw 4 patients of this cohort" in html
    folds = pd.read_csv(paths.report("NPM1", "published") / "folds.csv").set_index("fold")
    assert folds.loc[0, ["controls", "subtype_patients"]].tolist() == [2, 2]
    assert folds.loc[1, ["controls", "subtype_patients"]].tolist() == [0, 0]  # its network is there, with its temperature
    assert "4 of them are test patients here and left out of every figure" in html
    assert "patients_seen_by_search" not in metrics("NEW")
    assert metrics("NEW")["kept_val_loss"] == pytest.approx(0.6)  # of validation patients, whom every training sees


def test_where_nobody_is_left_no_figure_is_claimed(tuned: Any) -> None:
    settings = tuned([*[f"c{n:02}" for n in range(10)], "<b>&</b>", *[f"N{n:02}" for n in range(1, 10)]])
    assert {name.startswith("leaked_") for name, figure in metrics().items() if isinstance(figure, dict)} == {True}
    assert metrics()["patients_seen_by_search"] == metrics()["patients"] == 8
    html = page(settings)
    assert "None is claimed: the search that found this network saw all of these patients" in html
    assert "Leak: no figure below is claimed." in html
    missed = floors.missed(dict(trained_files.as_metrics(metrics())), settings.register_.floors.of_kind("cnn"))
    assert len(missed) == 3
    assert all("is not claimed, because the search for this network saw its test patients" in line for line in missed)


def test_figures_are_told_apart_by_their_names() -> None:
    plain = {"image_auroc": {"value": 0.9}, "patients": 3}
    assert seen_by_search.read(plain) == (plain, False)
    assert seen_by_search.read({"leaked_image_auroc": {"value": 0.9}, "patients": 3}) == (plain, True)


def test_a_network_of_another_search_is_refused(tuned: Any) -> None:
    settings = tuned(["c01", "N01"])
    forgotten = space.with_network(settings, "NPM1", "published", settings.network_of("NEW", "published"))
    with pytest.raises(ModelError, match=r"fold-0: trained with another candidates\.published\.networks\.NPM1\.tuned_on"):
        evaluate.run(forgotten, ["NPM1"], ["published"])


@pytest.mark.parametrize("leaked", [False, True])
def test_the_card_says_it_and_names_nobody(leaked: bool) -> None:
    figures = {f"{'leaked_' if leaked else ''}image_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}}
    facts = model_card.Facts(
        subtype="NPM1",
        control="control",
        um=24.9,
        px=48,
        sides_px=[144],
        source={"cohort": "demo", "source": "demo", "files": 1, "sha256": "0" * 64},
        folds=[0],
        n_folds=5,
        figures={**figures, "images": 1, "patients": 2, "patients_seen_by_search": 2},
        by_class=pd.DataFrame({"source": [], "class": []}),
        confidence=0.95,
        operating_point=0.5,
        operating_point_chosen=[],
        digest="0" * 64,
        weights_sha256={"fold-0": "0" * 64},
        tuned_on=split_table.told_apart(["ABC", "DEF"]),
        leaked=leaked,
    )
    text = model_card.markdown(facts)
    assert "a search that saw 2 patients of this cohort" in text
    assert ("none is claimed" in text) == leaked
    assert ("2 test patients left out" in text) != leaked
    assert "ABC" not in text
