"""What an image is worth to a patient's logit, by a fold's network, or by a fold's learner of bags and its encoder.

A scorer gives a function from images, uint8 `(n, px, px, 3)`, to `(n,)`: the patient's logit with each image in the place of
one of the patient's, times the number of the patient's images, so that it is as large as the logit of an image. Of a network
that pools by the mean it is that, up to a constant. Importing this takes TensorFlow's seconds and memory.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.bags.scoring import Bag, Floats
from pipeline.common.errors import ModelError
from pipeline.encoders import kept_network
from pipeline.explanation import cells, tested
from pipeline.explanation.occlusion import Images, Score
from pipeline.machine import device
from pipeline.networks import model

logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it takes several networks for one that is traced again and again
_GROUPS = 4  # in which an encoder's layers are randomised: it has dozens


class Scorer(Protocol):
    """What occlusion asks."""

    px: int

    def score(self, bag: Bag | None, row: int) -> Score:
        """Of the patient of that bag, the image at `row`; a network needs no bag."""

    def randomised(self, rng: np.random.Generator) -> Iterator[str]:
        """Make one layer after the other random, from the last to the first, and name each; afterwards all are as before."""


@dataclass
class NetworkScorer:
    """A network that scores images."""

    network: Any
    px: int

    def score(self, bag: Bag | None, row: int) -> Score:
        """The image's own logit."""
        return lambda images: model.logits(self.network, images).astype(np.float64)

    def randomised(self, rng: np.random.Generator) -> Iterator[str]:
        """Every layer with weights."""
        yield from _cascade(self.network, len(self.network.layers), rng)


@dataclass
class BagScorer:
    """A learner of bags, and the encoder that makes vectors of images."""

    learner: str
    coefficients: Mapping[str, Floats]
    encoder: Any
    prepare: Callable[[Images], Any]
    px: int

    def score(self, bag: Bag | None, row: int) -> Score:
        """The patient's logit with other images in the place of one."""
        if bag is None:
            raise ValueError("a learner of bags needs the patient's bag")
        known = bag
        return lambda images: len(known) * cells.exchanged(self.learner, self.coefficients, known, row, self.vectors(images))

    def vectors(self, images: Images) -> Bag:
        """`(n, dimension)`."""
        made = []
        for start in range(0, len(images), kept_network.BATCH):
            batch = np.zeros((kept_network.BATCH, *images.shape[1:]), dtype=np.uint8)
            some = images[start : start + kept_network.BATCH]
            batch[: len(some)] = some
            made.append(np.asarray(self.encoder.predict_on_batch(self.prepare(batch)), dtype=np.float32)[: len(some)])
        return np.concatenate(made)

    def randomised(self, rng: np.random.Generator) -> Iterator[str]:
        """The learner first, then the encoder's layers in a few groups."""
        before = self.coefficients
        mixed = {name: rng.permuted(values) if name in _LEARNED else values for name, values in before.items()}
        self.coefficients = mixed
        try:
            yield "learner"
            yield from _cascade(self.encoder, _GROUPS, rng)
        finally:
            self.coefficients = before


# Arrays that tell dimensions or units apart: their numbers stay, in another order.
_LEARNED = frozenset({"weights", "hidden", "view", "gate", "attention", "out"})


def _cascade(network: Any, most: int, rng: np.random.Generator) -> Iterator[str]:
    """The numbers of every array of weights in another order, the layers in at most so many groups, from the last to the first.

    They are as large as before, and nothing learned is left of them.
    """
    layers = [layer for layer in network.layers if layer.weights]
    before = network.get_weights()
    try:
        for group in reversed(np.array_split(np.arange(len(layers)), min(most, len(layers)))):
            for place in group:
                weights = layers[place].get_weights()
                layers[place].set_weights([rng.permutation(array.ravel()).reshape(array.shape) for array in weights])
            yield f"layer {group[0] + 1} of {len(layers)}"
    finally:
        network.set_weights(before)


def network(folder: Path) -> NetworkScorer:
    """A fold's network, in float32: what covering a few pixels changes is less than bfloat16 tells apart.

    Raises:
        ModelError: spec and weights do not make a network.
    """
    device.prepare("float32")
    device.whole_float32()
    try:
        spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        built = model.build({**spec, "precision": "float32"})
        built.load_weights(folder / "model.weights.h5")
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder}: spec and weights do not make a network ({reason}); `dvc repro` trains it again") from None
    return NetworkScorer(built, int(spec["px"]))


def bags(folder: Path, encoder: Path) -> BagScorer:
    """A fold's learner, and the encoder in whose folder its vectors lie.

    Raises:
        ModelError: the files do not make a learner and an encoder.
    """
    device.prepare("float32")
    device.whole_float32()
    spec, coefficients = tested.learner(folder)
    try:
        rebuilt = kept_network.rebuilt(encoder)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{encoder}: its files do not make an encoder ({reason}); run `dvc repro`") from None
    return BagScorer(
        spec["learner"], coefficients, rebuilt, kept_network.preparing(spec["encoder"]), int(spec["encoder"]["px"])
    )
