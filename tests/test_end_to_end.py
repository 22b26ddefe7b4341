"""The whole pipeline as a user runs it: real `dvc repro` in a clean copy of the repository, on a tiny demo cohort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import write_params
from small_project import SUBTYPES, TINY, UNWRITABLE, call, copy_of_the_repository, lock, versions

pytestmark = pytest.mark.rehearsal


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_of_the_repository(tmp_path_factory.mktemp("one"))
    call(folder, "dvc", "repro")
    return folder


def test_everything_is_there_and_nothing_is_stale(repository: Path) -> None:
    assert json.loads(call(repository, "dvc", "status", "--json")) == {}
    shown = json.loads(call(repository, "dvc", "metrics", "show", "--json"))
    for subtype in SUBTYPES:
        metrics = shown[""]["data"][f"reports/{subtype}/published/metrics.json"]["data"]
        assert 0 <= metrics["patient_auroc"]["low"] <= metrics["patient_auroc"]["value"] <= 1
        assert metrics["patients"] >= 3
        audit = json.loads((repository / "reports" / "audit" / subtype / "published.json").read_text())
        assert [check["name"] for check in audit["checks"][:3]] == ["patients_apart", "same_pictures", "similar_pictures"]
        assert not [check for check in audit["checks"][:3] if check["red"]]
    call(repository, "dvc", "plots", "show", "--out", "plots")
    page = (repository / "plots" / "index.html").read_text()
    assert page.count("<img") == 5 * len(SUBTYPES)
    assert "://" not in page, "it loads nothing from elsewhere"
    assert (repository / "reports" / "index.html").stat().st_size > 1000
    assert call(repository, "git", "status", "--porcelain", "--untracked-files=no") == ""


def test_a_second_run_does_nothing(repository: Path, tmp_path: Path) -> None:
    """Nor from a folder that is a link to this one, in a shell, where nobody may write at home."""
    (link := tmp_path / "link").symlink_to(repository)
    assert "up to date" in call(tmp_path, "bash", "-c", 'cd "$0" && exec dvc repro', str(link), HOME=UNWRITABLE)


def test_registering_again_adds_nothing_and_an_empty_registry_is_filled_from_the_files(repository: Path) -> None:
    before = call(repository, "python", "-m", "pipeline", "register")
    assert versions(repository) == {subtype: ["1"] for subtype in SUBTYPES}
    for path in repository.glob("mlflow.db*"):
        path.unlink()
    after = call(repository, "python", "-m", "pipeline", "register")
    assert [line for line in after.splitlines() if "│" in line] == [line for line in before.splitlines() if "│" in line]
    assert "NPM1 v1: champion: is the champion, and all floors are reached" in after
    assert "epoch" not in after
    assert versions(repository) == {subtype: ["1"] for subtype in SUBTYPES}


def test_other_floors_are_another_verdict_on_the_same_version(repository: Path) -> None:
    original = (repository / "params.yaml").read_bytes()
    try:
        floors = {"image_accuracy": 1.0, "patient_sensitivity": 1.0, "patient_specificity": 1.0}
        write_params(repository / "params.yaml", {**TINY, "register.floors.cnn": floors})
        refused = call(repository, "python", "-m", "pipeline", "register", "NPM1")
    finally:
        (repository / "params.yaml").write_bytes(original)
    assert "challenger" in refused
    assert "champion" not in refused
    assert "champion" in call(repository, "python", "-m", "pipeline", "register", "NPM1")
    assert versions(repository)["NPM1"] == ["1"]


def test_mlflow_shows_the_curves_the_knobs_and_the_folds_below_their_model(repository: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{repository}/mlflow.db")
    for subtype in SUBTYPES:
        experiment = client.get_experiment_by_name(subtype)
        runs = client.search_runs([experiment.experiment_id])
        (model,) = [run for run in runs if "candidate" in run.data.tags]
        (fold,) = [run for run in runs if "training" in run.data.tags]
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert fold.data.tags["mlflow.parentRunId"] == model.info.run_id
        history = pd.read_csv(repository / "models" / subtype / "published" / "fold-0" / "history.csv")
        logged = client.get_metric_history(fold.info.run_id, "val_loss")
        assert [(metric.step, metric.value) for metric in logged] == list(
            zip(history["epoch"], history["val_loss"], strict=True)
        )
        assert fold.data.params["learning_rate"] == "0.001"
        assert len(fold.data.tags["sha256.cells"]) == len(fold.data.tags["sha256.split"]) == 64
        figures = json.loads((repository / "reports" / subtype / "published" / "metrics.json").read_text())
        assert model.data.metrics["patient_auroc"] == figures["patient_auroc"]["value"]
        assert model.data.metrics["patient_auroc_low"] == figures["patient_auroc"]["low"]
        (kept,) = history.loc[history["kept"] == 1, "val_loss"]
        assert {figures["kept_val_loss"], *(run.data.metrics["kept_val_loss"] for run in (model, fold))} == {kept}


def test_the_registered_model_scores_an_image_file_as_the_evaluation_does(repository: Path) -> None:
    """Loaded by MLflow alone, where this package cannot be imported."""
    code = """
