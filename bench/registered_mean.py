"""What the out-of-fold figures are worth for the registered model, the mean of the folds' networks.

`python -m bench.registered_mean`. Simulated cohorts of known truth: a patient has a tendency, around which each of five
networks errs by itself; networks differ in quality, scale and shift. Out of fold each patient is scored by one network, and
calibration and intervals are those of `evaluate`; the mean of the networks is judged on 800 new patients, as is each network.
Printed is how often a 95 % interval holds the figure of these networks, of the procedure (whose networks are better or worse by
chance) and of the registered mean, and the calibration slope of both on the new patients: above 1 scores are too timid.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation import calibration, intervals, metrics
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.pooling import probabilities

FOLDS, NEW = 5, 400
CONTROLS, PATIENTS = 60, 24
AUROCS, OWN = (0.75, 0.9, 0.98), (0.1, 0.3, 0.5)  # of a network; the share of a patient's spread that is a network's own error
QUALITY_SD, SCALE_SD = 0.1, 0.3  # between networks, of the logarithm of how far apart the classes are, and of the logits' scale
MANY_NETWORKS = 100_000


def scored(rng: np.random.Generator, labels: np.ndarray, own: float, apart: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Logits `(networks, patients)`; honest but for `scales` `(2, networks)`: logarithm of the scale, shift."""
    tendency = np.sqrt(1 - own) * rng.normal(size=len(labels))
    errors = np.sqrt(own) * rng.normal(size=(FOLDS, len(labels)))
    honest = apart[:, None] * (tendency + errors + apart[:, None] * (labels - 0.5))
    logits: np.ndarray = np.exp(scales[0])[:, None] * honest + scales[1][:, None]
    return logits


def cohort(rng: np.random.Generator, auroc: float, own: float) -> dict[str, float]:
    """What of one cohort is true, and held."""
    usual = np.sqrt(2) * norm.ppf(auroc)
    apart, scales = usual * np.exp(rng.normal(0, QUALITY_SD, FOLDS)), rng.normal(0, SCALE_SD, (2, FOLDS))
    labels = np.repeat([0, 1], [CONTROLS, PATIENTS])
    fold = np.concatenate([np.arange(CONTROLS), np.arange(PATIENTS)]) % FOLDS
    logits = scored(rng, labels, own, apart, scales)
    known = pd.DataFrame(
        {"patient": np.arange(len(labels)), "fold": fold, "label": labels, "logit": logits[fold, np.arange(len(labels))]}
    )
    fitted = [calibration.patient_calibration(known[known["fold"] != k]) for k in range(FOLDS)]
    a, b = (np.array([getattr(one, name) for one in fitted]) for name in ("intercept", "slope"))
    tested = known.assign(logit=a[fold] + b[fold] * known["logit"])
    new = np.repeat([0, 1], NEW)
    of_new = scored(rng, new, own, apart, scales)
    networks, mean = a[:, None] + b[:, None] * of_new, a.mean() + b.mean() * of_new.mean(axis=0)

    found = intervals.measure(None, tested, threshold=0.5, draws=400, seed=0, confidence=0.95)
    truths: dict[str, dict[Any, float]] = {
        "these networks": pd.DataFrame([figures_of(new, one) for one in networks]).mean().to_dict(),
        "the registered mean": figures_of(new, mean),
    }
    of_procedure = norm.cdf(usual * np.exp(np.random.default_rng(0).normal(0, QUALITY_SD, MANY_NETWORKS)) / np.sqrt(2)).mean()
    row = {f"auroc, {of}": _holds(found["patient_auroc"], values["auroc"]) for of, values in truths.items()}
    row["auroc, the procedure"] = _holds(found["patient_auroc"], float(of_procedure))
    for name in ("sensitivity", "specificity", "brier"):
        row |= {f"{name}, {of}": _holds(found[f"patient_{name}"], values[name]) for of, values in truths.items()}
    row["slope of a network"] = float(np.median([slope(new, one) for one in networks]))
    row["slope of the mean"] = slope(new, mean)
    for of, values in truths.items():
        row |= {f"AUROC of {of}": values["auroc"], f"log loss of {of}": values["log_loss"]}
    return row


def figures_of(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """The figures of many patients, as good as the truth."""
    scores = probabilities(logits)
    right = np.where(labels == 1, scores, 1 - scores)
    return {
        "auroc": metrics.within_fold_auroc(labels, logits, np.zeros_like(labels)),
        "sensitivity": float((scores[labels == 1] > 0.5).mean()),
        "specificity": float((scores[labels == 0] <= 0.5).mean()),
        "brier": float(((1 - right) ** 2).mean()),
        "log_loss": float(-np.log(np.maximum(right, 1e-15)).mean()),
    }


def slope(labels: np.ndarray, logits: np.ndarray) -> float:
    """By how much the logits would have to be stretched."""
    return float(LogisticRegression(C=np.inf).fit(logits[:, None], labels).coef_[0, 0])


def _holds(interval: Interval, truth: float) -> float:
    return float(interval.low <= truth <= interval.high)


def main() -> None:
    """Print a column a kind of cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=300, help="of a kind")
    options = parser.parse_args()
    rng, columns = np.random.default_rng(0), {}
    for auroc in AUROCS:
        for own in OWN:
            table = pd.DataFrame([cohort(rng, auroc, own) for _ in range(options.cohorts)])
            columns[f"{auroc:g}, {own:g}"] = table.mean()
            print(f"AUROC {auroc:g}, own error {own:g}", flush=True)
            print(table.mean().round(3).to_string(), flush=True)
    print("\n| AUROC of a network, share of its own error | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name in next(iter(columns.values())).index:
        print(f"| {name} | " + " | ".join(f"{column[name]:.3f}" for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
