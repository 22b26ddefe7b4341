"""A whole search on a cohort of brightness: what it sees, what it claims, what it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import write_params
from tiny_search import IMAGES, PATIENTS, PX, TINY, cohort

from pipeline.common import config, paths
from pipeline.common.errors import ConfigError, ModelError
from pipeline.folds import split_table
from pipeline.registry import mlflow_runs
from pipeline.search import finalists, optuna_study, setup
from pipeline.stages import tune


@pytest.fixture(scope="module", autouse=True)
def _eagerly() -> Iterator[None]:
    """For networks as small as these, to build a step takes a hundred times longer than to make it."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search has ended and its winner was put into params.yaml."""
    folder = tmp_path_factory.mktemp("searched")
    settings = cohort(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        tune.run(settings, "NEW", "published", apply=True, only_trials=False)
    return folder


@pytest.fixture
def copy(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in a folder of one's own, before the winner was put into params.yaml."""
    folder = tmp_path / "copy"
    shutil.copytree(searched, folder)
    write_params(folder / "params.yaml", TINY)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")  # MLflow remembers a relative one
    return folder


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "reports/tune/NEW/result.json").read_text())
    return found


def test_it_leaves_a_winner_its_figures_and_pictures(searched: Path) -> None:
    found, folder = result(searched), searched / "reports/tune/NEW"
    assert found["winner"] in {finalist["name"] for finalist in found["finalists"]}
    assert {len(finalist["losses"]) for finalist in found["finalists"]} == {2}
    means = {finalist["name"]: np.mean(finalist["losses"]) for finalist in found["finalists"]}
    assert found["winner"] == min(means, key=lambda name: means[name])
    assert set(found["figures"]) == {"params.yaml", found["winner"]}
    for figures in found["figures"].values():
        assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in figures.values())
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["trial"].tolist() == [0, 1, 2]
    assert trials.loc[0, ["first_conv", "conv", "dense", "learning_rate"]].tolist() == [2, "[4]", "[4]", 0.01]
    for name in ("history", "importances", "front"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in (folder / "result.md").read_text()
    assert "The search saw 4 + 4 other patients" in (folder / "result.md").read_text()


def test_the_winner_is_put_into_params_yaml_with_the_patients_that_the_search_saw(searched: Path) -> None:
    found = result(searched)
    network = config.load(searched / "params.yaml").candidates["published"].networks["NEW"]
    winner = next(finalist for finalist in found["finalists"] if finalist["name"] == found["winner"])
    if found["winner"] == "params.yaml":
        assert network.tuned_on is None
        return
    split = pd.read_csv(searched / paths.split_table("NEW"))
    assert network.tuned_on == sorted(split.loc[split["fold"].isin([2, 3]), "patient"])
    assert network.model_dump(exclude_none=True, exclude={"tuned_on"}) == winner["network"]
    assert found["tuned_on"] == split_table.told_apart(network.tuned_on)


def test_a_winner_that_is_taken_when_its_figures_are_known_costs_the_fold_they_are_of(copy: Path) -> None:
    settings = config.load(copy / "params.yaml")
    tune.run(settings, "NEW", "published", apply=True, only_trials=False)
    network, found = config.load(copy / "params.yaml").candidates["published"].networks["NEW"], result(copy)
    if found["winner"] == "params.yaml":
        assert network.tuned_on is None
        return
    split = pd.read_csv(copy / paths.split_table("NEW"))
    assert network.tuned_on == sorted(split.loc[split["fold"].isin([0, 2, 3]), "patient"])


def test_finalists_are_judged_on_other_folds_than_the_trials_were() -> None:
    assert [finalists.judged_on([2, 3, 4], 1, number) for number in range(4)] == [3, 4, 3, 4]
    assert [finalists.judged_on([2, 3, 4], 2, number) for number in range(3)] == [4, 4, 4]
    assert [finalists.judged_on([2, 3], 2, number) for number in range(3)] == [2, 3, 2]  # there is no other


def test_patients_of_other_folds_change_nothing_of_the_search(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outer fold's test patients, and those who stop its trainings, are replaced by noise: every trial ends as before."""
    settings = cohort(tmp_path)
    split = pd.read_csv(tmp_path / paths.split_table("NEW")).set_index("patient")["fold"]
    for name in ("control", "NEW"):
        cells = np.load(tmp_path / paths.cells(name))
        others = pd.read_parquet(tmp_path / paths.cell_rows(name))["patient"].map(split).isin([0, 1])
        cells[others] = np.random.default_rng(1).integers(0, 256, (others.sum(), PX, PX, 3))
        np.save(tmp_path / paths.cells(name), cells)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    tune.run(settings, "NEW", "published", apply=False, only_trials=True)
    ended = re.findall(r"trial (\d) (ended|given up).*?loss ([\d.]+)", capsys.readouterr().out)
    before = pd.read_csv(searched / "reports/tune/NEW/trials.csv")
    assert [(int(place), float(loss)) for place, _, loss in ended] == list(
        zip(before["trial"], before["loss"].round(4), strict=True)
    )


def test_mlflow_has_a_run_for_every_trial_below_the_search_and_no_patient(searched: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{searched}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("NEW").experiment_id])
    (parent,) = [run for run in runs if "search" in run.data.tags]
    trials = {run.data.tags["trial"].split()[-1]: run for run in runs if "trial" in run.data.tags}
    assert sorted(trials) == ["0", "1", "2"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} == {parent.info.run_id}
    assert {run.info.status for run in trials.values()} <= {"FINISHED", "KILLED"}
    assert trials["0"].data.params["first_conv"] == "2"
    assert trials["0"].data.metrics["best_val_loss"] > 0
    assert parent.data.tags["mlflow.note.content"].startswith("# Search for NEW")
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"front.png", "history.png", "trials.csv"}
    names = pd.read_csv(searched / paths.split_table("NEW"))["patient"]
    with sqlite3.connect(searched / "mlflow.db") as database:
        records = "\n".join(database.iterdump())
    artifacts = [file.read_text() for file in (searched / "mlartifacts").rglob("*") if file.suffix in (".json", ".csv", ".md")]
    assert not [name for name in names if any(name in text for text in (records, *artifacts))]


