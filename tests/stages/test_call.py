"""Stage `call`: from vectors and splits to calls, figures, the page's part and what answers for new patients."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import bag_cohort
import numpy as np
import pandas as pd
import pytest
import weights
from bag_cohort import DIMENSION, ENCODER, FOLDS

from pipeline.calling import answer
from pipeline.common import config, files, paths
from pipeline.common.errors import DataError, LeakError
from pipeline.pages import rendering, report_every_class
from pipeline.stages import call, register_call

SUBTYPES = ["NPM1", "PML_RARA"]
CLASSES = ["control", *SUBTYPES]
CALL = {"candidates": ["bags"], "coverage": 0.8, "quantiles": [0.75], "penalties": [0.01], "inner_folds": 2}


def settings(folder: Path, **more: Any) -> config.Config:
    return bag_cohort.settings(
        folder,
        {**bag_cohort.POOLED, "penalties": [0.01]},
        **{"subtypes": SUBTYPES, "call": CALL, "evaluate.draws": 100, **more},
    )


def cohort_files(counts: tuple[int, int, int] = (12, 9, 10)) -> None:
    """Vectors of three classes, and the splits of both subtypes."""
    rng = np.random.default_rng(4)
    rows: dict[str, list[tuple[str, int, int]]] = {}
    for place, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
        vectors, table = [], []
        rows[name] = [(f"{name[0]}{number:02}", number % FOLDS, 6) for number in range(count)]
        for patient, _, images in rows[name]:
            bag = rng.normal(size=(images, DIMENSION))
            bag[:3, place] += 3
            vectors.append(bag.astype(np.float32))
            table += [(patient, f"{name}/{patient}/image_{n}.tif") for n in range(images)]
        paths.vectors(ENCODER, name).parent.mkdir(parents=True, exist_ok=True)
        np.save(paths.vectors(ENCODER, name), np.concatenate(vectors))
        pd.DataFrame(table, columns=["patient", "path"]).to_parquet(paths.vector_rows(ENCODER, name), index=False)
    paths.encoder(ENCODER).write_text(json.dumps({"sha256": "e5" * 32, "px": 48, "dimension": DIMENSION}))
    paths.SPLITS.mkdir(parents=True)
    for subtype in SUBTYPES:
        split = [(who, label, k, n) for label, name in enumerate(("control", subtype)) for who, k, n in rows[name]]
        pd.DataFrame(split, columns=["patient", "label", "fold", "images"]).to_csv(paths.split_table(subtype), index=False)
        weights.all_the_same(subtype, "bags")


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(paths.call_report("bags") / "calls" / f"{name}.csv", keep_default_na=False)


def page(chosen: config.Config, protocol: dict[str, str] | None = None) -> str:
    """The parts of the report's page that a call fills."""
    calls = [report_every_class.call(chosen, "bags")]
    about = {
        "config": chosen,
        "control": "control",
        "aml": True,
        "calls": calls,
        "matrices": report_every_class.matrices(chosen, calls),
        "percent": "95 %",
        "threshold": 0.5,
        "protocol": protocol,
    }
    parts = [rendering.template(f"report/{name}.html.j2").render(about) for name in ("call", "every_class")]
    return " ".join(" ".join(parts).split())


def test_everybody_is_called_once_and_the_same_bytes_come_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings(here)
    cohort_files()
    call.run(chosen, ["bags"])
    folders = [paths.called("bags"), paths.call_report("bags")]
    first = [files.sha256_below(folder) for folder in folders]
    call.run(chosen, ["bags"])
    assert [files.sha256_below(folder) for folder in folders] == first
    assert json.loads(paths.evaluated("call", "bags").read_text()) == first[1]
    patients, found = table("patients"), json.loads((paths.call_report("bags") / "metrics.json").read_text())
    assert (len(patients), found["patients"], found["images"]) == (31, 31, 31 * 6)
    np.testing.assert_allclose(patients[CLASSES].sum(axis=1), 1)
    assert (patients["call"] == patients[CLASSES].idxmax(axis=1)).all()
    right = patients["call"] == patients["class"]
    assert found["balanced_accuracy"]["value"] == pytest.approx(right.groupby(patients["class"]).mean().mean())
    held = [name in kept.split() for name, kept in zip(patients["class"], patients["set"], strict=True)]
    assert found["coverage"]["value"] == pytest.approx(np.mean(held))
    assert (patients["answer"] == [answer.in_words(kept.split()) for kept in patients["set"]]).all()
    confusion = table("confusion").set_index("class")
    assert confusion.to_numpy().sum() == 31
    assert confusion.loc["NPM1", "NPM1"] == (right & (patients["class"] == "NPM1")).sum()
    tests = table("tests")
    assert tests["patients"].tolist() == [12, 9, 10] * 2
    assert "sets at coverage 0.8" in capsys.readouterr().out

    shown = page(chosen)
    assert f"<strong>Of 31 patients, in the mean over the classes, {100 * found['balanced_accuracy']['value']:.0f} %" in shown
    assert f"{tests['called'].iloc[2]} of 10" in shown
    assert all(f'<th scope="row">{name}</th>' in shown for name in patients["patient"])


