"""What was registered before goes on: models of a former version load, score as they did, and are not registered again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import former_version
import mlflow
import numpy as np
import pandas as pd
import pytest
import test_decoding
import weights
from conftest import write_params
from former_version import CANDIDATE, FOLDS, SUBTYPE
from mlflow.exceptions import MlflowException

from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.common import config, files, paths
from pipeline.common.errors import ConfigError
from pipeline.evaluation import published_figures
from pipeline.machine import device
from pipeline.networks import recipe
from pipeline.registry import mlflow_server, model_files, versions
from pipeline.stages import candidates, evaluate, predict, register, train, tune


@pytest.fixture
def former(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the former version; what it had trained and measured lies where it belongs now."""
    former_version.unpack(here)
    former_version.move_results(here)
    weights.all_the_same(SUBTYPE, CANDIDATE)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")  # MLflow remembers databases by address
    return here


def registered() -> dict[str, list[str]]:
    """Version -> the names it carries."""
    client = mlflow_server.connect()
    return {str(model.version): versions.aliases(client, model) for model in versions.versions(client, SUBTYPE)}


def test_its_models_have_the_figures_they_had(former: Path) -> None:
    """But for patients' scores and calls, which it did not calibrate (their order is what it was), and for bounds."""
    folder = paths.report(SUBTYPE, CANDIDATE)
    before = tables(folder)
    shutil.rmtree(folder)
    evaluate.run(config.load(), [SUBTYPE], [CANDIDATE])
    now = tables(folder)
    headline = {
        name: table["metrics.json"].filter(regex=r"^images$|image_\w+\.value|patient_au\w+\.value|^patients$")
        for name, table in (("then", before), ("now", now))
    }
    pd.testing.assert_frame_equal(headline["now"], headline["then"], rtol=1e-6)
    for name in ("poolings.csv", "by_class.csv"):
        figures = [column for column in before[name] if not column.endswith(("low", "high"))]
        pd.testing.assert_frame_equal(now[name][figures], before[name][figures], rtol=1e-6)
    kept = ["fold", "controls", "subtype_patients", "images", "image_auroc", "patient_auroc", "temperature"]
    pd.testing.assert_frame_equal(now["folds.csv"][kept], before["folds.csv"][kept], rtol=1e-6)


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The figures of a report, by file."""
    of_classes = {path.name: pd.read_csv(path) for path in folder.glob("*.csv")}
    return {"metrics.json": pd.json_normalize(json.loads((folder / "metrics.json").read_text())), **of_classes}


def test_its_settings_end_in_the_name_that_a_key_has_now(former: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.models: is candidates\.published\.networks now") as said:
        config.load(Path("former_params.yaml"))
    assert r"\n" not in str(said.value)


def test_what_it_left_where_nothing_belongs_now_is_removed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stages depend on these folders: with it they would never be as in a fresh clone."""
    former_version.unpack(here)
    for name in (f"data/evaluated/{SUBTYPE}.json", f"reports/audit/{SUBTYPE}.json", f"reports/audit/{SUBTYPE}_networks.json"):
        files.write(here / name, "{}")
    candidates.run(config.load())
    assert f"candidates: models/{SUBTYPE}/fold-0 removed" in capsys.readouterr().out
    left = [path for place in ("models", "data/evaluated", "reports") for path in (here / place).rglob("*") if path.is_file()]
    assert left == []


