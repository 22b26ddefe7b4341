"""How good calls are: figures over patients with their intervals, all classes weighing the same.

Intervals are over patients, stratified by class and conditional on the models. `labels` are places among the classes,
`probabilities` `(patients, classes)`, `sets` bool of the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.calling import answer, multinomial
from pipeline.calling.answer import Floats, Ints
from pipeline.evaluation import intervals
from pipeline.evaluation.figures import Interval

# Key -> words.
OF_CALLS = {"balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1", "top_2": "Right class among the two likeliest"}


def confusion(labels: Ints, called: Ints, classes: int) -> Ints:
    """Patients by their class (rows) and the class they are called."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (labels, called), 1)
    return table


def of_calls(labels: Ints, probabilities: Floats, draws: int, seed: int, confidence: float) -> dict[str, Interval]:
    """`OF_CALLS`, each with its interval."""
    weights = _drawn(labels, draws, seed)
    values, drawn = (_of_calls(labels, probabilities, w) for w in (np.ones((1, len(labels))), weights))
    fewest = float(np.bincount(labels).min())
    return {
        name: intervals.bootstrap(float(values[name][0]), drawn[name], fewest, confidence, rows=float(len(labels)))
        for name in OF_CALLS
    }


def of_sets(labels: Ints, sets: np.ndarray, confidence: float) -> dict[str, Interval]:
    """Coverage, the share of sets of one class, and how many of those are right, if there are any; with exact intervals."""
    inside, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
    alone = sizes == 1
    found = {
        "coverage": intervals.proportion(int(inside.sum()), len(labels), confidence),
        "single_share": intervals.proportion(int(alone.sum()), len(labels), confidence),
        "single_right": intervals.proportion(int(inside[alone].sum()), int(alone.sum()), confidence),
    }
    return {name: interval for name, interval in found.items() if interval.known}


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """Mean over the classes of their mean log losses; that of knowing nothing is the logarithm of their number."""
    return multinomial.log_loss(labels, np.log(np.maximum(probabilities, 1e-300)))


def by_class(labels: Ints, probabilities: Floats, sets: np.ndarray, names: Sequence[str], confidence: float) -> pd.DataFrame:
    """A row a class: patients; of how many it is the call (`called`), in how many sets it is (`covered`); mean size of sets."""
    called, rows = probabilities.argmax(axis=1), []
    for number, name in enumerate(names):
        own = labels == number
        row: dict[str, object] = {"class": name, "patients": int(own.sum())}
        for key, right in (("called", called[own] == number), ("covered", sets[own, number])):
            share = intervals.proportion(int(right.sum()), int(own.sum()), confidence)
            row |= {key: int(right.sum()), f"{key}_low": share.low, f"{key}_high": share.high}
        rows.append({**row, "mean_set_size": float(sets[own].sum(axis=1).mean())})
    return pd.DataFrame(rows)


def by_coverage(labels: Ints, p_values: Floats, coverages: Sequence[float]) -> pd.DataFrame:
    """What sets at other coverages would be: how often they hold the class, how large they are, how many say everything."""
    rows = []
    for coverage in coverages:
        sets = answer.inside(p_values, coverage)
        sizes = sets.sum(axis=1)
        rows.append(
            {
                "coverage": coverage,
                "covered": float(sets[np.arange(len(labels)), labels].mean()),
                "mean_set_size": float(sizes.mean()),
                "none": int((sizes == 0).sum()),
                "one": int((sizes == 1).sum()),
                "several": int(((sizes > 1) & (sizes < sets.shape[1])).sum()),
                "all": int((sizes == sets.shape[1]).sum()),
            }
        )
    return pd.DataFrame(rows)


def _of_calls(labels: Ints, probabilities: Floats, weights: Floats) -> dict[str, Floats]:
    """`OF_CALLS` under weights of the patients `(draws, patients)`, `(draws,)` each."""
    classes = probabilities.shape[1]
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    called, second = ranked[:, 0], ranked[:, 1]
    recalls, scores, among = [], [], []
    for label in range(classes):
        own, its = labels == label, called == label
        n = weights @ own
        right = weights @ (own & its)
        recalls.append(right / n)
        scores.append(2 * right / (n + weights @ its))
        among.append(weights @ (own & (its | (second == label))) / n)
    return {
        "balanced_accuracy": np.mean(recalls, axis=0),
        "macro_f1": np.mean(scores, axis=0),
        "top_2": np.mean(among, axis=0),
    }


def _drawn(labels: Ints, draws: int, seed: int) -> Floats:
    """Weights `(draws, patients)` of a bootstrap over patients, class by class, as in `resampling.draw`."""
    rng = np.random.default_rng(seed)
    weights = np.ones((draws, len(labels)))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        m = len(own)
        if m > 1:
            weights[:, own] = rng.multinomial(m - 1, np.full(m, 1 / m), size=draws) * (m / (m - 1))
    return weights