def test_the_same_again_trains_nothing_and_says_the_same(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in (copy / "reports/tune/NEW").iterdir()}
    tune.run(config.load(), "NEW", "published", apply=False, only_trials=False)
    assert {path.name: path.read_bytes() for path in (copy / "reports/tune/NEW").iterdir()} == before
    said = capsys.readouterr().out
    assert "all 3 trials have ended before" in said
    assert "trial 0 ended" not in said


def test_gone_on_with_after_apply_every_network_keeps_its_own_figures(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "applied"
    shutil.copytree(searched, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    before = result(folder)
    tune.run(config.load(), "NEW", "published", apply=False, only_trials=False)
    after = result(folder)
    losses = {json.dumps(finalist["network"]): finalist["losses"] for finalist in before["finalists"]}
    own = next(finalist for finalist in after["finalists"] if finalist["name"] == "params.yaml")
    assert own["losses"] == losses[json.dumps(own["network"])] == min(losses.values(), key=np.mean)
    assert after["figures"]["params.yaml"] == before["figures"][before["winner"]]


def test_of_test_patients_whom_an_earlier_search_saw_nothing_is_claimed(copy: Path) -> None:
    split = pd.read_csv(copy / paths.split_table("NEW"))
    network = TINY["candidates.published.networks"]["NEW"] | {"tuned_on": split.loc[split["fold"] == 0, "patient"].tolist()}
    write_params(copy / "params.yaml", TINY | {"candidates.published.networks": {"NEW": network}})
    tune.run(config.load(), "NEW", "published", apply=False, only_trials=False)
    assert result(copy)["leak"]
    assert "LEAK" in (copy / "reports/tune/NEW/result.md").read_text()


def test_a_search_that_saw_everybody_claims_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(copy / "params.yaml", TINY | {"tune.patients": "all", "tune.trials": 1})
    tune.run(config.load(), "NEW", "published", apply=False, only_trials=False)
    said = capsys.readouterr()
    assert "no figure of what it finds can be claimed" in said.err
    assert "LEAK: the search saw these test patients" in said.out
    found = result(copy)
    assert found["leak"]
    assert found["tuned_on"]["patients"] == 2 * PATIENTS
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{copy}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("NEW").experiment_id], f"tags.search = '{found['study']}'")
    assert "leaked_image_auroc" in runs[0].data.metrics
    assert "image_auroc" not in runs[0].data.metrics


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split.n_folds": 3}, "3 folds leave 1 to search on"),
        ({"tune.fold": 4}, "there is no fold 4"),
        ({"tune.folds_per_trial": 3}, "more than the 2 folds"),
        ({"train.min_epochs": 2, "tune.max_epochs": 1}, "below train.min_epochs"),
        (
            {"tune.patients": "all", "down_weighted": ["published"]},
            "tune.patients: all goes beyond the patients who train",
        ),
        ({"pack.px": 24}, "tune.space.px: 16 does not divide"),
        (
            {"candidates.published.networks": {"NEW": {"first_conv": 3, "conv": [4], "dense": [4], "learning_rate": 0.01}}},
            "first_conv 3 is not in",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(copy: Path, changes: dict[str, Any], said: str) -> None:
    write_params(copy / "params.yaml", TINY | changes)
    if "pack.px" in changes:
        for name in ("control", "NEW"):
            np.save(paths.cells(name), np.zeros((PATIENTS * IMAGES, 24, 24, 3), dtype=np.uint8))
    with pytest.raises(ConfigError, match=said) as caught:
        tune.run(config.load(), "NEW", "published", apply=False, only_trials=False)
    assert r"\n" not in str(caught.value)


@pytest.mark.rehearsal
def test_stopped_in_the_middle_of_a_trial_it_goes_on_from_there(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = cohort(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    report, told = optuna_study.Ask.report, []

    def ctrl_c(ask: optuna_study.Ask, step: int, loss: float) -> None:
        told.append((ask.place, step))
        if told.count((1, 0)) == 1 and told[-1] == (1, 0):
            raise KeyboardInterrupt
        report(ask, step, loss)

    monkeypatch.setattr(optuna_study.Ask, "report", ctrl_c)
    with pytest.raises(SystemExit) as stopped:
        tune.run(settings, "NEW", "published", apply=False, only_trials=True)
    assert stopped.value.code == 130
    assert "nothing is lost" in capsys.readouterr().err
    assert list(tmp_path.glob(".tune/*/trial-1-*.npz"))
    tune.run(settings, "NEW", "published", apply=False, only_trials=True)
    said = capsys.readouterr().out
    assert "trial 0 ended" not in said
    before = pd.read_csv(searched / "reports/tune/NEW/trials.csv").set_index("trial")["loss"]
    assert f"trial 1 ended, loss {before[1]:.4f}" in said or f"trial 1 given up after 2 epochs, loss {before[1]:.4f}" in said
    assert not list(tmp_path.glob(".tune/*/*.npz"))


def meeting(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, of which two calls begin together, where nothing keeps the second one waiting."""
    both = threading.Barrier(2)

    def waiting(*args: Any, **more: Any) -> Any:
        found = function(*args, **more)
        with suppress(threading.BrokenBarrierError):
            both.wait(1)
        return found

    return waiting


def test_two_workers_that_begin_together_have_one_run_and_one_queue(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params(copy / "params.yaml", TINY | {"tune.max_epochs": 3})  # another search
    settings = config.load()
    monkeypatch.setattr(mlflow_runs, "find", meeting(mlflow_runs.find))
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: setup.begin(settings, "NEW", "published"), range(2))
    assert one.run_id == other.run_id
    experiment = one.client.get_experiment_by_name("NEW").experiment_id
    assert len(one.client.search_runs([experiment], f"tags.search = '{one.study.name}'")) == 1
    with sqlite3.connect(copy / paths.STUDIES) as database:
        queued = "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE study_name = ?"
        assert database.execute(queued, (one.study.name,)).fetchone() == (3,)


@pytest.mark.rehearsal
def test_two_who_come_to_the_finals_together_train_every_finalist_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.search import trial_training

    two = [setup.begin(config.load(), "NEW", "published") for _ in range(2)]
    (forgotten, *_) = sorted(two[0].folder.glob("final-*.json"))
    known = forgotten.read_text()
    forgotten.unlink()
    trained, begin = [], meeting(lambda: None)

    def train(*args: Any, **more: Any) -> Any:
        trained.append(args)
        begin()
        return really_train(*args, **more)

    really_train = trial_training.train
    monkeypatch.setattr(trial_training, "train", train)
    ended = two[0].study.trials()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda one: finalists.result(one, ended), two)
    assert len(trained) == 1
    assert forgotten.read_text() == known
    assert first == second
    assert first.winner == result(copy)["winner"]


# With a decay like this a training's loss is no number after its first epoch.
DIVERGES = TINY["candidates.published.networks"]["NEW"] | {"weight_decay": 1e30}
SHORT = TINY | {"candidates.published.networks": {"NEW": DIVERGES}, "train.max_epochs": 1, "tune.max_epochs": 1}


def test_a_finalist_whose_loss_is_no_number_is_no_winner_and_ends_nothing(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = TINY["tune.space"] | {"weight_decay": [0.0, 0.01, 0.02, 0.05, 1e30]}
    write_params(copy / "params.yaml", SHORT | {"tune.space": space, "tune.trials": 2})
    tune.run(config.load(), "NEW", "published", apply=False, only_trials=False)
    assert "finalist params.yaml, seed 1: the loss is no longer a number" in capsys.readouterr().err
    found = result(copy)
    known, winner = found["finalists"]
    assert (known["name"], known["losses"]) == ("params.yaml", [None, None])
    assert found["winner"] == winner["name"] != "params.yaml"
    assert all(loss > 0 for loss in winner["losses"])
    assert set(found["figures"]) == {winner["name"]}  # on test patients it has nobody to be held against
    assert pd.read_csv(copy / "reports/tune/NEW/trials.csv")["state"][0] == "pruned"
    assert "The search saw" in (copy / "reports/tune/NEW/result.md").read_text()


def test_where_no_network_can_be_trained_it_says_so_in_one_line(copy: Path) -> None:
    space = TINY["tune.space"] | {"weight_decay": [1e30]}
    write_params(copy / "params.yaml", SHORT | {"tune.space": space, "tune.trials": 1})
    with pytest.raises(ModelError, match="tune NEW: no finalist can be trained") as caught:
        tune.run(config.load(), "NEW", "published", apply=False, only_trials=False)
    assert r"\n" not in str(caught.value)
