"""How often the 95 % intervals hold the truth: simulated cohorts of known AUROC. `python -m bench.coverage`

A patient has a tendency of his or her own, around which the images' logits lie; with five folds every fold has a shift and a
scale of its own, as different networks do. The intervals are those that `evaluate` writes. With `--rejected` others stand
beside them: those that were tried, and a bootstrap over images, which takes the images of a patient for independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.evaluation import figures, intervals, metrics, published_form, resampling
from pipeline.evaluation.figures import Interval

AUROCS, COUNTS, FOLDS = (0.7, 0.9, 0.99), (5, 24, 60), (1, 5)
IMAGES = np.arange(5, 16)  # of a patient
CONFIDENCE, DRAWS = 0.95, 400
PER_CLASS = 800  # images of the balanced draws
BAND_AT = 0.1  # 1 - specificity
# With more folds their shifts move what a fixed threshold does, and the truth with it.
ONE_FOLD = {
    "patient": ("auprc", "accuracy", "sensitivity", "balanced_accuracy", "f1", "mcc", "brier", "log_loss"),
    "image": ("auprc", "accuracy", "sensitivity", "f1", "mcc", "brier", "log_loss"),
}

Found = tuple[str, float, Interval]  # method, truth, interval
Floats = NDArray[np.float64]


def distance(level: str, auroc: float) -> float:
    """Between the means of the two classes, so that the AUROC of `level` is `auroc`.

    A patient's tendency has variance 1 and so has an image around it; the mean of n images has 1 + 1 / n.
    """
    return float(norm.ppf(auroc) * np.sqrt(2 * (1 + (1 if level == "image" else np.mean(1 / IMAGES)))))


def networks(rng: np.random.Generator, folds: int) -> Floats:
    """Scale and shift `(2, folds)` of the logits of each fold."""
    if folds == 1:
        return np.array([[1.0], [0.0]])
    return np.stack([np.exp(rng.normal(0, 0.2, folds)), rng.normal(0, 0.5, folds)])


def cohort(rng: np.random.Generator, apart: float, count: int, of_folds: Floats) -> pd.DataFrame:
    """Rows fold, patient, label, logit of `count` + `count` patients, whose classes are `apart`."""
    per_patient = rng.choice(IMAGES, 2 * count)
    label = np.repeat([0, 1], count)
    tendency = rng.normal(apart * (label - 0.5), 1)
    fold = np.tile(np.arange(count) % of_folds.shape[1], 2)
    patient = np.repeat(np.arange(2 * count), per_patient)
    scale, shift = of_folds[:, fold[patient]]
    logit = scale * (tendency[patient] + rng.normal(size=len(patient))) + shift
    return pd.DataFrame({"fold": fold[patient], "patient": patient, "label": label[patient], "logit": logit})


@cache
def truths(level: str, auroc: float) -> dict[str, float]:
    """Of a hundred thousand patients, who are one fold."""
    rng = np.random.default_rng(0)
    rows = cohort(rng, distance(level, auroc), 50_000, networks(rng, 1))
    if level == "patient":
        rows = metrics.patient_scores(rows)
    sample = resampling.summarise(rows.assign(patient=rows["label"]), 0.5)  # a class as one patient: the same figures, at once
    found = {name: float(value[0]) for name, value in resampling.figures(sample, resampling.unweighted(sample)).items()}
    curve = metrics.roc_curve(rows["label"], rows["logit"])
    return found | {"band": float(np.interp(BAND_AT, curve["fpr"], curve["tpr"]))}


def pooled_auroc(apart: float, count: int, of_folds: Floats) -> float:
    """Of patients whom these networks score, all folds in one."""
    folds = of_folds.shape[1]
    share = np.bincount(np.arange(count) % folds, minlength=folds) / count
    scale, shift = of_folds
    between = (scale * apart / 2 + shift)[None, :] - (-scale * apart / 2 + shift)[:, None]  # control, subtype
    variance = (1 + 1 / IMAGES)[:, None] * scale**2  # images, fold
    spread = np.sqrt(variance[:, None, :, None] + variance[None, :, None, :])  # images of either, fold of either
    return float(share @ norm.cdf(between / spread).mean(axis=(0, 1)) @ share)


def simulate(cell: tuple[float, int, int, int, int], rejected: bool) -> dict[str, tuple[int, int]]:
    """method -> how many intervals held the truth, of how many."""
    auroc, count, folds, simulations, seed = cell
    rng = np.random.default_rng([seed, count, folds, int(1000 * auroc)])
    held: dict[str, list[bool]] = {}
    for number, level in product(range(simulations), figures.LEVELS):
        apart, of_folds = distance(level, auroc), networks(rng, folds)
        rows = cohort(rng, apart, count, of_folds)
        table = metrics.patient_scores(rows) if level == "patient" else rows
        true = truths(level, auroc) | {"auroc_pooled": pooled_auroc(apart, count, of_folds)}
        found = _in_use(level, table, folds, true, number)
        for method, truth, interval in (*found, *(_rejected(level, table, folds, true, number) if rejected else ())):
            held.setdefault(method, []).append(interval.low <= truth <= interval.high)
    return {method: (sum(found), len(found)) for method, found in held.items()}


def _in_use(level: str, table: pd.DataFrame, folds: int, true: dict[str, float], seed: int) -> Iterator[Found]:
    sample = resampling.summarise(table, 0.5)
    found = intervals.of_level(sample, level, draws=DRAWS, seed=seed, confidence=CONFIDENCE)
    pooled = ("auroc_pooled",) if level == "patient" and folds > 1 else ()
    for figure in ("auroc", *pooled, *(ONE_FOLD[level] if folds == 1 else ())):
        yield f"{level} {figure}, in use", true[figure], found[figure]
    if folds > 1:
        return
    if level == "patient":
        band = intervals.bands(sample, DRAWS // 2, seed, CONFIDENCE, points=11).set_index("at").loc[BAND_AT]
        yield f"patient ROC band at {BAND_AT}, in use", true["band"], Interval(*band[["roc", "roc_low", "roc_high"]])
        return
    row = published_form.balanced_draws(sample, PER_CLASS, DRAWS, seed, CONFIDENCE).loc["subtype"].to_dict()
    for figure, truth in (("recall", "sensitivity"), ("precision", "precision"), ("f1", "f1"), ("accuracy", "accuracy")):
        interval = figures.unflat(row, figure)
        precision = true["sensitivity"] / (true["sensitivity"] + 1 - true["specificity"])
        yield f"balanced draws {figure}, in use", {**true, "precision": precision}[truth], interval


def _rejected(level: str, table: pd.DataFrame, folds: int, true: dict[str, float], seed: int) -> Iterator[Found]:
    sample = resampling.summarise(table, 0.5)
    drawn = resampling.figures(sample, resampling.draw(sample, DRAWS, seed))
    yield f"{level} auroc, percentiles", true["auroc"], percentiles(drawn["auroc"])
    if level == "image":
        if seed % 5 == 0:  # it takes long, and misses by far
            lone = resampling.summarise(table.assign(patient=np.arange(len(table))), 0.5)
            over_images = percentiles(resampling.figures(lone, resampling.draw(lone, 100, seed))["auroc"])
            yield "image auroc, bootstrap over images", true["auroc"], over_images
        return
    value = float(resampling.figures(sample, resampling.unweighted(sample))["auroc"][0])
    of_t = intervals.bootstrap(value, drawn["auroc"], int(sample.labels.sum()), CONFIDENCE, share=True)
    yield "patient auroc, bootstrap, logit and t", true["auroc"], of_t
    if folds == 1:
        yield "patient brier, percentiles", true["brier"], percentiles(drawn["brier"])


def percentiles(drawn: Floats) -> Interval:
    """The plain bootstrap interval."""
    low, middle, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2])
    return Interval(float(middle), float(low), float(high))


def main() -> None:
    """Print coverage by method, folds, patients and AUROC."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=5000, help="of each cell")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rejected", action="store_true", help="those that are not in use, too")
    options = parser.parse_args()
    parts = 10
    cells = list(product(FOLDS, COUNTS, AUROCS))
    jobs = [(a, n, k, options.simulations // parts, part) for k, n, a in cells for part in range(parts)]
    counted: dict[tuple[str, int], dict[tuple[int, float], Floats]] = {}
    with ProcessPoolExecutor(options.processes) as pool:
        one = partial(simulate, rejected=options.rejected)
        for (auroc, count, folds, _, _), found in zip(jobs, pool.map(one, jobs), strict=True):
            for method, pair in found.items():
                row = counted.setdefault((method, folds), {})
                row[count, auroc] = row.get((count, auroc), np.zeros(2)) + pair
    print(f"coverage in %, nominal {CONFIDENCE:.0%}; {options.simulations} simulations a cell\n")
    print("| method | folds | " + " | ".join(f"n={n}, AUROC {a:g}" for n, a in product(COUNTS, AUROCS)) + " |")
    print("|---" * (2 + len(COUNTS) * len(AUROCS)) + "|")
    for (method, folds), row in sorted(counted.items()):
        values = [row[cell] for cell in product(COUNTS, AUROCS)]
        print(f"| {method} | {folds} | " + " | ".join(f"{100 * held / total:.1f}" for held, total in values) + " |")


if __name__ == "__main__":
    main()
