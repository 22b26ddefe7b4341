"""How long a trial will take is measured the way it will be trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import tiny_search
from conftest import ROOT
from networks.test_training_loop import SPEC, pool

from pipeline.common import config, paths
from pipeline.folds import split_table
from pipeline.machine import device
from pipeline.networks import epoch_on_device, recipe, training
from pipeline.search import setup, trial_training


@pytest.mark.parametrize("batches", ["host", "device"])
def test_seconds_are_those_of_steps_that_were_made(monkeypatch: pytest.MonkeyPatch, batches: Literal["host", "device"]) -> None:
    settings = config.load(ROOT / "params.yaml")
    machine = replace(device.prepare("float32"), batches=batches)
    pools = {"train": (pool(1, 0), pool(2, 40)), "val": (pool(3, 0), pool(4, 40))}
    prepared = training.Prepared(settings, "NPM1", "published", [], pools, machine, SPEC)
    monkeypatch.setattr(trial_training, "_prepared", lambda *_: prepared)
    made: list[range] = []
    of_call = epoch_on_device.Epochs.arguments
    monkeypatch.setattr(epoch_on_device.Epochs, "arguments", lambda self, place: made.append(place[1]) or of_call(self, place))
    data = trial_training.Data("NPM1", "published", pd.DataFrame(), [], [np.zeros(0, np.uint8)])
    start_s, epoch_s = trial_training.seconds(settings, data, settings.network_of("NPM1", "published"), pd.Series())
    assert start_s > 0
    assert epoch_s > 0
    assert made == ([range(3)] if batches == "device" else [])


def test_who_trains_in_a_trial_does_so_without_what_is_left_out_and_another_search_begins(
    here: Path,
) -> None:
    """Of those too who do not train for `tune.fold`, where the search sees everybody; who judges keeps every image."""
    settings = tiny_search.cohort(here, **{"tune.patients": "all"})
    split, tables, cells = recipe.inputs(settings, "NEW")
    roles = split_table.within(split, list(range(tiny_search.FOLDS)), judged=1)
    data = trial_training.Data("NEW", "published", split, tables, cells)
    names = {setup._name(settings, "NEW", "published")}
    gone = {f"NEW/{who}/image_0.tif" for who in split.loc[(split["label"] == 1) & split["fold"].isin([0, 1]), "patient"]}
    paths.LEFT_OUT.write_text("path\n" + "".join(f"{path}\n" for path in sorted(gone)))
    pools = trial_training._prepared(settings, data, settings.network_of("NEW", "published"), roles).pools
    for role in ("train", "val"):
        shown = set(tables[1]["path"].iloc[pools[role][1].rows])
        everybody = {path for path in tables[1]["path"] if roles[path.split("/")[1]] == role}
        assert shown == (everybody - gone if role == "train" else everybody)
        assert gone & everybody
    names.add(setup._name(settings, "NEW", "published"))
    (here / paths.weights("NEW", "published", 0)).write_text("path,weight\nNEW/QAX/image_1.tif,0\n")
    names.add(setup._name(settings, "NEW", "published"))
    assert len(names) == 3
