"""How often the 95 % intervals hold the truth: simulated cohorts of known AUROC. `python -m bench.coverage`

A patient has a tendency of his or her own, around which the images' logits lie; with five folds every fold has a shift and a
scale of its own, as different networks do. The intervals are those that `evaluate` writes. With `--rejected` others stand
beside them: those that were tried, and a bootstrap over images, which takes the images of a patient for independent. With
`--unkind` the cohorts are unkind instead: the tendencies of one class spread three times as much, or a patient has 10 to 500
images (as many from 10 to 70 as from 70 to 500), or both. A second table has the mean widths.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, t

from pipeline.evaluation import figures, intervals, metrics, published_form, resampling
from pipeline.evaluation.figures import Interval

AUROCS, COUNTS, FOLDS = (0.7, 0.9, 0.99), (5, 24, 60), (1, 5)
IMAGES = np.arange(5, 16)  # of a patient
MANY = (10, 500)  # the least and the most, evenly on the logarithmic scale
CONFIDENCE, DRAWS = 0.95, 200
PER_CLASS = 800  # images of the balanced draws
BAND_AT = 0.1  # 1 - specificity
LOSSES = ("brier", "log_loss")
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
Counted = dict[str, NDArray[np.float64]]  # method -> how many intervals held the truth, of how many, the sum of their widths
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


def simulate(cell: tuple[float, int, int, int, int], rejected: bool) -> Counted:
    """Count the intervals of cohorts of a cell: AUROC, patients of either class, folds, how many cohorts, seed."""
    auroc, count, folds, simulations, seed = cell
    rng = np.random.default_rng([seed, count, folds, int(1000 * auroc)])
    counted: Counted = {}
    for number, level in product(range(simulations), figures.LEVELS):
        apart, of_folds = distance(level, auroc), networks(rng, folds)
        rows = cohort(rng, apart, (count, count), of_folds)
        table = metrics.patient_scores(rows) if level == "patient" else rows
        true = truths(level, auroc) | {"auroc_pooled": pooled_auroc(apart, count, of_folds)}
        found = _in_use(level, table, folds, true, number)
        _count(counted, (*found, *(_rejected(level, table, folds, true, number) if rejected else ())))
    return counted


def unkind(cell: tuple[str, float, int, int, int], rejected: bool) -> Counted:
    """Count the intervals of cohorts of `UNKIND`: kind, AUROC, folds, how many cohorts, seed."""
    kind, auroc, folds, simulations, seed = cell
    counts, spread, many = UNKIND[kind]
    rng = np.random.default_rng([seed, list(UNKIND).index(kind), folds, int(1000 * auroc)])
    counted: Counted = {}
    for number in range(simulations):
        for level in ("image",) if many else ("patient", "image"):
            rows = cohort(rng, distance(level, auroc, spread), counts, networks(rng, folds), spread, many)
            sample = resampling.summarise(metrics.patient_scores(rows) if level == "patient" else rows, 0.5)
            true = truths(level, auroc, spread)
            value = resampling.figures(sample, resampling.unweighted(sample), auprc=False)
            drawn = resampling.figures(sample, resampling.draw(sample, DRAWS, number), auprc=False)
            found: list[Found] = []
            if level == "patient":
                found = [("patient auroc, in use", true["auroc"], intervals.auroc(sample, CONFIDENCE))]
            rates = ("auroc", *(("sensitivity", "specificity") if folds == 1 else ())) if level == "image" else ()
            for name in (*rates, *(LOSSES if folds == 1 else ())):
                interval = intervals.resampled(name, float(value[name][0]), drawn[name], sample, CONFIDENCE)
                found.append((f"{level} {name}, in use", true[name], interval))
                if rejected and name in LOSSES:
                    alone = of_t(float(value[name][0]), drawn[name], sample)
                    found.append((f"{level} {name}, log and t alone", true[name], alone))
            _count(counted, found)
    return counted


def _count(counted: Counted, found: Iterable[Found]) -> None:
    for method, truth, interval in found:
        new = np.array([interval.low <= truth <= interval.high, 1, interval.high - interval.low])
        counted[method] = counted.get(method, np.zeros(3)) + new


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
    values = resampling.figures(sample, resampling.unweighted(sample))
    if folds == 1:
        for name in LOSSES:
            yield f"{level} {name}, log and t alone", true[name], of_t(float(values[name][0]), drawn[name], sample)
    if level == "image":
        if seed % 5 == 0:  # it takes long, and misses by far
            lone = resampling.summarise(table.assign(patient=np.arange(len(table))), 0.5)
            over_images = percentiles(resampling.figures(lone, resampling.draw(lone, 100, seed))["auroc"])
            yield "image auroc, bootstrap over images", true["auroc"], over_images
        return
    value = float(values["auroc"][0])
    shares = intervals.bootstrap(value, drawn["auroc"], int(sample.labels.sum()), CONFIDENCE, rows=len(table), certain=1.0)
    yield "patient auroc, bootstrap, logit and t", true["auroc"], shares
    if folds == 1:
        yield "patient brier, percentiles", true["brier"], percentiles(drawn["brier"])


def of_t(loss: float, drawn: Floats, sample: resampling.Sample) -> Interval:
    """The interval of a loss by the spread of its logarithm alone, with the degrees of freedom of patients who weigh alike."""
    patients = min(intervals.kish(sample.sums["rows"][sample.labels == label]) for label in (0, 1))
    reach = t.ppf((1 + CONFIDENCE) / 2, max(patients - 1, 1)) * np.std(np.log(np.maximum(drawn, 1e-6)), ddof=1)
    return Interval(loss, float(loss * np.exp(-reach)), float(loss * np.exp(reach)))


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
    print(f"coverage in %, nominal {CONFIDENCE:.0%}; {options.simulations} simulations a cell\n", flush=True)
    parts = 10
    with ProcessPoolExecutor(options.processes) as pool:
        if options.unkind:
            cells = [(kind, auroc, folds) for kind, folds, auroc in product(UNKIND, FOLDS, AUROCS)]
            jobs = [(*cell, options.simulations // parts, part) for cell in cells for part in range(parts)]
            found = pool.map(partial(unkind, rejected=options.rejected), jobs)
            heads = [f"AUROC {auroc:g}" for auroc in AUROCS]
            places = [((kind, folds), f"AUROC {auroc:g}") for kind, auroc, folds, *_ in jobs]
        else:
            jobs_ = [(a, n, k, options.simulations // parts, p) for k, n, a, p in product(FOLDS, COUNTS, AUROCS, range(parts))]
            found = pool.map(partial(simulate, rejected=options.rejected), jobs_)
            heads = [f"n={n}, AUROC {a:g}" for n, a in product(COUNTS, AUROCS)]
            places = [(("", k), f"n={n}, AUROC {a:g}") for a, n, k, *_ in jobs_]
        rows: dict[tuple[str, int, str], dict[str, Floats]] = {}
        for ((kind, folds), head), counted in zip(places, found, strict=True):
            for method, numbers in counted.items():
                row = rows.setdefault((kind, folds, method), {})
                row[head] = row.get(head, np.zeros(3)) + numbers
    for what in ("coverage in %", "mean width"):
        print(f"| cohort | folds | {what} | " + " | ".join(heads) + " |\n" + "|---" * (3 + len(heads)) + "|")
        for key, row in rows.items():
            held, total, width = np.array([row[head] for head in heads]).T
            shown = [f"{x:.1f}" for x in 100 * held / total] if what != "mean width" else [f"{x:.3f}" for x in width / total]
            print("| " + " | ".join([*map(str, key), *shown]) + " |")
        print()


if __name__ == "__main__":
    main()
