"""A subtype of few patients on networks of others that nobody trained: what they learned makes no difference here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bag_cohort
import numpy as np
import pandas as pd
import pytest
import trained_networks
import weights
from conftest import write_params
from threadpoolctl import threadpool_info, threadpool_limits
from trained_networks import FOLDS, PX, UNITS

from pipeline.bags import recipe as bag_recipe
from pipeline.common import config, files, paths
from pipeline.common.errors import ConfigError, DataError, LeakError
from pipeline.folds import split_table
from pipeline.registry import mlflow_server
from pipeline.stages import transfer

NEW, OTHERS = "KMT2A_MLLT3", ["NPM1", "PML_RARA"]
DIMENSION = 12


def settings(folder: Path, **more: Any) -> config.Config:
    small = {"first_conv": 4, "conv": [], "dense": [UNITS], "learning_rate": 0.001}
    learner = {**bag_cohort.POOLED, "inner_folds": 2}
    changes = {
        "subtypes": [*OTHERS, NEW],
        "ingest.source": "folder",
        "folds": [0, 2],
        "split.n_folds": FOLDS,
        "pack.px": PX,
        "kinds": {"cnn": ["published"], "bag": ["bags"]},
        "candidates": {
            "published": {"kind": "cnn", "networks": {"default": small}},
            "bags": {"kind": "bag", "encoder": "drawn", "learner": learner},
        },
        "encoders": {"drawn": {"kind": "package", "px": 48, "weights_sha256": "e5" * 32}},
        "train.batch_size": 4,
        "train.min_epochs": 1,
        "train.max_epochs": 1,
        "transfer.patients": [2, 4, 16],
        "transfer.from_scratch": False,
        **more,
    }
    return config.load(write_params(folder / "params.yaml", changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before leave: cells, splits, general vectors that tell the new subtype, networks of the others."""
    folder = tmp_path_factory.mktemp("transfer")
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        trained_networks.build([*OTHERS, NEW], OTHERS)
        paths.encoder("drawn").parent.mkdir(parents=True)
        for name in ("control", *OTHERS, NEW):
            table = pd.read_parquet(paths.cell_rows(name))
            table.to_parquet(paths.vector_rows("drawn", name), index=False)
            vectors = rng.normal(size=(len(table), DIMENSION)) + 5 * (name == NEW)
            np.save(paths.vectors("drawn", name), vectors.astype(np.float32))
        about = {"sha256": "e5" * 32, "px": 48, "dimension": DIMENSION, "digest": "d1" * 32}
        paths.encoder("drawn").write_text(json.dumps(about))
        for name in (*OTHERS, NEW):
            weights.all_the_same(name, "published")
        transfer.run(settings(folder), NEW)
    return folder