def test_what_it_registered_is_recognised_and_said_once(former: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"{SUBTYPE} v1: registered by a former version of this pipeline"
    runs = len(former_version.runs())
    for told in (1, 0):
        register.run(config.load(), [SUBTYPE], [CANDIDATE])
        assert registered() == {"1": ["champion"]}
        assert capsys.readouterr().out.count(said) == told
    assert len(former_version.runs()) == runs


def test_trained_again_to_the_same_bytes_it_is_the_same_model(former: Path) -> None:
    """Knobs, machine, data and code stand in a spec, and with them the digest of a training: it does not depend on these.

    Nor does it on what is told of the cohort beside its scores.
    """
    settings = config.load()
    for fold in FOLDS:
        path = paths.fold(SUBTYPE, CANDIDATE, fold) / "spec.json"
        before = json.loads(path.read_text())
        machine = asdict(device.prepare("float32")) | {"name": "another"}
        spec = recipe.spec(settings, SUBTYPE, CANDIDATE, fold, before["normalisation"], machine)
        assert spec["training"] != before["training"]
        path.write_text(json.dumps(spec))
    source = json.loads(paths.SOURCE.read_text())
    paths.SOURCE.write_text(json.dumps(source | {"cohort": "release 2", "new": "key"}))
    register.run(settings, [SUBTYPE], [CANDIDATE])
    assert registered() == {"1": ["champion"]}


def of_spec(change: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
    def changed() -> None:
        path = paths.fold(SUBTYPE, CANDIDATE, 1) / "spec.json"
        spec = json.loads(path.read_text())
        change(spec)
        path.write_text(json.dumps(spec))

    return changed


def other_weights() -> None:
    folders = [paths.fold(SUBTYPE, CANDIDATE, fold) for fold in FOLDS]
    shutil.copy(folders[0] / "model.weights.h5", folders[1] / "model.weights.h5")


def of_folds(**values: float) -> Callable[[], None]:
    def changed() -> None:
        path = paths.report(SUBTYPE, CANDIDATE) / "folds.csv"
        pd.read_csv(path).assign(**values).to_csv(path, index=False)

    return changed


OTHER = {
    "weights": other_weights,
    "a layer": of_spec(lambda spec: spec["layers"][-1].update(units=8)),
    "the normalisation": of_spec(lambda spec: spec["normalisation"]["mean"].reverse()),
    "patients whom a search saw": of_spec(lambda spec: spec.update(tuned_on={"patients": 3, "sha256": "0" * 64})),
    "temperatures": of_folds(temperature=1.0),
    "an operating point": of_folds(threshold=0.4),
}


@pytest.mark.parametrize("what", OTHER)
def test_with_another_of_these_it_is_another_model(former: Path, what: str) -> None:
    OTHER[what]()
    register.run(config.load(), [SUBTYPE], [CANDIDATE])
    assert registered() == {"1": ["champion"], "2": ["challenger"]}


def test_a_version_whose_files_are_gone_is_registered_again(former: Path) -> None:
    shutil.rmtree(former / "mlartifacts" / SUBTYPE / "models")
    register.run(config.load(), [SUBTYPE], [CANDIDATE])
    assert list(registered()) == ["1", "2"]


def test_predict_gives_its_champion_the_scores_it_gave(former: Path) -> None:
    before = {name: pd.read_csv(former / "predictions/new_patients" / name) for name in (predict.TABLE, predict.IMAGES)}
    predict.run(config.load(), former / "new_patients", None, None)
    for name, table in before.items():
        now = pd.read_csv(former / "predictions/new_patients" / name)
        same = [column for column in table if column != "unlike"]  # its numbers have more digits than they had
        pd.testing.assert_frame_equal(now[same], table[same], rtol=1e-6)


def scores(model: Any, images: list[Any], **more: list[Any]) -> pd.DataFrame | None:
    """What a served model gives these images; None if it refuses one of them."""
    try:
        return pd.DataFrame(model.predict(pd.DataFrame({"image": pd.Series(images, dtype=object), **more})))
    except MlflowException:
        return None


def test_code_that_scores_otherwise_than_that_of_registered_models_has_another_number(
    former: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would get it else: it is no part of what makes a model this one.

    What it takes and refuses may change, and how it decodes a file: a cohort with such files is trained to other weights.
    """
    with monkeypatch.context() as patch:
        patch.setattr(model_files, "SERVING", 0)  # so that it is registered again, with the code of now
        register.run(config.load(), [SUBTYPE], [CANDIDATE])
    assert list(registered()) == ["1", "2"]
    then, now = (mlflow.pyfunc.load_model(f"models:/{SUBTYPE}/{version}") for version in (1, 2))
    cells = sorted((former / "new_patients").rglob("*.tif"))
    asked: dict[str, tuple[list[Any], dict[str, list[Any]]]] = {
        **{f"{px} px": ([test_decoding.cell(seed, px=px) for seed in range(5)], {}) for px in (16, 24, 40, 144)},
        "patients": ([cell.read_bytes() for cell in cells], {"patient": [cell.parent.name for cell in cells]}),
    }
    for name, (images, patients) in asked.items():
        before, after = scores(then, images, **patients), scores(now, images, **patients)
        assert after is not None, name
        same = before is None or np.allclose(before.astype(float), after[list(before)].astype(float), rtol=1e-6)
        assert same or model_files.SERVING > 1, f"{name}: {before} and now {after}: raise model_files.SERVING"
    assert before is not None
    assert set(before["patient_call"]) == {True, False}


def test_its_pseudonyms_stay(former: Path) -> None:
    table = former / "pseudonyms" / "table.csv"
    before = table.read_text()
    names = Pseudonyms(table.parent)
    assert names.patient("Maier-Ann") == "P6SNG4N7Z3A"
    assert names.path("KRX/smear of 3 May.tif") == "PMMX3VHGYUT/file_YBXTRPDO55.tif"
    names.write_table()
    assert table.read_text() == before


def test_a_checkpoint_of_its_training_is_not_gone_on_with_and_why_not_is_said(
    former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = {path.name: path for path in paths.CHECKPOINTS.glob("*.npz")}
    before = pd.read_csv(paths.fold(SUBTYPE, CANDIDATE, 0) / "history.csv")
    said = "begins anew: .checkpoints/NPM1-fold-0-90091c65647e6512.npz is of other settings, data or code"
    for told in (1, 0):
        train.run(config.load(), SUBTYPE, CANDIDATE, 0)
        assert capsys.readouterr().out.count(said) == told
    (ours,) = set(paths.CHECKPOINTS.glob("*.npz")) - set(theirs.values())
    assert ours.name.startswith("NPM1-")
    assert [name for name, path in theirs.items() if path.exists()] == ["NPM1-fold-1-faa74ec8c1b915a6.npz"]
    after = pd.read_csv(paths.fold(SUBTYPE, CANDIDATE, 0) / "history.csv")
    pd.testing.assert_frame_equal(after, before, rtol=1e-3)  # to the bit on the machine that made them


def test_its_search_is_not_gone_on_with_and_why_not_is_said(
    former: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(published_figures.NETWORKS, SUBTYPE)  # a trial of it takes seconds
    write_params(former / "params.yaml", former_version.SETTINGS | {"tune.trials": 1, "tune.max_epochs": 1})
    for told in (1, 0):
        tune.run(config.load(), SUBTYPE, CANDIDATE, apply=False, only_trials=True)
        said = capsys.readouterr().out
        assert ("begins anew: NPM1 7e598a4e8d91 had other settings, data or code" in said) == ("begins anew" in said) == told
