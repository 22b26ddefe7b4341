"""How long a trial will take is measured the way it will be trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from networks.test_training_loop import SPEC, pool

from pipeline.common import config
from pipeline.machine import device
from pipeline.networks import epoch_on_device, training
from pipeline.search import trial_training


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
