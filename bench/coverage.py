"""How often the 95 % intervals hold the truth: simulated cohorts of known AUROC. `python -m bench.coverage`

A patient has a tendency of his or her own, around which the images' logits lie; with five folds every fold has a shift and a
scale of its own, as different networks do. The intervals are those that `evaluate` writes. With `--rejected` others stand
beside them: those that were tried, and a bootstrap over images, which takes the images of a patient for independent. With
`--unkind` the cohorts are unkind instead: the tendencies of one class spread three times as much, or a patient has 10 to 500
images (as many from 10 to 70 as from 70 to 500), or both.
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
MANY = (10, 500)  # the least and the most, evenly on the logarithmic scale
CONFIDENCE, DRAWS = 0.95, 400
PER_CLASS = 800  # images of the balanced draws
BAND_AT = 0.1  # 1 - specificity
# With more folds their shifts move what a fixed threshold does, and the truth with it.
ONE_FOLD = {
    "patient": ("auprc", "accuracy", "sensitivity", "balanced_accuracy", "f1", "mcc", "brier", "log_loss"),
    "image": ("auprc", "accuracy", "sensitivity", "f1", "mcc", "brier", "log_loss"),
}

# Of those of `--unkind`: controls and patients of the subtype, the subtype's spread, whether MANY images.
UNKIND = {
    "spread 3": ((24, 24), 3.0, False),
    "spread 3, 60 controls": ((60, 24), 3.0, False),
    "spread 3, 24 controls": ((24, 60), 3.0, False),
    "10 to 500 images": ((24, 24), 1.0, True),
    "10 to 500 images, 60 controls": ((60, 24), 1.0, True),
    "10 to 500 images, spread 3": ((60, 24), 3.0, True),
    "10 to 500 images, 10 patients": ((10, 10), 1.0, True),
}

Found = tuple[str, float, Interval]  # method, truth, interval
Floats = NDArray[np.float64]


def distance(level: str, auroc: float, spread: float = 1.0) -> float:
    """Between the means of the two classes, so that the AUROC of `level` is `auroc`.

    The tendency of a control has variance 1, of a patient of the subtype `spread` squared, an image around it 1; the mean of n
    images has 1 / n.
    """
    return float(norm.ppf(auroc) * np.sqrt(1 + spread**2 + 2 * (1 if level == "image" else np.mean(1 / IMAGES))))


def networks(rng: np.random.Generator, folds: int) -> Floats:
    """Scale and shift `(2, folds)` of the logits of each fold."""
    if folds == 1:
        return np.array([[1.0], [0.0]])
    return np.stack([np.exp(rng.normal(0, 0.2, folds)), rng.normal(0, 0.5, folds)])


def cohort(
    rng: np.random.Generator, apart: float, counts: tuple[int, int], of_folds: Floats, spread: float = 1.0, many: bool = False
) -> pd.DataFrame:
    """Rows fold, patient, label, logit of so many controls and patients of the subtype, whose means are `apart`."""
    label = np.repeat([0, 1], counts)
    per_patient = rng.choice(IMAGES, len(label))
    if many:
        per_patient = np.exp(rng.uniform(np.log(MANY[0]), np.log(MANY[1] + 1), len(label))).astype(int)
    tendency = rng.normal(apart * (label - 0.5), np.where(label, spread, 1))
    fold = np.concatenate([np.arange(count) % of_folds.shape[1] for count in counts])
    patient = np.repeat(np.arange(len(label)), per_patient)
    scale, shift = of_folds[:, fold[patient]]
    logit = scale * (tendency[patient] + rng.normal(size=len(patient))) + shift
    return pd.DataFrame({"fold": fold[patient], "patient": patient, "label": label[patient], "logit": logit})


@cache
def truths(level: str, auroc: float, spread: float = 1.0) -> dict[str, float]:
    """Of a hundred thousand patients, who are one fold. Of images it is the same however many a patient has."""
    rng = np.random.default_rng(0)
    rows = cohort(rng, distance(level, auroc, spread), (50_000, 50_000), networks(rng, 1), spread)
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
        rows = cohort(rng, apart, (count, count), of_folds)
        table = metrics.patient_scores(rows) if level == "patient" else rows
        true = truths(level, auroc) | {"auroc_pooled": pooled_auroc(apart, count, of_folds)}
        found = _in_use(level, table, folds, true, number)
        for method, truth, interval in (*found, *(_rejected(level, table, folds, true, number) if rejected else ())):
            held.setdefault(method, []).append(interval.low <= truth <= interval.high)
    return {method: (sum(found), len(found)) for method, found in held.items()}


def unkind(cell: tuple[str, float, int, int, int]) -> dict[str, tuple[int, int]]:
    """method -> how many intervals held the truth, of how many, in a cohort of `UNKIND`."""
    kind, auroc, folds, simulations, seed = cell
    counts, spread, many = UNKIND[kind]
    rng = np.random.default_rng([seed, list(UNKIND).index(kind), folds, int(1000 * auroc)])
    held: dict[str, list[bool]] = {}
    for number in range(simulations):
        for level in ("image",) if many else ("patient", "image"):
            rows = cohort(rng, distance(level, auroc, spread), counts, networks(rng, folds), spread, many)
            sample = resampling.summarise(metrics.patient_scores(rows) if level == "patient" else rows, 0.5)
            true = truths(level, auroc, spread)
            if level == "patient":
                held.setdefault("patient auroc", []).append(_holds(intervals.auroc(sample, CONFIDENCE), true["auroc"]))
                continue
            found = resampling.figures(sample, resampling.unweighted(sample), auprc=False)
            drawn = resampling.figures(sample, resampling.draw(sample, DRAWS, number), auprc=False)
            for name in ("auroc", *(("sensitivity", "specificity", "brier", "log_loss") if folds == 1 else ())):
                interval = intervals.resampled(name, float(found[name][0]), drawn[name], sample, CONFIDENCE)
                held.setdefault(f"image {name}", []).append(_holds(interval, true[name]))
    return {method: (sum(found), len(found)) for method, found in held.items()}


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


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
    of_t = intervals.bootstrap(value, drawn["auroc"], int(sample.labels.sum()), CONFIDENCE, rows=len(table), certain=1.0)
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
    parser.add_argument("--unkind", action="store_true", help="other cohorts: unequal spreads, 10 to 500 images a patient")
    options = parser.parse_args()
    if options.unkind:
        _print_unkind(options.simulations, options.processes)
        return
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


def _print_unkind(simulations: int, processes: int) -> None:
    cells = list(product(UNKIND, FOLDS, AUROCS))
    print(f"coverage in %, nominal {CONFIDENCE:.0%}; {simulations} simulations a cell\n", flush=True)
    print("| cohort | folds | figure | " + " | ".join(f"AUROC {auroc:g}" for auroc in AUROCS) + " |")
    print("|---" * (3 + len(AUROCS)) + "|")
    rows: dict[tuple[str, int, str], list[float]] = {}
    with ProcessPoolExecutor(processes) as pool:
        jobs = [(kind, auroc, folds, simulations, 0) for kind, folds, auroc in cells]
        for (kind, folds, auroc), found in zip(cells, pool.map(unkind, jobs), strict=True):
            for method, (held, total) in found.items():
                rows.setdefault((kind, folds, method), []).append(100 * held / total)
            if auroc == AUROCS[-1]:
                for key in [key for key in rows if key[:2] == (kind, folds)]:
                    print(
                        "| " + " | ".join(map(str, key)) + " | " + " | ".join(f"{x:.1f}" for x in rows[key]) + " |", flush=True
                    )


if __name__ == "__main__":
    main()
