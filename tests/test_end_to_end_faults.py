"""What befalls a run as a user starts it: every fold, a store elsewhere, a tracking server lost, a process killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import boto3
import pandas as pd
import pytest
from conftest import write_params
from moto.server import ThreadedMotoServer
from processes import CLEAN, MlflowServer
from small_project import SUBTYPES, TINY, UNWRITABLE, call, copy_of_the_repository, lock, versions

from flows import mlflow_links

pytestmark = pytest.mark.rehearsal


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_of_the_repository(tmp_path_factory.mktemp("one"))
    call(folder, "dvc", "repro")
    return folder


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
    environment = {**CLEAN, "MLFLOW_TRACKING_URI": server.address, "MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
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
    monkeypatch.setattr(mlflow_links, "_PATIENCE_S", 120.0)
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

    And what the next run printed.
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
        if line.startswith("epoch   2/"):
            break
    else:
        pytest.fail("the training was over before it could be killed")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()
    time.sleep(0.2)
    return folder, call(folder, *command)


def before_training(repository: Path) -> list[str]:
    stages = ("delivery", "ingest", "validate", "deal", "split", "pack", "candidates", "weigh")
    return [stage for stage in lock(repository) if stage in stages]


def test_a_training_that_was_killed_ends_with_the_same_lock(repository: Path, killed: tuple[Path, str]) -> None:
    ran, whole = lock(killed[0]), lock(repository)
    assert set(ran) == {*before_training(repository), "train@NPM1-published-0"}
    assert ran == {stage: whole[stage] for stage in ran}


def test_epochs_before_the_kill_are_not_trained_again(killed: tuple[Path, str]) -> None:
    assert "resumed after epoch" in killed[1]
    trained = [line for line in killed[1].splitlines() if line.startswith("epoch ")]
    assert 0 < len(trained) <= TINY["train.max_epochs"] - 2