import json, sys
import mlflow, numpy as np, pandas as pd
mlflow.set_tracking_uri("sqlite:///mlflow.db")
scored = pd.read_parquet("models/NPM1/published/fold-0/predictions.parquet").query("split == 'test'").head(20)
heat = pd.read_csv("reports/NPM1/published/folds.csv")["temperature"][0]
images = pd.DataFrame({"image": [open(f"data/raw/{path}", "rb").read() for path in scored["path"]]})
sys.path = [path for path in sys.path if path not in ("", sys.argv[1])]
scores = mlflow.pyfunc.load_model("models:/NPM1@champion").predict(images)["score"].to_numpy()
assert "pipeline" not in sys.modules
print(json.dumps(float(abs(scores - 1 / (1 + np.exp(-scored["logit"].to_numpy() / heat))).max())))
"""
    printed = call(repository, "bash", "-c", 'exec python -c "$0" "$1" 2>&1', code, str(repository))
    assert float(printed.strip()) < 1e-6, "and TensorFlow does not greet"


def test_the_notebook_runs_from_its_own_folder(repository: Path) -> None:
    """Its cells one after the other, as a notebook program would, but for their pictures."""
    cells = json.loads((repository / "notebooks/champion.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    printed = call(repository / "notebooks", "python", "-c", code, MPLBACKEND="agg")
    assert "NPM1 v1: champion" in printed
    patient = sorted((repository / "data/raw/NPM1").iterdir())[0]
    assert f"{patient.name}: {len(list(patient.iterdir()))} images" in printed
    assert "called NPM1" in printed
    assert [path.name for path in (repository / "notebooks").iterdir()] == ["champion.ipynb"]


def test_a_change_of_one_network_makes_only_its_stages_stale(repository: Path) -> None:
    original = (repository / "params.yaml").read_bytes()
    try:
        models = {
            **TINY["candidates.published.networks"],
            "NPM1": {**TINY["candidates.published.networks"]["NPM1"], "dense": [16]},
        }
        write_params(repository / "params.yaml", {**TINY, "candidates.published.networks": models})
        at_once = set(json.loads(call(repository, "dvc", "status", "--json")))
        call(repository, "dvc", "repro", "candidates")
        then = set(json.loads(call(repository, "dvc", "status", "--json")))
    finally:
        (repository / "params.yaml").write_bytes(original)
        call(repository, "dvc", "repro", "candidates")
    assert at_once == {"candidates", "report"}
    assert then == {"train@NPM1-published-0", "evaluate@NPM1-published", "audit@NPM1-published", "report"}
    assert json.loads(call(repository, "dvc", "status", "--json")) == {}


def test_what_was_pushed_comes_back(repository: Path) -> None:
    call(repository, "dvc", "push")
    before = lock(repository)
    for folder in (".dvc/cache", "data/raw", "data/cells", "models"):
        shutil.rmtree(repository / folder)
    call(repository, "dvc", "pull")
    assert json.loads(call(repository, "dvc", "status", "--json")) == {}
    assert lock(repository) == before
