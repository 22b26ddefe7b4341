"""The whole pipeline as a user runs it: real `dvc repro` in a clean copy of the repository, on a tiny demo cohort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import write_params
from small_project import SUBTYPES, TINY, UNWRITABLE, call, copy_of_the_repository, lock, versions


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
    assert then == {"train@NPM1-published-0", "evaluate@NPM1-published", "report"}
    assert json.loads(call(repository, "dvc", "status", "--json")) == {}


def test_what_was_pushed_comes_back(repository: Path) -> None:
    call(repository, "dvc", "push")
    before = lock(repository)
    for folder in (".dvc/cache", "data/raw", "data/cells", "models"):
        shutil.rmtree(repository / folder)
    call(repository, "dvc", "pull")
    assert json.loads(call(repository, "dvc", "status", "--json")) == {}
    assert lock(repository) == before
<<<<<<< HEAD
=======


def test_a_fresh_clone_pulls_what_was_pushed_to_an_s3_store(repository: Path, tmp_path: Path) -> None:
    """Against a real S3 service on loopback, with the configuration of the README."""
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    store.start()
    try:
        host, port = store.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        client = boto3.client(
            "s3", endpoint_url=f"http://{host}:{port}", aws_access_key_id="me", aws_secret_access_key="secret"
        )
        client.create_bucket(Bucket="cells")
        clone = tmp_path / "clone"
        shallow = ["git", "clone", "--quiet", "--depth", "1", repository.as_uri(), str(clone)]
        subprocess.run(shallow, check=True)
        for committed in ("dvc.lock", "data/delivery.json", "data/folds.csv"):
            shutil.copy(repository / committed, clone / committed)
        call(repository, "dvc", "remote", "add", "--local", "--default", "store", "s3://cells/dvc")
        call(repository, "dvc", "remote", "modify", "--local", "store", "endpointurl", f"http://{host}:{port}")
        shutil.copy(repository / ".dvc/config.local", clone / ".dvc")
        call(repository, "dvc", "push", **keys)
        call(clone, "dvc", "pull", "--allow-missing", **keys)
        assert (clone / "models/NPM1/published/fold-0/model.weights.h5").is_file()
        stale = {stage.split("@")[0] for stage in json.loads(call(clone, "dvc", "status", "--json"))}
        assert stale <= {"evaluate", "audit", "register"}  # their metrics.json belong to git
    finally:
        store.stop()
        call(repository, "dvc", "remote", "remove", "--local", "store")


def test_all_folds_test_every_patient_once_and_make_one_model(repository: Path) -> None:
    kept = ("params.yaml", "dvc.lock", "reports/NPM1/published/metrics.json")
    originals = {name: (repository / name).read_bytes() for name in kept}
    try:
        write_params(repository / "params.yaml", {**TINY, "folds": [0, 1, 2]})
        said = call(repository, "dvc", "repro", "register@NPM1", HOME=UNWRITABLE)
        assert "'train@NPM1-published-0' didn't change" in said
        metrics = json.loads((repository / "reports/NPM1/published/metrics.json").read_text())
        patients = pd.read_csv(repository / "reports/NPM1/published/patients.csv")
        dealt = pd.read_csv(repository / "data/splits/NPM1.csv")
        assert metrics["patients"] == len(patients) == len(dealt) == 11
        merged = patients.merge(dealt, on="patient", suffixes=("", "_dealt"))
        assert (merged["fold"] == merged["fold_dealt"]).all()
        assert versions(repository)["NPM1"] == ["1", "2"]
    finally:
        for name, content in originals.items():
            (repository / name).write_bytes(content)
        call(repository, "dvc", "checkout", "--force")


def test_a_server_lost_while_a_network_trains_costs_a_warning_and_register_fills_the_gap(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    weights = repository / "models" / "NPM1" / "published" / "fold-0" / "model.weights.h5"
    before = weights.read_bytes()
    for checkpoint in (repository / ".checkpoints").glob("NPM1-*"):
        checkpoint.unlink()
    server = MlflowServer(tmp_path)
    environment = {**CLEAN, "MLFLOW_TRACKING_URI": server.address}
    with server:
        run = subprocess.Popen(
            ["python", "-m", "pipeline", "train", "NPM1", "0"],
            cwd=repository,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert run.stdout is not None
        told = []
        for line in run.stdout:
            told.append(line)
            if line.startswith("epoch   2/"):
                break
        server.kill()
        rest = run.stdout.read()
        run.stdout.close()
        assert run.wait() == 0, rest
    assert [line for line in told if line.startswith("at most about ") and "for the 4 epochs left" in line]
    assert rest.count("warning: MLflow at") == 1
    assert "completes its run from the files" in rest
    assert weights.read_bytes() == before
    monkeypatch.setattr(mlflow_links, "ROOT", repository)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    with server:
        subprocess.run(["python", "-m", "pipeline", "register"], cwd=repository, env=environment, check=True)
        client = MlflowClient(server.address)
        for subtype in SUBTYPES:
            known = client.search_runs([client.get_experiment_by_name(subtype).experiment_id])
            (fold,) = [run for run in known if "training" in run.data.tags]
            steps = [metric.step for metric in client.get_metric_history(fold.info.run_id, "val_loss")]
            assert steps == list(range(TINY["train.max_epochs"]))
            assert client.get_model_version_by_alias(subtype, "champion").version == "1"
            experiment = fold.info.experiment_id
            assert mlflow_links.find_trainings(subtype, "published") == {
                fold.info.run_name: f"{server.address}/#/experiments/{experiment}/runs/{fold.info.run_id}"
            }
    assert mlflow_links.find_trainings("NPM1", "published") == {}  # the server is gone


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[Path, str]:
    """A second checkout with the same data, where nothing is known of a training, which is killed -9 in its middle.

    And what the next run printed. test_fitting.py kills a training twice.
    """
    folder = copy_of_the_repository(tmp_path_factory.mktemp("two"))
    for made in ("data", "reports/validation"):
        shutil.copytree(repository / made, folder / made, dirs_exist_ok=True)
    call(folder, "dvc", "commit", "--force", *before_training(repository))
    command = ["dvc", "repro", "train@NPM1-published-0"]
    run = subprocess.Popen(
        command,
        cwd=folder,
        env=CLEAN,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith("epoch   4/"):
            break
    else:
        pytest.fail("the training was over before it could be killed")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()
    time.sleep(0.2)
    return folder, call(folder, *command)


def before_training(repository: Path) -> list[str]:
    stages = ("delivery", "ingest", "validate", "deal", "split", "pack", "candidates")
    return [stage for stage in lock(repository) if stage in stages]


def test_a_training_that_was_killed_ends_with_the_same_lock(repository: Path, killed: tuple[Path, str]) -> None:
    ran, whole = lock(killed[0]), lock(repository)
    assert set(ran) == {*before_training(repository), "train@NPM1-published-0"}
    assert ran == {stage: whole[stage] for stage in ran}


def test_epochs_before_the_kill_are_not_trained_again(killed: tuple[Path, str]) -> None:
    assert "resumed after epoch" in killed[1]
    trained = [line for line in killed[1].splitlines() if line.startswith("epoch ")]
    assert 0 < len(trained) <= TINY["train.max_epochs"] - 4
>>>>>>> doors
