"""`python -m pipeline predict` as a user runs it, against a real registry; and the same in this process, where it is faster."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import mlflow
import numpy as np
import pandas as pd
import pytest
import registered
import test_decoding
from conftest import ROOT
from PIL import Image
from processes import CLEAN

from pipeline.common import config, files
from pipeline.common.errors import DataError, ModelError, PipelineError
from pipeline.drift import history
from pipeline.explanation import new_patients
from pipeline.images import decoding, manifest
from pipeline.registry import champions, mlflow_server, training_range
from pipeline.scoring import patients as scoring
from pipeline.stages import predict

ODD = "<b>Ünal"  # a folder's name comes from outside


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    registered.build(folder)
    put(folder / "incoming" / "007", registered.cells("control", 12, seed=7))
    put(folder / "incoming" / ODD, registered.cells("NPM1", 4, seed=7))
    bad = folder / "incoming" / "bad"
    put(bad, registered.cells("PML_RARA", 3, seed=7))
    shutil.copy(bad / "image_2.tif", bad / "image_10.tif")
    (bad / "deep.tif").write_bytes(test_decoding.UNUSABLE["16-bit RGB"][0])
    (bad / "short.TIF").write_bytes((bad / "image_0.tif").read_bytes()[:5000])
    (bad / "oblong.tif").write_bytes(registered.tiff(np.zeros((144, 100, 3), np.uint8)))
    (bad / "notes.txt").write_text("patient seen on Monday")
    put(folder / "incoming" / "none", [b"II*\0 and no more"])
    (folder / "incoming" / "README").write_text("not a patient")
    return folder


def put(folder: Path, cells: list[bytes]) -> None:
    folder.mkdir(parents=True)
    for number, data in enumerate(cells):
        (folder / f"image_{number}.tif").write_bytes(data)


def call(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "predict", *arguments]
    environment = {**CLEAN, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def printed(project: Path) -> str:
    """One run over all patients from the shell."""
    done = call(project, "incoming")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 2, done.stderr  # the warnings below, and nothing of any library
    return done.stdout + done.stderr


@pytest.fixture
def there(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    return project


def run(folder: str, um: float | None = None, output: str | None = None) -> None:
    predict.run(config.load(), Path(folder), um, Path(output) if output else None)


def test_the_table_has_every_test_of_every_patient_and_says_what_it_does_not_mean(printed: str) -> None:
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["007", "<b>Ünal", "bad", "none"], "one line a patient"
    (head,) = [line for line in printed.splitlines() if "unlike training" in line]
    assert [name.strip() for name in head.split("┃")[4:-2]] == registered.REGISTERED
    assert rows[-1][:4] == ["none", "0", "1", "no usable image"]
    assert "warning: CBFB_MYH11: has no champion in MLflow; the other subtypes are scored without it" in printed
    assert "warning: 2 of 3 patients have fewer images than anybody in training (12), first <b>Ünal (4): what" in printed
    assert "left out: 6 files; the reasons are in predictions/incoming/quarantine.csv" in printed
    assert "All tests may fire on any leukaemia" in printed
    assert "For research only, not for diagnosis." in printed


def test_scores_are_those_of_the_registered_model(project: Path, printed: str) -> None:
    """By file, through MLflow alone: patients, images, calls."""
    found = pd.read_csv(project / "predictions/incoming/predictions.csv", dtype={"patient": "str"})
    by_image = pd.read_csv(project / "predictions/incoming/images.csv", dtype={"patient": "str"})
    assert len(found) == 3 * 2
    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    for subtype in registered.REGISTERED:
        model = mlflow.pyfunc.load_model(f"models:/{subtype}@champion")
        own = by_image[by_image["subtype"] == subtype]
        files = [project / "incoming" / row.patient / row.image for row in own.itertuples()]
        rows = pd.DataFrame({"image": [file.read_bytes() for file in files], "patient": list(own["patient"])})
        expected = model.predict(rows)
        np.testing.assert_allclose(own["score"], expected["score"], atol=1e-6)
        of_patient = expected.assign(patient=rows["patient"]).groupby("patient").first()
        table = found[found["subtype"] == subtype].set_index("patient").loc[of_patient.index]
        np.testing.assert_allclose(table["score"], of_patient["patient_score"], atol=1e-6)
        assert list(table["called"]) == list(of_patient["patient_call"])
        assert list(table["images"]) == list(rows.groupby("patient").size())


def test_unusable_files_are_left_out_with_their_reason(project: Path, printed: str) -> None:
    table = pd.read_csv(project / "predictions/incoming/quarantine.csv", dtype="str")
    reasons = {(row.patient, row.image): row.reason for row in table.itertuples()}
    assert reasons.keys() == {
        *(("bad", name) for name in ("image_10.tif", "deep.tif", "short.TIF", "oblong.tif", "notes.txt")),
        ("none", "image_0.tif"),
    }
    assert reasons["bad", "image_10.tif"] == "same pixels as image_2.tif"
    assert reasons["bad", "deep.tif"] == "16 bits a channel instead of 8"
    assert reasons["bad", "short.TIF"].startswith("cut off: strip 1 of 1 ends at byte")
    assert reasons["bad", "oblong.tif"] == "100 x 144 px: not square"
    page = (project / "predictions/incoming/bad.html").read_text()
    assert all(html.escape(reason) in page for (patient, _), reason in reasons.items() if patient == "bad")


def test_every_patient_has_a_page_that_stands_alone(project: Path, printed: str) -> None:
    folder = project / "predictions/incoming"
    names = {path.stem for path in folder.glob("*.html")} - {"index"}
    assert names == {"007", ODD, "bad"}
    index = (folder / "index.html").read_text()
    links = [unquote(link) for link in re.findall(r'href="([^"]+)"', index)]
    assert links == ["007.html", f"{ODD}.html", "bad.html"]
    assert "no usable image" in index, "of the patient without a page"
    assert "One answer of all classes" not in index, "nobody answers for all"
    assert re.search(r"Called is a score above the operating point 0\.\d{3}\. The same", index), "once: that of both tests"
    table = pd.read_csv(folder / "predictions.csv", dtype={"patient": "str"})
    for patient in names:
        page = (folder / f"{patient}.html").read_text()
        assert "<b>Ü" not in page
        assert not re.search(r"(src|href)=\"(?!data:|#)", page)
        assert page.count("data:image/png;base64,") == len(registered.REGISTERED)
        assert "For research only, not for diagnosis." in page
        assert "may fire on any leukaemia" in page
        for mark in ('<line class="of-control" x1="26.89%"', '<line class="of-subtype" x1="73.11%"'):  # logits -1 and 1
            assert page.count(mark) == len(registered.REGISTERED), "where the cohort's own patients lay, out of fold"
        assert "trained on drawn, not on real cells" in page
        for row in table[table["patient"] == patient].itertuples():
            assert f"score <b>{row.score:.3f}</b>" in page
            assert row.called == bool(re.search(rf">{row.subtype} <span>called<", page))
    assert "Few images:" in (folder / "bad.html").read_text()
    assert "Few images:" not in (folder / "007.html").read_text()


def test_bars_without_marks_are_said_to_have_none(there: Path, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a network whose search saw its test patients, whose scores are not kept."""
    load = champions.load

    def without(client: Any, subtype: str) -> Any:
        found = load(client, subtype)
        return found and replace(found, tested=found.tested.head(0))

    monkeypatch.setattr(champions, "load", without)
    run("incoming/007", output="elsewhere/unmarked")
    page = Path("elsewhere/unmarked/007.html").read_text()
    assert "Small marks" not in page
    assert f"{', '.join(registered.REGISTERED)}: no marks, as no score" in page