@pytest.fixture
def cohort(finished: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that for a test that looks or spoils."""
    shutil.copytree(finished, here, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mlruns", "mlartifacts"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    return here


def test_each_way_tests_the_same_patients_of_the_trained_folds(cohort: Path) -> None:
    scores = pd.read_csv(paths.transferred(NEW) / "scores.csv", dtype={"patient": "str"})
    split = pd.read_csv(paths.split_table(NEW), **split_table.CSV_FORMAT)
    expected = sorted(split.loc[split["fold"].isin([0, 2]), "patient"])
    groups = scores.groupby(["way", "size"])["patient"].apply(sorted)
    assert set(groups.index) == {(way, size) for way in ("general", "own", "general_all") for size in (2, 4)}
    assert all(own == expected for own in groups)
    curve = pd.read_csv(paths.transferred(NEW) / "curve.csv").set_index(["way", "size"])
    assert curve.loc[("general", 4), "patient_auroc"] == 1.0, "the drawn vectors tell the subtype"
    assert set(curve["patients"]) == {6}
    assert (paths.transferred(NEW) / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_how_many_threads_there_are_changes_no_digit(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With vectors as long as an encoder's, sums are parted among threads."""
    fit, threads = bag_recipe.fit, set()

    def noting(*given: Any) -> Any:
        threads.update(library["num_threads"] for library in threadpool_info())
        return fit(*given)

    monkeypatch.setattr(bag_recipe, "fit", noting)
    with threadpool_limits(2):
        transfer.run(settings(cohort, **{"transfer.patients": [2]}), NEW)
    assert threads == {1}


def test_the_networks_behind_it_are_on_the_page_in_the_file_and_in_mlflow(cohort: Path, finished: Path) -> None:
    lineage = json.loads((paths.transferred(NEW) / "lineage.json").read_text())
    assert {(one["subtype"], one["fold"]) for one in lineage["networks"]} == {(name, k) for name in OTHERS for k in (0, 2)}
    weights = files.sha256(paths.fold("NPM1", "published", 2) / "model.weights.h5")
    assert weights in [one["weights_sha256"] for one in lineage["networks"]]
    page = (paths.transferred(NEW) / "index.html").read_text()
    assert weights[:12] in page
    assert "16" not in page.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[-2][:40], "too few patients for 16"
    client = mlflow_server.connect()
    (run,) = client.search_runs([client.get_experiment_by_name(NEW).experiment_id])
    assert run.data.tags["base.NPM1-2"] == "NPM1-2"
    assert run.data.tags["base_sha256.NPM1-2"] == weights
    assert run.data.tags["encoder"] == "d1" * 32
    history = client.get_metric_history(run.info.run_id, "patient_auroc_own")
    assert sorted(metric.step for metric in history) == [2, 4]
    artifacts = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert "scores.csv" not in artifacts, "names of patients stay here"


def test_the_same_files_make_the_same_bytes_and_no_second_run(cohort: Path) -> None:
    before = {file.name: file.read_bytes() for file in paths.transferred(NEW).iterdir()}
    transfer.run(settings(cohort), NEW)
    assert {file.name: file.read_bytes() for file in paths.transferred(NEW).iterdir()} == before
    client = mlflow_server.connect()
    assert len(client.search_runs([client.get_experiment_by_name(NEW).experiment_id])) == 1


def test_from_scratch_a_network_learns_from_the_same_patients(cohort: Path) -> None:
    transfer.run(settings(cohort, **{"transfer.from_scratch": True, "transfer.patients": [4], "folds": [0]}), NEW)
    scores = pd.read_csv(paths.transferred(NEW) / "scores.csv", dtype={"patient": "str"})
    groups = scores.groupby("way")["patient"].apply(sorted)
    assert groups["scratch"] == groups["own"]
    assert scores.loc[scores["way"] == "scratch", "logit"].nunique() > 1
    assert "negative transfer" in (paths.transferred(NEW) / "index.html").read_text().lower()
    assert not list(paths.CHECKPOINTS.glob("*transfer*"))


def test_what_is_left_out_of_the_training_is_so_here_and_who_is_tested_keeps_it(cohort: Path) -> None:
    before = pd.read_csv(paths.transferred(NEW) / "scores.csv", dtype={"patient": "str"}).set_index(["way", "size", "fold"])
    split = pd.read_csv(paths.split_table(NEW), **split_table.CSV_FORMAT)
    everybody = split.loc[split["fold"] == 0, "patient"]
    paths.LEFT_OUT.write_text("path\n" + "".join(f"{NEW}/{who}/image_0.tif\ncontrol/{who}/image_0.tif\n" for who in everybody))
    transfer.run(settings(cohort), NEW)
    after = pd.read_csv(paths.transferred(NEW) / "scores.csv", dtype={"patient": "str"}).set_index(["way", "size", "fold"])
    assert (after.loc[("general_all", 4, 0), "logit"] == before.loc[("general_all", 4, 0), "logit"]).all(), "they are tested"
    assert (after.loc[("general_all", 4, 2), "logit"] != before.loc[("general_all", 4, 2), "logit"]).all(), "they learn"
    base = settings(cohort, **{"down_weighted": ["published"], "suspect.encoder": "drawn"})
    with pytest.raises(ConfigError, match=r"transfer\.base: published is one of down_weighted"):
        transfer.run(base, NEW)


def moved(name: str) -> None:
    file = paths.split_table(name)
    table = pd.read_csv(file, **split_table.CSV_FORMAT)
    table.assign(fold=(table["fold"] + 1) % FOLDS).to_csv(file, index=False)


def without_network(name: str) -> None:
    (paths.fold(name, "published", 2) / "model.weights.h5").unlink()


WRONG: list[tuple[Callable[[str], None], type[Exception], str]] = [
    (moved, LeakError, r"patient c\d trained the network of NPM1, fold 0"),
    (without_network, DataError, r"models/NPM1/published/fold-2/model\.weights\.h5: not there; run `dvc repro`"),
]


@pytest.mark.parametrize(("spoil", "error", "said"), WRONG)
def test_what_cannot_be_built_upon_is_one_line(
    cohort: Path, spoil: Callable[[str], None], error: type[Exception], said: str
) -> None:
    spoil("NPM1")
    before = (paths.transferred(NEW) / "curve.csv").read_bytes()
    with pytest.raises(error, match=said):
        transfer.run(settings(cohort), NEW)
    assert (paths.transferred(NEW) / "curve.csv").read_bytes() == before


def test_networks_that_a_search_chose_by_the_tested_patients_are_refused(cohort: Path) -> None:
    networks = settings(cohort).candidates["published"].model_dump()["networks"]
    networks["PML_RARA"] = {**networks["default"], "tuned_on": ["c0", "nobody"]}
    chosen = settings(cohort, **{"candidates.published.networks": networks})
    with pytest.raises(ConfigError, match=r"PML_RARA\.tuned_on: the search for it saw 1 patients who are tested"):
        transfer.run(chosen, NEW)


def test_it_takes_other_subtypes_and_the_candidates_that_are_named(here: Path) -> None:
    with pytest.raises(ConfigError, match="has no other, whose networks could be built upon"):
        transfer.run(settings(here, subtypes=[NEW]), NEW)
    with pytest.raises(ConfigError, match="there is no candidate theirs"):
        transfer.run(settings(here, **{"transfer.base": "theirs"}), NEW)
    with pytest.raises(ConfigError, match="candidate published is of kind cnn"):
        transfer.run(settings(here, **{"transfer.general": "published"}), NEW)
