"""How often sets of classes hold a patient's own, and how large they are: drawn cohorts of the real one's and the demo's sizes.

`OMP_NUM_THREADS=1 python -m bench.call [cohorts]`, some minutes for 1,000. The answers are those of `pipeline/calling`: to a
cohort's own patients out of fold, as the report shows them, and to 100 new patients of each class and of a class that nobody
knows, as the registered model gives them. Prints the table of docs/call.md.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calling import answer, calls, conformal, model
from pipeline.calling.answer import Floats, Ints
from pipeline.calling.patients import Everybody
from pipeline.common import config

SIZES = {"real": (60, 24, 36, 37, 32), "demo": (30, 18, 18, 18, 18)}
APART = {"well apart": 2.0, "hardly apart": 1.2}  # distance of the classes' means from their centre, in sd of a patient
COVERAGES = (0.8, 0.9, 0.95)
FEATURES, FOLDS, NEW = 30, 5, 100


def drawn(means: Floats, counts: tuple[int, ...], rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Features `(patients, FEATURES)` and classes; some patients lie much further out than others, as in life."""
    labels = np.repeat(np.arange(len(counts)), counts)
    spread = np.sqrt(5 / rng.chisquare(5, size=(len(labels), 1)))
    return means[labels] + rng.normal(size=(len(labels), FEATURES)) * spread, labels


def once(settings: config.Config, counts: tuple[int, ...], apart: float, seed: int) -> list[dict[str, Any]]:
    """What became of one cohort, a row a coverage."""
    rng = np.random.default_rng(seed)
    classes = len(counts)
    means = rng.normal(size=(classes + 1, FEATURES))
    means *= apart * np.sqrt(2) / np.linalg.norm(means, axis=1, keepdims=True)
    table, labels = drawn(means[:classes], counts, rng)
    folds = np.concatenate([rng.permutation(np.arange(n) % FOLDS) for n in counts])
    patients = pd.DataFrame({"class": [f"c{label}" for label in labels], "fold": folds})
    everybody = Everybody(patients, [], [f"c{label}" for label in range(classes)], {})
    found = calls.regressions(settings, table, everybody)
    accuracy = _balanced(labels, found.scores.out_of_fold(found.scores.numbers)[1].argmax(axis=1))
    others, theirs = drawn(means, (NEW,) * (classes + 1), rng)
    learned: list[dict[str, Any]] = [model.of_fold(found, labels, k) for k in range(FOLDS)]
    strange = [answer.strangeness(answer.logits(one, others)) for one in learned]
    p_new = answer.p_values([(one["classes"], one["strangeness"]) for one in learned], strange)
    own, p_own = theirs < classes, conformal.out_of_fold(found.scores, labels)
    # Without a part of a rank between two known patients, as it is proved, and with a lot for every patient instead (Vovk,
    # Gammerman & Shafer 2005, 2.2): what coverage and size are then.
    ranks = np.array(counts) + 1
    p_whole = np.ceil(p_new * ranks - 1e-9) / ranks
    p_lot = p_whole - (1 - rng.random((len(others), 1))) / ranks
    rows = []
    for coverage in COVERAGES:
        inside, new, whole, lot = (answer.inside(values, coverage) for values in (p_own, p_new, p_whole, p_lot))
        covered, covered_whole, covered_lot = (
            [sets[theirs == label, label].mean() for label in range(classes)] for sets in (new, whole, lot)
        )
        rows.append(
            {
                "asked for": coverage,
                "balanced accuracy": accuracy,
                "out of fold": inside[np.arange(len(labels)), labels].mean(),
                "new": np.average(covered, weights=counts),
                "new, worst class": min(covered),
                "new, whole ranks": np.average(covered_whole, weights=counts),
                "new, by lot": np.average(covered_lot, weights=counts),
                "size, out of fold": inside.sum(axis=1).mean(),
                "size, new": new[own].sum(axis=1).mean(),
                "size, whole ranks": whole[own].sum(axis=1).mean(),
                "one class": (new[own].sum(axis=1) == 1).mean(),
                "none": (new[own].sum(axis=1) == 0).mean(),
                "all": (new[own].sum(axis=1) == classes).mean(),
                "unknown: none": (new[~own].sum(axis=1) == 0).mean(),
                "unknown: one": (new[~own].sum(axis=1) == 1).mean(),
            }
        )
    return rows


def _balanced(labels: Ints, called: Ints) -> float:
    return float(np.mean([(called[labels == label] == label).mean() for label in np.unique(labels)]))


def main(cohorts: int) -> None:
    """Print the table, a row a cohort's size, distance and coverage."""
    known = config.load()
    settings = known.model_copy(update={"call": known.call.model_copy(update={"penalties": [0.01]})})
    tables = []
    for (size, counts), (apart, distance) in ((a, b) for a in SIZES.items() for b in APART.items()):
        rows = [row for seed in range(cohorts) for row in once(settings, counts, distance, seed)]
        table = pd.DataFrame(rows).groupby("asked for")
        mean = table.mean().reset_index()
        error = table["new"].sem().max()
        tables.append(mean.assign(cohort=size, classes=apart, error=error))
    shown = pd.concat(tables)
    columns = ["cohort", "classes", *[name for name in shown.columns if name not in ("cohort", "classes", "error")]]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in shown[columns].to_dict("records"):
        print("| " + " | ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()) + " |")
    print(f"Standard error of a coverage over {cohorts} cohorts: {shown['error'].max():.4f} at most.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
