"""A map is shown only if it passes its checks: one of a network that learned a planted cue does, wrong ones do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bag_cohort
import explained_project
import numpy as np
import pandas as pd
import planted_cue
import pytest
from planted_cue import PX, SETTINGS

from pipeline.common import files, paths
from pipeline.common.errors import ModelError
from pipeline.demo.cells import Place
from pipeline.explanation import checks, maps, occlusion
from pipeline.explanation.maps import Map
from pipeline.explanation.tested import Patient
from pipeline.folds import split_table
from pipeline.stages import explain

NETWORK = {"first_conv": 8, "conv": [8], "dense": [8], "learning_rate": 0.001}


@pytest.fixture(scope="module")
def learned() -> Any:
    from pipeline.explanation import scorers

    return scorers.NetworkScorer(planted_cue.trained(40), PX)


def verdicts(found: list[Map]) -> dict[str, bool]:
    return {check.key: check.passed for check in checks.pixels(found, 0.95)}


ALL = {"layers made random": True, "deletion": True, "in the cell": True, "pointing game": True}


def test_a_network_that_learned_a_planted_cue_passes_and_is_the_same_afterwards(learned: Any) -> None:
    people, images, places = planted_cue.people(5)
    before = [array.copy() for array in learned.network.get_weights()]
    found = maps.look(learned, people, SETTINGS, images.__getitem__, places, 0)
    assert verdicts(found) == ALL, checks.pixels(found, 0.95)
    assert all(np.array_equal(one, other) for one, other in zip(before, learned.network.get_weights(), strict=True))
    assert len(found) == 10, "so many cells of each"


def test_a_map_that_cares_for_no_weight_fails_though_it_finds_the_cue() -> None:
    """As an edge detector does: it shows what is in the picture, and nothing of the network (Adebayo et al. 2018)."""

    class Deaf:
        px = PX

        def score(self, bag: None, row: int) -> Any:
            return lambda batch: (batch[..., 0].astype(float) - batch[..., 1] > 80).sum(axis=(1, 2)).astype(float)

        def randomised(self, rng: np.random.Generator) -> Iterator[str]:
            yield "dense"

    people, images, places = planted_cue.people(5)
    found = maps.look(Deaf(), people, SETTINGS, images.__getitem__, places, 0)
    assert verdicts(found) == {**ALL, "layers made random": False}


def test_a_map_of_the_background_fails_everything_but_to_die() -> None:
    body = np.zeros((PX, PX), bool)
    body[8:24, 8:24] = True
    place = Place(body, body & (np.arange(PX) < 16))
    found = []
    for patient in "ABCD":
        heat = np.where(occlusion.shares_of(body, 8) > 0, -1.0, 1.0) + np.random.default_rng(ord(patient)).normal(
            0, 0.01, (8, 8)
        )
        one = Map(patient, "", heat, area=-0.5 - 0.1 * ord(patient), suspicious=True, likeness={"a": 1.0, "b": 0.1})
        maps._look_inside(one, place)
        found.append(one)
    assert verdicts(found) == {**dict.fromkeys(ALL, False), "layers made random": True}
    assert verdicts(found[:1]) == dict.fromkeys(ALL, False), "one patient bounds nothing"


def test_what_is_known_on_the_demo_alone_is_not_asked_elsewhere() -> None:
    found = [Map(name, "", np.eye(4), 1.0 + k, True, likeness={"a": 0.1}) for k, name in enumerate("ABC")]
    assert set(verdicts(found)) == {"layers made random", "deletion"}


def test_every_block_is_the_mean_of_the_patches_that_cover_it() -> None:
    """By hand: a score that counts the white pixels of one block."""
    image = np.zeros((9, 9, 3), np.uint8)
    image[0:3, 0:3] = 255  # the first of 3 x 3 blocks, which one patch covers
    image[3:6, 3:6] = 255  # the middle, which all four cover

    def white(batch: np.ndarray) -> np.ndarray:
        return (batch[..., 0] == 255).sum(axis=(1, 2)).astype(float)

    heat = occlusion.heat(white, image, np.array([9, 9, 9], np.uint8), 3)
    assert heat == pytest.approx(np.array([[18, 13.5, 9], [13.5, 11.25, 9], [9, 9, 9]]))


def test_blocks_of_a_side_that_does_not_divide_cover_the_image() -> None:
    mask = np.ones((50, 50), bool)
    assert occlusion.edges(50, 12)[[0, -1]].tolist() == [0, 50]
    assert occlusion.shares_of(mask, 12) == pytest.approx(np.ones((12, 12)))
    mask[25:] = False
    assert occlusion.mass_inside(np.ones((10, 10)), mask) == pytest.approx(0.5)
    assert np.isnan(occlusion.mass_inside(-np.ones((10, 10)), mask))


def test_likeness_is_of_ranks_and_a_map_turned_over_is_as_like() -> None:
    one = np.random.default_rng(0).normal(size=(6, 6))
    assert maps.likeness(one, np.exp(one)) == pytest.approx(1.0)
    assert maps.likeness(one, -one) == pytest.approx(1.0)
    assert maps.likeness(one, np.zeros((6, 6))) == 0.0


def test_a_page_shows_the_maps_that_passed_and_says_why_others_are_left_out(learned: Any, here: Path) -> None:
    """The stage on networks of three folds; where the marks lie is known of no cohort but the demo, so two checks decide."""
    settings = bag_cohort.settings(
        here,
        **{
            "kinds": {"cnn": ["published"], "bag": []},
            "candidates": {"published": {"kind": "cnn", "networks": {"default": NETWORK}}},
            "ingest.source": "folder",
            **{f"explain.{key}": value for key, value in SETTINGS.model_dump().items()},
            "explain.patients": 2,
        },
    )
    people, images, _ = planted_cue.people(6)
    explained_project.put_images(images)
    dealt = [(one.patient, number % 2, number // 2, len(one.images)) for number, one in enumerate(people)]
    paths.SPLITS.mkdir(parents=True)
    pd.DataFrame(dealt, columns=split_table.COLUMNS).to_csv(paths.split_table("NPM1"), index=False)
    for fold in range(3):
        _fold(fold, learned.network, [one for one, row in zip(people, dealt, strict=True) if row[2] == fold])
    explained_project.put_scores("NPM1", "published", 3)
    explain.run(settings, ["NPM1"], ["published"])
    page = (paths.explained("NPM1", "published") / "index.html").read_text()
    assert page.count("<h3>Which pixels</h3>") == 4
    assert "left out" not in page
    assert "the check cannot fail" in page, "of a mean of logits"

    for fold in range(3):  # whatever it is shown, a network without weights says the same
        place = paths.fold("NPM1", "published", fold)
        dumb = learned.network.__class__.from_config(learned.network.get_config())
        dumb.set_weights([0 * array for array in learned.network.get_weights()])
        dumb.save_weights(place / "model.weights.h5")
    explain.run(settings, ["NPM1"], ["published"])
    page = (paths.explained("NPM1", "published") / "index.html").read_text()
    assert "<strong>left out</strong>: they failed “deletion”" in page
    assert "<h3>Which pixels</h3>" not in page
    (paths.fold("NPM1", "published", 1) / "model.weights.h5").write_bytes(b"")
    with pytest.raises(ModelError, match=r"models/NPM1/published/fold-1: spec and weights do not make a network"):
        explain.run(settings, ["NPM1"], ["published"])


def _fold(fold: int, network: Any, own: list[Patient]) -> None:
    """A fold's files: its test patients are `own`."""
    place = paths.fold("NPM1", "published", fold)
    place.mkdir(parents=True)
    network.save_weights(place / "model.weights.h5")
    inputs = {"split": files.sha256_of_all([paths.split_table("NPM1")])}
    (place / "spec.json").write_text(json.dumps({**planted_cue.SPEC, "inputs": inputs}))
    rows = [
        (one.patient, path, one.label, "test", logit) for one in own for path, logit in zip(one.images, one.alone, strict=True)
    ]
    pd.DataFrame(rows, columns=["patient", "path", "label", "split", "logit"]).to_parquet(
        place / "predictions.parquet", index=False
    )
