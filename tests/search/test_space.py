"""Networks that a search proposes can be built, cost what is said, and are found again from their point."""

from __future__ import annotations

import random

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common import config
from pipeline.common.params_data import Pack
from pipeline.common.params_learning import Network
from pipeline.evaluation import published_figures
from pipeline.search import space

SETTINGS = [config.load(ROOT / name) for name in ("params.yaml", "params.kaggle.yaml")]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("subtype", published_figures.NETWORKS)
def test_the_published_networks_lie_within_the_space(settings: config.Config, subtype: str) -> None:
    for network in (published_figures.NETWORKS[subtype], settings.candidates["published"].networks[subtype]):
        point = space.point(network, settings)
        proposed = space.propose(space.Told(point), settings)
        assert space.in_full(proposed, settings) == space.in_full(network, settings)


def test_params_yaml_holds_the_published_layers_and_for_the_real_cohort_the_published_rates() -> None:
    demo, real = SETTINGS
    for subtype, network in published_figures.NETWORKS.items():
        assert space.in_short(network, real) == real.candidates["published"].networks[subtype]
        layers = {"first_conv", "conv", "dense"}
        assert demo.candidates["published"].networks[subtype].model_dump(include=layers) == network.model_dump(include=layers)


@given(st.integers(0, 2**32), st.sampled_from(SETTINGS))
def test_every_network_of_the_space_is_valid_and_is_found_again(seed: int, settings: config.Config) -> None:
    network = space.propose(space.Dice(random.Random(seed)), settings)
    models = {**settings.candidates["published"].networks, "NPM1": network}
    values = settings.model_dump(by_alias=True)
    values["candidates"]["published"]["networks"] = {name: space.entry(model) for name, model in models.items()}
    assert config.Config.model_validate(values).candidates["published"].networks["NPM1"] == network
    assert space.propose(space.Told(space.point(network, settings)), settings) == network
    assert space.in_short(space.in_full(network, settings), settings) == network
    assert 32 <= network.first_conv <= 128
    assert 1 <= len(network.conv) <= 4
    assert all(64 <= units <= 256 for units in (*network.conv, *network.dense))
    assert 1e-5 <= network.learning_rate <= 1e-3


def test_a_network_outside_the_space_is_named() -> None:
    network = published_figures.NETWORKS["NPM1"]
    for change, said in (({"conv": [32]}, "conv 32"), ({"dense": []}, "one dense layer"), ({"learning_rate": 0.1}, "0.1")):
        with pytest.raises(ValueError, match=said):
            space.point(network.model_copy(update=change), SETTINGS[0])


def test_what_a_network_costs_by_hand() -> None:
    settings = SETTINGS[0].model_copy(update={"pack": Pack(px=16)})
    network = Network(first_conv=4, conv=[8], dense=[10], learning_rate=0.001)
    convolutions = 16 * 16 * 9 * 3 * 4 + 8 * 8 * 9 * 4 * 8
    assert space.multiplications(network, settings) == convolutions + 4 * 4 * 8 * 10 + 10
    averaged = network.model_copy(update={"pooling": "mean", "px": 8})
    assert space.multiplications(averaged, settings) == convolutions // 4 + 8 * 10 + 10
