"""A bag model's score: the logit of a patient from the vectors of his or her images, in whatever order these stand.

A bag is float32 `(images, dimension)`. Coefficients are arrays by name, as the learners' `fit` returns them. This file travels
with every registered bag model, so that a patient is scored by it as the figures were measured; it imports nothing of this
package, and nothing but NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bag = NDArray[np.float32]


def logits(learner: str, coefficients: Mapping[str, NDArray[np.generic]], bags: Iterable[Bag]) -> Floats:
    """Logits `(bags,)` by the coefficients of `learner`: pooled, instances or attention."""
    scored = {"pooled": pooled, "instances": instances, "attention": attention}[learner]
    known = {name: np.asarray(values, dtype=np.float64) for name, values in coefficients.items()}
    return np.array([scored(known, bag) for bag in bags], dtype=np.float64)


def statistics(bag: Bag, quantiles: Floats) -> Floats:
    """Of every dimension its mean, standard deviation and quantiles over the bag: `((2 + quantiles) * dimension,)`."""
    x = np.asarray(bag, dtype=np.float64)
    return np.concatenate([x.mean(axis=0), x.std(axis=0), *np.quantile(x, quantiles, axis=0)])


def pooled(c: Mapping[str, Floats], bag: Bag) -> float:
    """A logistic regression on `statistics`."""
    return float((statistics(bag, c["quantiles"]) - c["mean"]) @ c["weights"] + c["intercept"])


def image_logits(c: Mapping[str, Floats], bag: Bag) -> Floats:
    """What the logistic regression on single images says of each, `(images,)`."""
    return np.asarray((np.asarray(bag, dtype=np.float64) - c["mean"]) @ c["weights"] + c["intercept"])


def mean_and_spread(x: Floats) -> Floats:
    """Mean and standard deviation of a patient's image logits, `(2,)`."""
    return np.array([x.mean(), x.std()])


def instances(c: Mapping[str, Floats], bag: Bag) -> float:
    """A logistic regression on mean and spread of the image logits."""
    return float(mean_and_spread(image_logits(c, bag)) @ c["pooling"] + c["pooling_intercept"])


def attention(c: Mapping[str, Floats], bag: Bag) -> float:
    """Gated attention (Ilse, Tomczak & Welling 2018, ICML, equation 9), the mean over the members of an ensemble."""
    x = (np.asarray(bag, dtype=np.float64) - c["mean"]) / c["scale"]
    return float(
        np.mean(
            [
                _member({name: values[member] for name, values in c.items() if name not in ("mean", "scale")}, x)
                for member in range(len(c["out_bias"]))
            ]
        )
    )


def _member(c: Mapping[str, Floats], x: Floats) -> float:
    hidden = np.maximum(x @ c["hidden"] + c["hidden_bias"], 0)
    gate = 1 / (1 + np.exp(-(hidden @ c["gate"] + c["gate_bias"])))
    weights = (np.tanh(hidden @ c["view"] + c["view_bias"]) * gate) @ c["attention"]
    weights = np.exp(weights - weights.max())
    return float((weights / weights.sum()) @ hidden @ c["out"] + c["out_bias"])