def test_a_coverage_that_so_few_patients_cannot_keep_gives_no_sets_and_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(here, call={**CALL, "coverage": 0.9})
    cohort_files()
    call.run(chosen, ["bags"])
    said = " ".join(capsys.readouterr().err.split())
    assert "coverage 0.9 cannot be kept: a patient is held against 6 of NPM1, and 9 are needed; no sets are given" in said
    advised = re.search(r"call\.coverage of (0\.\d+) at most", said)
    assert advised, said
    found = json.loads((paths.call_report("bags") / "metrics.json").read_text())
    assert not {"coverage", "mean_set_size"} & set(found)
    assert not {"set", "answer"} & set(table("patients"))
    assert "No sets are given: too few patients" in page(chosen)
    call.run(settings(here, call={**CALL, "coverage": float(advised[1])}), ["bags"])
    assert "warning" not in capsys.readouterr().err, "what is advised is taken"


def test_of_a_dealing_with_roles_those_who_test_are_called_by_one_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings(here)
    cohort_files()
    paths.PROTOCOL.write_text(json.dumps({"name": "theirs", "form": "role"}))
    call.run(chosen, ["bags"])
    assert "call by bags: 11 test patients" in capsys.readouterr().out
    assert table("patients")["fold"].unique().tolist() == [0]
    assert [file.name for file in paths.called("bags").iterdir()] == ["fold-1"], "held against those who validate"
    shown = page(chosen, {"name": "theirs", "form": "role"})
    assert "those with role test, by a model of those who train, held against those who validate" in shown
    assert not [word for word in ("out of fold", "all folds", "all 3 folds") if word in shown]


@pytest.mark.parametrize(
    ("counts", "roles", "said"),
    [
        (
            (12, 9, 3),
            False,
            "class PML_RARA: 1 of 3 patients are left to learn from without two of the folds; it takes 2",
        ),
        ((12, 9, 5), True, "class PML_RARA: 1 of 5 patients are left to learn from with role train; it takes 2"),
    ],
)
def test_where_too_few_patients_are_left_there_is_no_call_and_the_run_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str], counts: tuple[int, int, int], roles: bool, said: str
) -> None:
    """What was called before is gone, the page says why, and nothing of it is registered: MLflow is not even asked."""
    chosen = settings(here)
    cohort_files()
    call.run(chosen, ["bags"])
    for old in (paths.SPLITS, paths.VECTORS):
        shutil.rmtree(old)
    cohort_files(counts)
    if roles:
        paths.PROTOCOL.write_text(json.dumps({"name": "theirs", "form": "role"}))
    call.run(chosen, ["bags"])
    assert f"call by bags: none is made: {said}" in " ".join(capsys.readouterr().err.split())
    assert [file.name for file in paths.called("bags").iterdir()] == ["why_not.txt"]
    assert [file.name for file in (paths.call_report("bags") / "calls").iterdir()] == ["why_not.txt"]
    assert json.loads((paths.call_report("bags") / "metrics.json").read_text()) == {"patients": 0}
    shown = page(chosen)
    assert f"No call is made:</strong> {said}" in shown
    register_call.run(chosen, ["bags"])
    assert f"bags: nothing to register, since no call is made: {said}" in " ".join(capsys.readouterr().out.split())


def test_who_has_no_image_left_to_learn_from_does_not_count_among_those_who_do(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(here)
    cohort_files()
    split = pd.read_csv(paths.split_table("NPM1"))
    gone = split.loc[split["label"] == 1, "patient"].tolist()[1:]
    paths.LEFT_OUT.write_text("path\n" + "".join(f"NPM1/{who}/image_{n}.tif\n" for who in gone for n in range(6)))
    call.run(chosen, ["bags"])
    said = "class NPM1: 0 of 1 patients with images to learn from are left to learn from without two of the folds"
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_does_not_fit_is_one_line_and_leaves_nothing(here: Path) -> None:
    chosen = settings(here)
    with pytest.raises(DataError, match=r"data/splits/NPM1\.csv: not there"):
        call.run(chosen, ["bags"])
    cohort_files()
    split = pd.read_csv(paths.split_table("PML_RARA"))
    split.assign(fold=(split["fold"] + 1) % FOLDS).to_csv(paths.split_table("PML_RARA"), index=False)
    with pytest.raises(LeakError, match=r"PML_RARA\.csv: does not deal the controls as data/splits/NPM1\.csv does"):
        call.run(chosen, ["bags"])
    assert not paths.MODELS.exists()
    assert not paths.REPORTS.exists()