def test_the_most_suspicious_cells_are_those_with_the_highest_scores(project: Path, printed: str) -> None:
    page = (project / "predictions/incoming/007.html").read_text()
    scored = pd.read_csv(project / "predictions/incoming/images.csv", dtype={"patient": "str"}).query("patient == '007'")
    shown = re.findall(r"Cells with the highest scores for (\w+), by file and score: ([^\"]*)\.\"", page)
    assert [subtype for subtype, _ in shown] == registered.REGISTERED
    for subtype, captions in shown:
        best = scored[scored["subtype"] == subtype].nlargest(8, "score")
        numbers = [name.removeprefix("image_").removesuffix(".tif") for name in best["image"]]
        assert [caption.split(":")[0] for caption in captions.split(", ")] == numbers


def test_one_patients_folder_and_small_steps_give_the_same_scores(
    there: Path, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_IMAGES_AT_ONCE", 2)
    run("incoming/007", output="elsewhere/one")
    one = pd.read_csv("elsewhere/one/predictions.csv", dtype={"patient": "str"})
    all_of_them = pd.read_csv("predictions/incoming/predictions.csv", dtype={"patient": "str"}).query("patient == '007'")
    # of float32: another number of images at once is added up in another order
    pd.testing.assert_frame_equal(one, all_of_them.reset_index(drop=True), rtol=0, atol=1e-6)
    run("incoming/007", output="elsewhere/one")  # an earlier prediction may be replaced
    assert not list(Path("elsewhere").glob(".*"))


def test_maps_of_pixels_are_shown_if_those_of_this_very_model_passed_every_check(
    there: Path, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And of networks a cell's share follows from its logit."""
    assert "<h2>Why</h2>" not in Path("predictions/incoming/007.html").read_text(), "not unless it is asked"

    def asked() -> str:
        predict.run(config.load(), Path("incoming/007"), None, Path("elsewhere/why"), explain=True)
        return Path("elsewhere/why/007.html").read_text()

    page = asked()
    assert "no checks of this model’s maps are here; `python -m pipeline explain NPM1` checks them" in page
    assert re.search(r"predict: why: [\d.]+ s a patient", capsys.readouterr().out)
    assert page.count("Most suspicious, with shares") == len(registered.REGISTERED)
    one = pd.read_csv("elsewhere/why/images.csv").query("subtype == 'NPM1'")
    first = one.sort_values("score").iloc[-1]["image"].removesuffix(".tif")
    assert f"Most suspicious: {first}: " in page.partition("<summary>NPM1")[2]

    weights = {f"fold-{k}": files.sha256(Path(f"models/NPM1/published/fold-{k}/model.weights.h5")) for k in (0, 1)}
    checks = Path("reports/explained/NPM1/published/checks.json")
    checks.parent.mkdir(parents=True)
    passed = {"key": "deletion", "passed": True}
    known = {"weights": weights, "no_maps": "", "cells": [passed], "pixels": [passed]}
    failed = [{**passed, "passed": False}]
    try:
        checks.write_text(json.dumps(known))
        shown = asked().partition("<summary>NPM1")[2]
        assert "This model’s maps passed every check" in shown
        assert "Which pixels" in shown
        checks.write_text(json.dumps({**known, "cells": failed, "pixels": failed}))
        shown = asked().partition("<summary>NPM1")[2]
        assert (
            "No cells: their order failed its check, which is deletion. No maps of pixels: its maps failed “deletion”" in shown
        )
        assert "data:image" not in shown.partition("</details>")[0]
        champion = champions.load(mlflow_server.connect(), "NPM1")
        assert champion is not None
        for found, said in {
            json.dumps({**known, "pixels": failed}): "its maps failed “deletion”",
            json.dumps({**known, "no_maps": "made elsewhere", "pixels": []}): "made elsewhere",
            json.dumps({**known, "weights": {**weights, "fold-0": "0"}}): "no checks of this model’s maps are here",
            json.dumps({"weights": weights}): f"{checks} cannot be read",
            "[": f"{checks} cannot be read",
        }.items():
            checks.write_text(found)
            no_cells, no_maps = new_patients.left_away(champion)
            assert (no_cells, no_maps[: len(said)]) == ("", said)
        of_another = checks.parents[1] / "bags" / checks.name
        of_another.parent.mkdir()
        of_another.write_text("[")
        checks.write_text(json.dumps(known))
        assert new_patients.left_away(champion) == ("", ""), "whatever lies beside it"
    finally:
        shutil.rmtree("reports/explained")


def refused(error: type[PipelineError], said: str, *arguments: Any, **more: Any) -> None:
    with pytest.raises(error, match=re.escape(said)) as caught:
        run(*arguments, **more)
    assert r"\n" not in str(caught.value)


def test_bad_input_is_one_line_and_leaves_what_was_there(there: Path, printed: str, tmp_path: Path) -> None:
    before = (there / "predictions/incoming/predictions.csv").read_bytes()
    refused(DataError, "images of 30 um: PML_RARA v1 knows a field of view of 24.9 um and no other", "incoming", 30.0)
    assert (there / "predictions/incoming/predictions.csv").read_bytes() == before
    assert [path.name for path in (there / "predictions").iterdir() if path.is_dir()] == ["incoming"]
    refused(DataError, "no .tif, .tiff, .png, .jpg or .jpeg file in it or in the folders directly in it", str(tmp_path))
    refused(DataError, "incoming/none: no usable image; first none/image_0.tif: unreadable header", "incoming/none")
    (tmp_path / "image_1.tif").write_bytes(b"")
    (tmp_path / "patient").mkdir()
    refused(DataError, "holds images and folders", str(tmp_path))
    (tmp_path / "mine.txt").write_text("precious")
    refused(
        DataError, "exists and is no earlier prediction; name another folder with --output", "incoming", output=str(tmp_path)
    )
    assert (tmp_path / "mine.txt").read_text() == "precious"
    for name in (predict.TABLE, predict.IMAGES, predict.QUARANTINE):  # the names are common ones
        (tmp_path / name).write_text("somebody's")
        refused(DataError, "exists and is no earlier prediction", "incoming", output=str(tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "precious"
    put(tmp_path / "long" / ("P" * 251), registered.cells("NPM1", 1, seed=7))
    refused(DataError, "too long a name for a patient's page; shorten it", str(tmp_path / "long"))
    refused(DataError, "cannot be made (Not a directory)", "incoming", output=str(tmp_path / "mine.txt" / "below"))


def test_the_record_says_what_it_holds_and_how_long_a_training_took(there: Path, printed: str) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{there}/mlflow.db")
    experiment = client.get_experiment_by_name("NPM1")
    assert "kept_val_loss" in experiment.tags["mlflow.note.content"]
    columns = json.loads(experiment.tags["mlflow.sharedViewState.pipeline"])["selectedColumns"]
    runs = client.search_runs([experiment.experiment_id])
    folds = [run for run in runs if "fold" in run.data.tags]
    (candidate,) = [run for run in runs if "candidate" in run.data.tags]
    logged = {f"metrics.`{name}`" for name in candidate.data.metrics} | {"tags.`verdict`"}
    assert set(columns) - logged <= {"metrics.`kept_val_loss`"}, "a column of the view is one that runs have"
    assert candidate.info.start_time == min(run.info.start_time for run in folds)
    took = sum(run.info.end_time - run.info.start_time for run in folds)
    assert candidate.info.end_time - candidate.info.start_time == took


def test_a_wrong_folder_is_told_before_anything_heavy_is_loaded(project: Path) -> None:
    code = (
        "import sys; from pipeline.__main__ import main; status = main(['predict', 'nowhere'])\n"
        "print(status, {'mlflow', 'tensorflow', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env={**CLEAN, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 set()\n"
    assert done.stderr.startswith("error: nowhere: not a folder")


def test_without_any_champion_it_says_what_to_do(there: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/empty.db")
    refused(ModelError, "empty.db; `dvc repro` makes them", "incoming")


def test_a_champion_whose_digests_differ_is_refused(there: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{there}/mlflow.db")
    version = client.get_model_version_by_alias("NPM1", "champion")
    digest = version.tags["sha256.fold-0"]
    client.set_model_version_tag("NPM1", version.version, "sha256.fold-0", "0" * 64)
    try:
        refused(ModelError, "NPM1 v1: fold-0 is not what the registry names", "incoming")
    finally:
        client.set_model_version_tag("NPM1", version.version, "sha256.fold-0", digest)
    (listed,) = (there / "mlartifacts/NPM1").rglob("settings.json")
    settings = listed.read_text()
    listed.write_text(settings.replace('"operating_point": 0.', '"operating_point": 0.9'))
    assert listed.read_text() != settings
    try:
        refused(ModelError, "NPM1 v1: settings.json is not what the registry names", "incoming")
    finally:
        listed.write_text(settings)
    (weights,) = (there / "mlartifacts/NPM1").rglob("fold-0/model.weights.h5")
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        refused(ModelError, "NPM1 v1: cannot be loaded: ", "incoming")
    finally:
        weights.write_bytes(good)
    (about,) = (there / "mlartifacts/NPM1").rglob("MLmodel")
    sound = about.read_bytes()
    about.write_bytes(b"{a: 1}: [")
    try:
        refused(ModelError, "NPM1 v1: cannot be loaded: ", "incoming")
    finally:
        about.write_bytes(sound)


def test_images_in_two_patients_and_patients_of_the_cohort_are_told(
    there: Path, printed: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("A", "B"):
        put(tmp_path / "mixed" / name, registered.cells("NPM1", 2, seed=7))
    shutil.copy(tmp_path / "mixed/B/image_0.tif", tmp_path / "mixed/B/image_2.tif")
    put(tmp_path / "mixed/of the cohort", registered.cells("NPM1", 12)[:3])
    before = history.read()
    run(str(tmp_path / "mixed"))
    assert len(history.read()) == len(before) > 0, "of one who came before there are pictures in A and B; the third is not new"
    assert pd.read_csv("predictions/mixed/predictions.csv").groupby("patient")["images"].first()["B"] == 2
    (left,) = pd.read_csv("predictions/mixed/quarantine.csv").to_dict("records")
    assert left == {"patient": "B", "image": "image_2.tif", "reason": "same pixels as image_0.tif"}
    said = " ".join(capfd.readouterr().err.split())
    assert "2 images are the same in two patients, first A/image_0.tif and B/image_0.tif" in said
    assert "1 of 3 patients are in the cohort that models were made from, first of the cohort (3 of 3 images)" in said
    pages = {name: Path(f"predictions/mixed/{name}.html").read_text() for name in ("A", "of the cohort")}
    assert "3 of 3 images are of the cohort that models were made from" in pages["of the cohort"]
    assert "of the cohort that models" not in pages["A"]
    assert "1 of 3 is of the cohort that models were made from" in Path("predictions/mixed/index.html").read_text()


def test_an_image_unlike_those_of_training_is_told_from_one_like_them() -> None:
    def row(pixels: np.ndarray) -> dict[str, float]:
        numbers = decoding.statistics(pixels)
        return dict(zip(manifest.NUMBERS, (*numbers.mean, *numbers.std, numbers.sharpness), strict=True))

    cells = [decoding.decode(data) for name in ("control", "NPM1") for data in registered.cells(name, 20)]
    numbers = pd.DataFrame([row(cell) for cell in cells])
    known = training_range.of(numbers.assign(width=144))
    assert known["images"] == 40
    assert known["px"] == [144]
    unusual = ((numbers - numbers.median()) / numbers.std()).abs().max(axis=1)
    middle = cells[int(unusual.idxmin())]
    assert training_range.differences(144, row(middle), known) == []
    assert training_range.differences(72, row(middle), known) == ["72 px instead of 144"]
    blue = middle.copy()
    blue[..., 0] //= 2
    (red, *_) = training_range.differences(144, row(blue), known)
    assert re.fullmatch(r"red [\d.]+, not [\d.]+ to [\d.]+", red)
    low = float(known["mean_r"][0])
    just = training_range.differences(144, row(middle) | {"mean_r": low - 0.01}, known)
    assert just == [f"red {low - 0.01:g}, not {low:g} to {known['mean_r'][1]:g}"], "no row contradicts itself"
    flat = np.asarray(Image.fromarray(middle).resize((9, 9)).resize((144, 144)))
    assert any(text.startswith("sharpness") for text in training_range.differences(144, row(flat), known))


def test_a_page_tells_of_images_unlike_training(there: Path, tmp_path: Path) -> None:
    small = [decoding.resize(decoding.decode(data), 72) for data in registered.cells("NPM1", 9, seed=8)]
    put(tmp_path / "small", [registered.tiff(cell) for cell in small])
    before = history.read()
    predict.run(config.load(), tmp_path / "small", None, None, aside=True)
    pd.testing.assert_frame_equal(history.read(), before)
    table = pd.read_csv("predictions/small/predictions.csv")
    assert list(table["images_unlike"]) == [9, 9]
    page = Path("predictions/small/small.html").read_text()
    assert "9 of 9 images are unlike those the models were made from" in page
    assert "72 px instead of 144" in page


def test_names_that_are_not_utf8_or_not_printable(there: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/p\xff"))
    put(odd / "A", registered.cells("NPM1", 1, seed=9))
    put(Path(os.fsdecode(os.fsencode(odd) + b"/Q\xfe")), registered.cells("NPM1", 1, seed=10))
    put(odd / "R\x1b[2J", registered.cells("NPM1", 1, seed=12))
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    run(str(odd), output=str(tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert list(dict.fromkeys(table["patient"])) == ["A", "Q\\xfe", "R\\x1b[2J"]
