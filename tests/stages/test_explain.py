"""The page that says why, of a learner of bags whose vectors were made elsewhere: no network is asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import bag_cohort
import explained_project
import numpy as np
import pandas as pd
import pytest
from bag_cohort import ENCODER, FOLDS, SUBTYPE

from pipeline.bags import scoring
from pipeline.common import config, paths
from pipeline.common.errors import DataError, LeakError, ModelError
from pipeline.explanation import tested
from pipeline.stages import explain, train_bags

CANDIDATE = "bags"


@pytest.fixture
def chosen(here: Path) -> config.Config:
    settings = bag_cohort.settings(here, **{"explain.patients": 3, "explain.random_orders": 3, "ingest.source": "folder"})
    bag_cohort.cohort_files()
    train_bags.run(settings, [SUBTYPE], [CANDIDATE])
    rng = np.random.default_rng(0)
    rows = pd.concat([pd.read_parquet(paths.vector_rows(ENCODER, name)) for name in ("control", SUBTYPE)])
    explained_project.put_images({path: rng.integers(0, 256, (24, 24, 3), dtype=np.uint8) for path in rows["path"]})
    explained_project.put_scores(SUBTYPE, CANDIDATE, FOLDS)
    return settings


def test_everybody_is_explained_by_the_fold_that_never_saw_the_patient_and_shares_add_up(
    chosen: config.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    explain.run(chosen, [SUBTYPE], [CANDIDATE])
    folder = paths.explained(SUBTYPE, CANDIDATE)
    table = pd.read_csv(folder / "cells.csv")
    dealt = pd.read_csv(paths.split_table(SUBTYPE))
    assert table.groupby("patient")["fold"].unique().str[0].to_dict() == dict(zip(dealt["patient"], dealt["fold"], strict=True))
    for_it = table[table["share"] > 0].groupby("patient")["share"].sum()
    assert for_it.to_numpy() == pytest.approx(np.ones(len(for_it)))
    page = (folder / "index.html").read_text()
    assert len(re.findall(r"<summary>P\d\d", page)) == 6, "so many of either class"
    assert page.index(f", {SUBTYPE}: score") < page.index(", control: score")
    assert "the vectors of the encoder drawn are made elsewhere" in page
    found = json.loads((folder / "checks.json").read_text())
    assert [one["passed"] for one in found["cells"]] == [True, True], "cells were planted, and are found"
    assert (found["pixels"], found["cells"][0]["patients"]) == ([], 27)
    assert "Most suspicious" in page
    assert "cannot fail" not in page
    assert "Cells are shown in the order of what it loses without each, the most suspicious first." in page
    assert re.search(r"[\d.]+ s a patient for cells", capsys.readouterr().out)
    before = page
    explain.run(chosen, [SUBTYPE], [CANDIDATE])
    assert (folder / "index.html").read_text() == before, "the same bytes again"


def test_what_goes_with_a_cell_is_what_the_folds_own_learner_says_without_it(chosen: config.Config) -> None:
    one = next(tested.read(chosen, SUBTYPE, CANDIDATE))
    _, known = tested.learner(paths.fold(SUBTYPE, CANDIDATE, one.fold))
    assert one.bag is not None
    whole, without = scoring.logits("pooled", known, [one.bag, np.delete(one.bag, 3, axis=0)])
    assert one.changes[3] == pytest.approx(whole - without, abs=1e-7)
    scored = pd.read_parquet(paths.fold(SUBTYPE, CANDIDATE, one.fold) / "predictions.parquet").set_index("patient")["logit"]
    assert one.logit == pytest.approx(scored[one.patient])
    assert all(f"/{one.patient}/" in path for path in one.images)


def test_no_order_is_shown_that_does_not_pass(chosen: config.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders by something that has nothing to do with the score."""
    for way, (words, _) in list(explain._WAYS.items()):
        monkeypatch.setitem(
            explain._WAYS, way, (words, lambda one: np.random.default_rng(len(one.images)).normal(size=len(one.images)))
        )
    explain.run(chosen, [SUBTYPE], [CANDIDATE])
    page = (paths.explained(SUBTYPE, CANDIDATE) / "index.html").read_text()
    assert "No order passed" in page
    assert "Cells are shown" not in page
    assert "Most suspicious" not in page


def test_what_does_not_fit_is_one_line_and_the_last_page_stays(chosen: config.Config) -> None:
    explain.run(chosen, [SUBTYPE], [CANDIDATE])
    before = (paths.explained(SUBTYPE, CANDIDATE) / "index.html").read_text()
    some = pd.read_csv(paths.explained(SUBTYPE, CANDIDATE) / "cells.csv")["path"].iloc[0]
    for file in (paths.RAW / some).parent.iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"is not the file that `validate` saw; run `dvc repro`"):
        explain.run(chosen, [SUBTYPE], [CANDIDATE])
    scored = pd.read_parquet(paths.scored(SUBTYPE, CANDIDATE))
    scored[scored["patient"] != "P07"].to_parquet(paths.scored(SUBTYPE, CANDIDATE))
    with pytest.raises(DataError, match=r"bags\.parquet: has no score of patient P07; run `dvc repro evaluate`"):
        explain.run(chosen, [SUBTYPE], [CANDIDATE])
    coefficients = paths.fold(SUBTYPE, CANDIDATE, 0) / train_bags.COEFFICIENTS
    kept = coefficients.read_bytes()
    with np.load(coefficients) as stored:
        known = dict(stored)
    for weights, said in ((known["weights"] * np.inf, "finite numbers"), (known["weights"][1:], "make no learner")):
        np.savez(coefficients, allow_pickle=False, **{**known, "weights": weights})
        with pytest.raises(
            (DataError, ModelError), match=rf"fold-0.*{said}.*; run `dvc checkout --force models/NPM1/bags/fold-0"
        ):
            tested.learner(coefficients.parent)
    coefficients.write_bytes(kept)
    spec = coefficients.with_name("spec.json")
    about, kept = json.loads(spec.read_text()), spec.read_bytes()
    spec.write_text(json.dumps({**about, "encoder": {**about["encoder"], "dimension": 2**40}}))
    with pytest.raises(ModelError, match=r"fold-0.*vectors of 1099511627776 numbers, and fewer coefficients"):
        tested.learner(spec.parent)
    spec.write_bytes(kept)
    np.savez(coefficients, allow_pickle=False, **known, scale=np.zeros(4))
    with pytest.raises(ModelError, match=r"fold-0.*a scale that is not above 0"):
        tested.learner(spec.parent)
    np.savez(coefficients, allow_pickle=False, **known)
    dealt = pd.read_csv(paths.split_table(SUBTYPE))
    dealt.assign(fold=(dealt["fold"] + 1) % FOLDS).to_csv(paths.split_table(SUBTYPE), index=False)
    with pytest.raises(LeakError, match=r"models/NPM1/bags/fold-0: trained by another split than data/splits/NPM1\.csv"):
        explain.run(chosen, [SUBTYPE], [CANDIDATE])
    (paths.fold(SUBTYPE, CANDIDATE, 0) / "spec.json").unlink()
    with pytest.raises(DataError, match=r"fold-0/spec\.json: not there; run `dvc repro`"):
        explain.run(chosen, [SUBTYPE], [CANDIDATE])
    assert (paths.explained(SUBTYPE, CANDIDATE) / "index.html").read_text() == before
