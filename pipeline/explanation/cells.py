"""What single cells do to a patient's logit: with each left out, with one alone, with one put in the place of another.

A bag is float32 `(images, dimension)`; coefficients are those of `bags.scoring`, whose logits these are, to rounding: they are
worked out for all cells at once, where scoring a bag for each would take minutes a patient. A network that looks at cells
scores a patient by the mean of the images' logits (`mean_...`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pipeline.bags import scoring
from pipeline.bags.scoring import Bag, Floats

Known = Mapping[str, Floats]


def left_out(learner: str, coefficients: Known, bag: Bag) -> Floats:
    """The patient's logit without each of the images, `(images,)`; NaN of an only one."""
    if len(bag) < 2:
        return np.full(len(bag), np.nan)
    by = {"pooled": _pooled_left_out, "instances": _instances_left_out, "attention": _attention_left_out}
    return by[learner](coefficients, np.asarray(bag, dtype=np.float64))


def alone(learner: str, coefficients: Known, bag: Bag) -> Floats:
    """The logit of a patient who had one image alone, for each of them, `(images,)` (Jamshidi Idaji et al. 2026, "Single")."""
    if learner == "pooled":  # mean and quantiles are the vector itself, and there is no spread
        mean, weights = (coefficients[name].reshape(-1, bag.shape[1]) for name in ("mean", "weights"))
        of_vector = np.delete(weights, 1, axis=0).sum(axis=0)
        constant = coefficients["intercept"] - (mean * weights).sum()
        return np.asarray(np.asarray(bag, dtype=np.float64) @ of_vector + constant)
    if learner == "instances":
        logits = scoring.image_logits(coefficients, bag)
        return np.asarray(logits * coefficients["pooling"][0] + coefficients["pooling_intercept"])
    return np.asarray(np.mean([values + bias for _, values, bias in _members(coefficients, bag)], axis=0))


def exchanged(learner: str, coefficients: Known, bag: Bag, row: int, vectors: Bag) -> Floats:
    """The patient's logit with each of `vectors` `(n, dimension)` in the place of the image at `row`, `(n,)`."""
    others, new = np.delete(np.asarray(bag, dtype=np.float64), row, axis=0), np.asarray(vectors, dtype=np.float64)
    by = {"pooled": _pooled_exchanged, "instances": _instances_exchanged, "attention": _attention_exchanged}
    return by[learner](coefficients, others, new)


def mean_left_out(logits: Floats) -> Floats:
    """The mean without each, `(images,)`; NaN of an only one."""
    if len(logits) < 2:
        return np.full(len(logits), np.nan)
    return np.asarray((logits.sum() - logits) / (len(logits) - 1))


def shares(changes: Floats) -> Floats:
    """Of what speaks for the subtype, or against it, the part that each image carries: 0 to 1, negative of those against.

    `changes` are the patient's logit less that without each image.
    """
    totals = np.where(changes >= 0, changes[changes >= 0].sum(), -changes[changes < 0].sum())
    return np.asarray(np.divide(changes, totals, out=np.zeros_like(changes), where=totals > 0))


def _pooled_left_out(c: Known, x: Floats) -> Floats:
    n, y = len(x), x - x.mean(axis=0)
    variance = ((y**2).sum(axis=0) - y**2 * n / (n - 1)) / (n - 1)
    order = np.argsort(x, axis=0)
    ranks, ascending = np.empty_like(order), np.take_along_axis(x, order, axis=0)
    np.put_along_axis(ranks, order, np.arange(n)[:, None], axis=0)

    def kth(k: int) -> Floats:
        """Of the images without each, the one at place k."""
        return np.asarray(np.where(ranks <= k, ascending[k + 1], ascending[k]))

    return _pooled(c, x.mean(axis=0) - y / (n - 1), variance, n - 1, kth)


