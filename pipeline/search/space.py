"""The space of networks that a search looks at: a point of it as a network, a network as a point, and what it costs.

A point is what a search turns: a value for every name. A network is an entry of a candidate's `networks`, which says nothing
that params.yaml says for all networks alike. Nothing here knows how a search chooses.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from pipeline.common.config import Config
from pipeline.common.params_learning import CnnCandidate, Network
from pipeline.common.params_searching import Space

Point: TypeAlias = dict[str, Any]
_SETTINGS = ("pooling", "dropout", "weight_decay")  # of `train`, which a network may overrule


class Asker(Protocol):
    """Chooses a value for a name."""

    def whole(self, name: str, low: int, high: int, step: int) -> int:
        """Choose one of `low`, `low` + `step` ... `high`."""

    def rate(self, name: str, low: float, high: float) -> float:
        """Choose a number from `low` to `high`, by the logarithm."""

    def one_of(self, name: str, choices: list[Any]) -> Any:
        """Choose one of `choices`."""


class Told:
    """Chooses the values of a point."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self._point = point

    def whole(self, name: str, low: int, high: int, step: int) -> int:
        """Return the point's value of that name."""
        return int(self._point[name])

    def rate(self, name: str, low: float, high: float) -> float:
        """Return the point's value of that name."""
        return float(self._point[name])

    def one_of(self, name: str, choices: list[Any]) -> Any:
        """Return the point's value of that name."""
        return self._point[name]


class Dice:
    """Chooses by chance."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def whole(self, name: str, low: int, high: int, step: int) -> int:
        """Choose any, each as probable."""
        return self._rng.randrange(low, high + 1, step)

    def rate(self, name: str, low: float, high: float) -> float:
        """Choose any, each logarithm as probable."""
        return math.exp(self._rng.uniform(math.log(low), math.log(high)))

    def one_of(self, name: str, choices: list[Any]) -> Any:
        """Choose any, each as probable."""
        return self._rng.choice(choices)


def propose(ask: Asker, config: Config) -> Network:
    """A network of the space, of values that `ask` chooses."""
    space = config.tune.space
    px = ask.one_of("px", space.px)
    blocks = ask.whole("blocks", space.blocks.low, space.blocks.high, space.blocks.step)
    filters = [ask.whole(f"conv_{n}", space.conv.low, space.conv.high, space.conv.step) for n in range(1, blocks + 1)]
    return in_short(
        Network(
            first_conv=ask.whole("first_conv", space.first_conv.low, space.first_conv.high, space.first_conv.step),
            conv=filters[: most_blocks(px, config.train.pool_first)],  # a small image does not survive many poolings
            dense=[ask.whole("dense", space.dense.low, space.dense.high, space.dense.step)],
            learning_rate=float(f"{ask.rate('learning_rate', space.learning_rate.low, space.learning_rate.high):.3g}"),
            px=px,
            pooling=ask.one_of("pooling", space.pooling),
            dropout=ask.one_of("dropout", space.dropout),
            weight_decay=ask.one_of("weight_decay", space.weight_decay),
            stain_jitter=ask.one_of("stain_jitter", space.stain_jitter),
        ),
        config,
    )


def most_blocks(px: int, pool_first: bool) -> int:
    """The most blocks a network may have: so many halvings leave a pixel of `px`."""
    return px.bit_length() - 1 - int(pool_first)


def point(network: Network, config: Config) -> Point:
    """The point at which the network lies.

    Raises:
        ValueError: it lies outside the space; says why.
    """
    space, full = config.tune.space, in_full(network, config)
    if len(network.dense) != 1:
        raise ValueError(f"dense {network.dense}: networks of the space have one dense layer")
    values: Point = {
        "px": full.px,
        "blocks": len(network.conv),
        **{f"conv_{n}": filters for n, filters in enumerate(network.conv, start=1)},
        "first_conv": network.first_conv,
        "dense": network.dense[0],
        "learning_rate": network.learning_rate,
        **{key: getattr(full, key) for key in (*_SETTINGS, "stain_jitter")},
    }
    for name, value in values.items():
        _require_inside(space, name, value)
    return values


def _require_inside(space: Space, name: str, value: Any) -> None:
    key = "conv" if name.startswith("conv_") else name
    allowed = getattr(space, key)
    if isinstance(allowed, list):
        inside = value in allowed
    elif key == "learning_rate":
        inside = allowed.low <= value <= allowed.high
    else:
        inside = value in range(allowed.low, allowed.high + 1, allowed.step)
    if not inside:
        raise ValueError(f"{key} {value} is not in tune.space.{key}")


def in_full(network: Network, config: Config) -> Network:
    """The network with everything said that is said for all."""
    usual = {key: getattr(config.train, key) for key in _SETTINGS}
    usual |= {"px": config.pack.px, "stain_jitter": config.train.augment.stain_jitter}
    said = network.model_dump(exclude_none=True)
    return Network(**{**usual, **said})


def in_short(network: Network, config: Config) -> Network:
    """The network without what is said for all."""
    usual = in_full(network.model_copy(update=dict.fromkeys((*_SETTINGS, "px", "stain_jitter"))), config)
    same = [key for key in (*_SETTINGS, "px", "stain_jitter") if getattr(network, key) == getattr(usual, key)]
    return network.model_copy(update=dict.fromkeys(same))


def entry(network: Network) -> dict[str, Any]:
    """The network as it stands in params.yaml: what is said for all networks alike is left out."""
    return network.model_dump(exclude_none=True)


def shown(network: Network) -> str:
    """The network in short, for a table or a run's name: `64 | 128 192 | 128, rate 0.0001, px 24`."""
    layers = " | ".join([str(network.first_conv), " ".join(map(str, network.conv)) or "-", " ".join(map(str, network.dense))])
    said = entry(network)
    more = [f"{key.replace('_', ' ')} {said[key]}" for key in ("px", *_SETTINGS, "stain_jitter") if key in said]
    return ", ".join([layers, f"rate {network.learning_rate:.2g}", *more])


def multiplications(network: Network, config: Config) -> int:
    """Multiplications for one image: what a network costs on any machine."""
    train, px = config.train, in_full(network, config).px
    assert px is not None
    total, maps = 0, 3
    for number, filters in enumerate([network.first_conv, *network.conv]):
        total += px * px * train.kernel_px**2 * maps * filters
        maps = filters
        px = px // 2 if number or train.pool_first else px
    inputs = maps if in_full(network, config).pooling == "mean" else maps * px * px
    for units in [*network.dense, 1]:
        total += inputs * units
        inputs = units
    return total


def with_network(config: Config, subtype: str, candidate: str, network: Network) -> Config:
    """`config` in which the candidate has this network for `subtype`."""
    known = config.candidates[candidate]
    networks = known.networks if isinstance(known, CnnCandidate) else {}
    changed = known.model_copy(update={"networks": {**networks, subtype: network}})
    return config.model_copy(update={"candidates": {**config.candidates, candidate: changed}})
