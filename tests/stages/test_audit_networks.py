"""Twins of networks, on a cohort in which the colour tells the patient and nothing tells the class."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import weights
from PIL import Image

from pipeline.auditing import twins
from pipeline.common import config, paths
from pipeline.evaluation import score_table
from pipeline.folds import split_table
from pipeline.stages import audit_networks

PATIENTS, IMAGES, PX, FOLDS = 9, 8, 16, 3  # patients of each class, images of each patient

Params = Callable[[dict[str, Any]], config.Config]


@pytest.fixture
def settings(params: Params, here: Path) -> config.Config:
    return params(
        {
            "subtypes": ["NPM1"],
            "audit.networks": ["NPM1"],
            "audit.permutations": 99,
            "split.n_folds": FOLDS,
            "pack.px": PX,
            "folds": [0, 1],
            "train.max_epochs": 10,
            "train.augment": {"flips": True, "quarter_turns": True, "stain_jitter": 0.0},
            "candidates.published.networks": {"NPM1": {"first_conv": 8, "conv": [8], "dense": [32], "learning_rate": 0.01}},
        }
    )


def cohort() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells, split, and predictions of networks that guess; the split and the images."""
    rng = np.random.default_rng(4)
    split, images = [], []
    for label, name in enumerate(("control", "NPM1")):
        paths.cells(name).parent.mkdir(parents=True, exist_ok=True)
        people = [f"{name[0]}{n}" for n in range(PATIENTS)]
        colours = rng.integers(20, 236, (PATIENTS, 1, 1, 1, 3))
        pixels = np.clip(colours + rng.normal(0, 5, (PATIENTS, IMAGES, PX, PX, 3)), 0, 255).astype(np.uint8)
        np.save(paths.cells(name), pixels.reshape(-1, PX, PX, 3))
        rows = [(patient, f"{name}/{patient}/image_{i}.tif") for patient in people for i in range(IMAGES)]
        pd.DataFrame(rows, columns=["patient", "path"]).to_parquet(paths.cell_rows(name), index=False)
        split += [(patient, label, n % FOLDS, IMAGES) for n, patient in enumerate(people)]
        images += [(patient, path, label) for patient, path in rows]
    dealt = pd.DataFrame(split, columns=split_table.COLUMNS)
    table = pd.DataFrame(images, columns=["patient", "path", "label"])
    paths.SPLITS.mkdir(parents=True)
    dealt.to_csv(paths.split_table("NPM1"), index=False)
    weights.all_the_same("NPM1", "published")
    guesses = []
    for fold in (0, 1):
        roles = table["patient"].map(split_table.roles(dealt, fold, FOLDS))
        guesses.append(table.assign(fold=fold, split=roles, logit=rng.normal(size=len(table)))[roles != "train"])
    path = paths.scored("NPM1", "published")
    path.parent.mkdir(parents=True)
    score_table.table(score_table.calibrated(pd.concat(guesses), 1.0), [], 0.5).to_parquet(path, index=False)
    return dealt, table


@pytest.mark.rehearsal
def test_a_split_by_image_flatters_and_shuffled_labels_do_not(
    settings: config.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort()
    audit_networks.run(settings, ["NPM1"], ["published"])
    written = json.loads(paths.audit_networks("NPM1", "published").read_text())
    checks = {check["name"]: check for check in written["checks"]}
    assert list(checks) == list(twins.TWINS)
    assert checks["image_split"]["value"]["image_auroc"] > 0.8
    leak = checks["image_split"]["value"]["image_auroc"] - written["network"]["image_auroc"]
    assert checks["image_split"]["value"]["leak"] == pytest.approx(leak, abs=1e-5)
    assert leak > 0.2
    assert not checks["image_split"]["red"]
    assert not checks["labels_shuffled"]["red"]
    assert checks["greyscale"]["state"] == "amber"  # there is nothing to find, and too few to be sure of it
    assert checks["cell_hidden"]["state"] == "amber"
    assert written["red"] == 0
    assert written["state"] == "amber"
    assert checks["other_seed"]["value"] != written["network"]
    assert "amber greyscale" in capsys.readouterr().out
    assert not list(paths.CHECKPOINTS.glob("NPM1-twin-*"))


def test_each_twin_is_wrong_in_one_thing(settings: config.Config, here: Path) -> None:
    split, images = cohort()
    by_patient = images.assign(role=images["patient"].map(split_table.roles(split, 1, FOLDS)))
    for twin in ("greyscale", "other_seed", "cell_hidden"):
        pd.testing.assert_frame_equal(twins.dealt(settings, twin, split, images, 1), by_patient)

    shuffled = twins.dealt(settings, "labels_shuffled", split, images, 1)
    pd.testing.assert_frame_equal(shuffled.drop(columns="label"), by_patient.drop(columns="label"))
    assert shuffled.groupby("patient")["label"].nunique().max() == 1
    assert (shuffled["label"] != images["label"]).any()
    assert shuffled.groupby("role")["label"].mean().tolist() == [0.5, 0.5, 0.5]  # every fold has as many of each as before
    other_fold = twins.dealt(settings, "labels_shuffled", split, images, 2)
    pd.testing.assert_series_equal(other_fold["label"], shuffled["label"])

    by_image = [twins.dealt(settings, "image_split", split, images, fold) for fold in range(FOLDS)]
    assert all((dealt.groupby("patient")["role"].nunique() == FOLDS).all() for dealt in by_image)
    tested = pd.concat([dealt[dealt["role"] == "test"] for dealt in by_image])
    assert sorted(tested["path"]) == sorted(images["path"])  # each image is tested once
    assert by_image[0]["label"].equals(images["label"])


def test_grey_is_what_pillow_calls_grey() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colours])
    found = twins.grey(colours)
    assert all(np.array_equal(found[..., channel], expected) for channel in range(3))


def test_of_a_hidden_cell_neither_colour_nor_outline_is_left() -> None:
    around, inside = np.random.default_rng(0).integers(0, 256, (2, 4, 20, 20, 3), dtype=np.uint8)
    found = twins.hidden(around)
    disc = (found == 128).all(axis=(0, 3))
    assert 0.55 < disc.mean() < 0.7
    assert not disc[0, 0]
    assert np.array_equal(found[:, ~disc], around[:, ~disc])
    assert np.array_equal(twins.hidden(np.where(disc[..., None], inside, around)), found)
    for turned in (disc.T, disc[::-1], disc[:, ::-1]):  # as the augmentation turns it
        assert np.array_equal(turned, disc)


def test_surroundings_that_explain_the_result_are_red(settings: config.Config) -> None:
    def scored(apart: float, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"patient": [f"P{n:02}" for n in range(60)], "label": np.repeat([0, 1], 30), "fold": 0})
        return table.assign(logit=rng.normal(apart * table["label"], 1))

    def state(twin: float, network: float) -> str:
        return twins.CHECKS["cell_hidden"](settings, scored(twin, 1), scored(network, 2)).state

    assert state(3, 3) == "red"
    assert state(0, 3) == "clear"
    assert state(0, 0) == "amber"