def _pooled_exchanged(c: Known, others: Floats, new: Floats) -> Floats:
    n = len(others) + 1
    mean = (others.sum(axis=0) + new) / n
    middle = others.mean(axis=0) if n > 1 else np.zeros(new.shape[1])  # of nobody it weighs nothing
    squares = ((others - middle) ** 2).sum(axis=0) + (new - middle) ** 2 * (n - 1) / n
    ascending = np.sort(others, axis=0)

    def kth(k: int) -> Floats:
        """Of the others and each new one, the one at place k."""
        low = ascending[k - 1] if k > 0 else -np.inf
        high = ascending[k] if k < n - 1 else np.inf
        return np.clip(new, low, high)

    return _pooled(c, mean, squares / n, n, kth)


def _pooled(c: Known, mean: Floats, variance: Floats, n: int, kth: Callable[[int], Floats]) -> Floats:
    """`scoring.pooled` of many bags of n images each, whose means and variances are `(bags, dimension)`."""
    spread = np.sqrt(np.maximum(variance, 0.0))
    centre, weights = (c[name].reshape(-1, mean.shape[1]) for name in ("mean", "weights"))
    logits = (mean - centre[0]) @ weights[0] + (spread - centre[1]) @ weights[1]
    for quantile, own, weight in zip(c["quantiles"], centre[2:], weights[2:], strict=True):
        low, part = divmod(float(quantile) * (n - 1), 1)
        below, above = kth(int(low)), kth(min(int(low) + 1, n - 1))
        logits = logits + (below + part * (above - below) - own) @ weight
    return np.asarray(logits + c["intercept"])


def _instances_left_out(c: Known, x: Floats) -> Floats:
    logits = scoring.image_logits(c, x.astype(np.float32))
    n, y = len(logits), logits - logits.mean()
    variance = ((y**2).sum() - y**2 * n / (n - 1)) / (n - 1)
    pairs = np.stack([mean_left_out(logits), np.sqrt(np.maximum(variance, 0.0))], axis=1)
    return np.asarray(pairs @ c["pooling"] + c["pooling_intercept"])


def _instances_exchanged(c: Known, others: Floats, new: Floats) -> Floats:
    known, logits = (scoring.image_logits(c, some.astype(np.float32)) for some in (others, new))
    bags = np.concatenate([np.broadcast_to(known, (len(logits), len(known))), logits[:, None]], axis=1)
    pairs = np.stack([bags.mean(axis=1), bags.std(axis=1)], axis=1)
    return np.asarray(pairs @ c["pooling"] + c["pooling_intercept"])


def _attention_left_out(c: Known, x: Floats) -> Floats:
    of_members = []
    for weights, values, bias in _members(c, x):
        relative = np.exp(weights - weights.max())
        top = int(weights.argmax())  # without it the others may be nothing beside it: they are added up anew
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (relative @ values - relative * values) / (relative.sum() - relative)
        rest = np.delete(weights, top)
        rest = np.exp(rest - rest.max())
        found[top] = rest @ np.delete(values, top) / rest.sum()
        of_members.append(found + bias)
    return np.asarray(np.mean(of_members, axis=0))


def _attention_exchanged(c: Known, others: Floats, new: Floats) -> Floats:
    of_members = []
    for (known, values, bias), (weights, worth, _) in zip(_members(c, others), _members(c, new), strict=True):
        highest = np.maximum(known.max(initial=-np.inf), weights)
        own, rest = np.exp(weights - highest), np.exp(known[None, :] - highest[:, None])
        of_members.append((rest @ values + own * worth) / (rest.sum(axis=1) + own) + bias)
    return np.asarray(np.mean(of_members, axis=0))


def _members(c: Known, bag: Bag | Floats) -> list[tuple[Floats, Floats, float]]:
    """Of each member of the ensemble an image's attention before the softmax, what it votes for, and the bias."""
    x = (np.asarray(bag, dtype=np.float64) - c["mean"]) / c["scale"]
    found = []
    for member in range(len(c["out_bias"])):
        own = {name: values[member] for name, values in c.items() if name not in ("mean", "scale")}
        hidden = np.maximum(x @ own["hidden"] + own["hidden_bias"], 0)
        gate = 1 / (1 + np.exp(-(hidden @ own["gate"] + own["gate_bias"])))
        weights = (np.tanh(hidden @ own["view"] + own["view_bias"]) * gate) @ own["attention"]
        found.append((weights, hidden @ own["out"], float(own["out_bias"])))
    return found
