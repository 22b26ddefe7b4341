"""How often the 95 % intervals hold the truth: simulated cohorts of known AUROC. `python -m bench.coverage`

A patient has a tendency of his or her own, around which the images' logits lie; with five folds every fold has a shift and a
scale of its own, as different networks do. Beside the intervals in use stand those that were tried and rejected, and a
bootstrap over images, which takes the images of a patient for independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import average_precision_score

from pipeline import intervals, metrics, resampling

AUROCS, COUNTS, FOLDS = (0.7, 0.9, 0.99), (5, 24, 60), (1, 5)
MOST_IMAGES = 15  # a patient has 5 to 15
CONFIDENCE, DRAWS = 0.95, 400
METHODS = (
    "patient AUROC: bounded, in use",
    "patient AUROC: bootstrap, logit and t",
    "patient AUROC: bootstrap, percentiles",
    "patient sensitivity: exact, in use",
    "patient Brier score: bootstrap, log and t, in use",
    "patient Brier score: bootstrap, percentiles",
    "patient AUPRC: logit, in use",
    "image AUROC: bootstrap, logit and t, in use",
    "image AUROC: bootstrap, percentiles",
    "image AUROC: bootstrap over images",
)


def cohort(rng: np.random.Generator, level: str, auroc: float, count: int, folds: int) -> pd.DataFrame:
    """Rows fold, patient, label, logit of `count` + `count` patients; the AUROC of `level` is `auroc`."""
    per_patient = rng.integers(5, MOST_IMAGES + 1, 2 * count)
    # A patient's tendency has variance 1 and so has an image around it; the mean of n images has 1 + 1 / n.
    typical = np.mean(1 / np.arange(5, MOST_IMAGES + 1))
    apart = norm.ppf(auroc) * np.sqrt(2 * (1 + (1 if level == "image" else typical)))
    label = np.repeat([0, 1], count)
    tendency = rng.normal(apart * (label - 0.5), 1)
    fold = np.tile(np.arange(count) % folds, 2)
    patient = np.repeat(np.arange(2 * count), per_patient)
    logit = tendency[patient] + rng.normal(size=len(patient))
    if folds > 1:
        logit = logit * np.exp(rng.normal(0, 0.2, folds))[fold[patient]] + rng.normal(0, 0.5, folds)[fold[patient]]
    return pd.DataFrame({"fold": fold[patient], "patient": patient, "label": label[patient], "logit": logit})


@cache
def truths(level: str, auroc: float) -> dict[str, float]:
    """Of a hundred thousand patients, who are one fold."""
    rows = cohort(np.random.default_rng(0), level, auroc, 50_000, 1)
    if level == "image":
        return {"auroc": metrics.auroc(rows["label"], rows["logit"])}
    patients = metrics.patient_scores(rows)
    y, x = patients["label"], patients["logit"]
    brier = float(((1 / (1 + np.exp(-x)) - y) ** 2).mean())
    precision = float(average_precision_score(y, x))
    return {"auroc": metrics.auroc(y, x), "auprc": precision, "sensitivity": float((x[y == 1] > 0).mean()), "brier": brier}


def simulate(cell: tuple[float, int, int, int, int]) -> dict[str, tuple[int, int]]:
    """method -> how many intervals held the truth, of how many."""
    auroc, count, folds, simulations, seed = cell
    rng = np.random.default_rng([seed, count, folds, int(1000 * auroc)])
    held: dict[str, list[bool]] = {method: [] for method in METHODS}
    true = {level: truths(level, auroc) for level in ("patient", "image")}
    for number in range(simulations):
        for level in ("patient", "image"):
            rows = cohort(rng, level, auroc, count, folds)
            for method, truth, interval in _intervals(level, rows, folds, true[level], number):
                held[method].append(interval.low <= truth <= interval.high)
    return {method: (sum(found), len(found)) for method, found in held.items()}


def _intervals(
    level: str, rows: pd.DataFrame, folds: int, true: dict[str, float], seed: int
) -> Iterator[tuple[str, float, intervals.Interval]]:
    table = metrics.patient_scores(rows) if level == "patient" else rows
    sample = resampling.summarise(table, 0.5)
    value = {name: float(v[0]) for name, v in resampling.figures(sample, resampling.unweighted(sample)).items()}
    drawn = resampling.figures(sample, resampling.draw(sample, DRAWS, seed))
    fewest = int(sample.labels.sum())
    of_t = intervals.bootstrap(value["auroc"], drawn["auroc"], fewest, CONFIDENCE, share=True)
    if level == "image":
        yield METHODS[7], true["auroc"], of_t
        yield METHODS[8], true["auroc"], percentiles(drawn["auroc"])
        if seed % 5:  # it takes long, and misses by far
            return
        lone = resampling.summarise(rows.assign(patient=np.arange(len(rows))), 0.5)
        yield METHODS[9], true["auroc"], percentiles(resampling.figures(lone, resampling.draw(lone, 100, seed))["auroc"])
        return
    yield METHODS[0], true["auroc"], intervals.patient_auroc(table, CONFIDENCE)
    yield METHODS[1], true["auroc"], of_t
    yield METHODS[2], true["auroc"], percentiles(drawn["auroc"])
    if folds == 1:  # the folds' shifts move what a fixed threshold does
        right = int((table.loc[table["label"] == 1, "logit"] > 0).sum())
        yield METHODS[3], true["sensitivity"], intervals.proportion(right, fewest, CONFIDENCE)
        bounds = intervals.bootstrap(value["brier"], drawn["brier"], fewest, CONFIDENCE, share=False)
        yield METHODS[4], true["brier"], bounds
        yield METHODS[5], true["brier"], percentiles(drawn["brier"])
        yield METHODS[6], true["auprc"], intervals.auprc(value["auprc"], fewest, CONFIDENCE)


def percentiles(drawn: NDArray[np.float64]) -> intervals.Interval:
    """The plain bootstrap interval."""
    low, middle, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2])
    return intervals.Interval(float(middle), float(low), float(high))


def main() -> None:
    """Print coverage by method, folds, patients and AUROC."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=5000, help="of each cell")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    parts = 10
    cells = list(product(FOLDS, COUNTS, AUROCS))
    jobs = [(a, n, k, options.simulations // parts, part) for k, n, a in cells for part in range(parts)]
    counted: dict[tuple[int, int, float, str], NDArray[np.float64]] = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for (auroc, count, folds, _, _), found in zip(jobs, pool.map(simulate, jobs), strict=True):
            for method, pair in found.items():
                key = (folds, count, auroc, method)
                counted[key] = counted.get(key, np.zeros(2)) + pair
    print(f"coverage in %, nominal {CONFIDENCE:.0%}; {options.simulations} simulations a cell\n")
    print("| method | folds | " + " | ".join(f"n={n}, AUROC {a:g}" for n, a in product(COUNTS, AUROCS)) + " |")
    print("|---" * (2 + len(COUNTS) * len(AUROCS)) + "|")
    for method, folds in product(METHODS, FOLDS):
        values = [counted[folds, n, a, method] for n, a in product(COUNTS, AUROCS)]
        if all(total for _, total in values):
            print(f"| {method} | {folds} | " + " | ".join(f"{100 * held / total:.1f}" for held, total in values) + " |")


if __name__ == "__main__":
    main()
