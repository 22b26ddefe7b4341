"""Which bag learner tells patients apart best, on drawn vectors. `python -m bench.bags [--seeds N]`

A cohort: 60 controls and 24 patients of the subtype to learn from, 100 of each to judge by, 430 cells each, vectors of 64
dimensions. A cell is of one of five normal kinds, whose shares differ between patients (Dirichlet); of a patient of the
subtype a share of the cells (drawn around its mean, Beta) are blasts, another kind of its own; one in a hundred cells of
everybody looks like one. Around its kind's place a cell is standard normal. Staining moves all cells of a patient by the same
vector, normal, of a given standard deviation in every dimension. Printed by blast share and staining: patient AUROC and log
loss, means over seeds, of the learners by params.kaggle.yaml's settings, and of the mean of a patient's instance logits with
a temperature from patients held out in turn; and seconds a fit.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from pipeline.bags import attention, inner_folds, instances, pooled, scoring
from pipeline.common.params_learning import AttentionLearner, InstancesLearner, PooledLearner
from pipeline.evaluation import metrics

CELLS, DIMENSION = 430, 64
LEARN, JUDGE = (60, 24), (100, 100)  # controls, patients of the subtype
SHARES, STAININGS = (0.05, 0.15, 0.5), (0.0, 0.5, 1.0)
KINDS, LOOK_ALIKES = 5, 0.01
APART = 0.6  # sd of the kinds' places, in every dimension
BLAST_APART = 0.35  # the same, of the blasts' place around that of a normal kind
PENALTIES = [0.0001, 0.001, 0.01, 0.1, 1.0]
POOLED = PooledLearner(name="pooled", quantiles=[0.75, 0.9], penalties=PENALTIES, inner_folds=5)
INSTANCES = InstancesLearner(name="instances", images_per_patient=100, penalties=PENALTIES, inner_folds=5)
ATTENTION = AttentionLearner(
    name="attention",
    images_per_patient=128,
    hidden=64,
    attention=32,
    dropout=0.25,
    learning_rate=1e-3,
    weight_decay=0.01,
    batch_size=8,
    max_epochs=40,
    patience=8,
    members=3,
    inner_folds=5,
)
FITS = {
    "pooled": partial(pooled.fit, settings=POOLED),
    "instances": partial(instances.fit, settings=INSTANCES),
    "attention": partial(attention.fit, settings=ATTENTION),
}


def draw(seed: int, share: float, staining: float) -> Callable[[tuple[int, int]], tuple[list[scoring.Bag], np.ndarray]]:
    """A function that draws so many controls and patients of the subtype of one population: bags and labels."""
    rng = np.random.default_rng([seed, int(100 * share), int(10 * staining)])
    places = rng.normal(0, APART, (KINDS, DIMENSION))
    places = np.vstack([places, places[0] + rng.normal(0, BLAST_APART, DIMENSION)])

    def patient(label: int) -> scoring.Bag:
        blasts = LOOK_ALIKES + (rng.beta(4 * share, 4 * (1 - share)) * (1 - LOOK_ALIKES) if label else 0.0)
        shares = np.append(rng.dirichlet(np.full(KINDS, 5.0)) * (1 - blasts), blasts)
        kinds = rng.choice(KINDS + 1, CELLS, p=shares / shares.sum())
        cells = places[kinds] + rng.normal(size=(CELLS, DIMENSION)) + rng.normal(0, staining, DIMENSION)
        return cells.astype(np.float32)

    def cohort(counts: tuple[int, int]) -> tuple[list[scoring.Bag], np.ndarray]:
        labels = np.repeat([0, 1], counts)
        return [patient(label) for label in labels], labels

    return cohort


def mean_of_instances(bags: list[scoring.Bag], labels: np.ndarray, seed: int, judged: list[scoring.Bag]) -> np.ndarray:
    """Logits of `judged`: means of instance logits; penalty and temperature from patients held out in turn."""
    found: dict[float, tuple[float, float]] = {}
    for penalty in INSTANCES.penalties:
        x = instances.held_out(bags, bags, labels, penalty, INSTANCES.inner_folds, seed)[:, 0]
        fit = minimize_scalar(
            lambda heat, x=x: inner_folds.log_loss(labels, x / np.exp(heat)), bounds=(-3, 3), method="bounded"
        )
        found[penalty] = fit.fun, np.exp(fit.x)
    best = min(found, key=lambda penalty: found[penalty][0])
    learned = instances.of_images(bags, labels, best)
    return np.array([scoring.image_logits(learned, bag).mean() for bag in judged]) / found[best][1]


def rows(seed: int, share: float, staining: float) -> list[dict[str, object]]:
    """A row a learner."""
    cohort = draw(seed, share, staining)
    (bags, labels), (judged, truth) = cohort(LEARN), cohort(JUDGE)
    found = []
    for name in ("mean of instances", *FITS):
        start = time.perf_counter()
        if name in FITS:
            coefficients = FITS[name](bags, labels, seed=seed)
            seconds = time.perf_counter() - start
            logits = scoring.logits(name, coefficients, judged)
        else:
            logits = mean_of_instances([bag[::4] for bag in bags], labels, seed, judged)
            seconds = time.perf_counter() - start
        figures = {"auroc": metrics.auroc(truth, logits), "log_loss": inner_folds.log_loss(truth, logits), "seconds": seconds}
        found.append({"seed": seed, "blasts": share, "staining": staining, "learner": name, **figures})
    return found


def main() -> None:
    """Draw, learn, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    table = pd.DataFrame(
        [row for share in SHARES for staining in STAININGS for seed in range(seeds) for row in rows(seed, share, staining)]
    )
    order = list(dict.fromkeys(table["learner"]))
    for figure in ("auroc", "log_loss"):
        by_cell = table.pivot_table(figure, ["blasts", "staining"], "learner")[order]
        by_cell.loc[("all", ""), :] = by_cell.mean()
        print(f"\n{figure}\n{by_cell.round(3).to_string()}")
    print(f"\nseconds a fit\n{table.groupby('learner')['seconds'].median()[order].round(2).to_string()}")


if __name__ == "__main__":
    main()
