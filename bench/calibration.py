"""What calibrating patients is worth, by how it is done. `python -m bench.calibration [scored.parquet ...]`

Five folds; every fold is calibrated by the patients of the others. Printed is the log loss of patients, the mean of both
classes: of simulated cohorts, judged on 800 new patients of the same five networks (slope: by how much the logits are too
timid; odd: the share of patients who look like the other class), and of tables that `evaluate` wrote, the files named, with
calibration intercept and slope and their 95 % intervals.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import norm

from pipeline.evaluation import calibration, metrics
from pipeline.evaluation.pooling import probabilities

FOLDS, NEW = 5, 400
Fitted = Callable[[pd.Series], np.ndarray]


def in_use(patients: pd.DataFrame) -> Fitted:
    """As `evaluate` does it."""
    found = calibration.patient_calibration(patients)
    return lambda logits: probabilities(found.intercept + found.slope * logits)


def fitted(prior_sd: float, lapse: float) -> Callable[[pd.DataFrame], Fitted]:
    """The same with another prior, and with a share of patients of whom the logit says nothing."""

    def fit(patients: pd.DataFrame) -> Fitted:
        y, x = patients["label"].to_numpy(), patients["logit"].to_numpy()
        rows = patients.groupby("patient")["logit"].transform("size").to_numpy()
        per_class = patients.groupby("label")["patient"].nunique()
        weights = per_class.sum() / 2 / rows / patients["label"].map(per_class).to_numpy()

        def score(at: np.ndarray, logits: np.ndarray) -> np.ndarray:
            return (1 - lapse) * probabilities(at[0] + np.exp(at[1]) * logits) + lapse / 2

        def loss(at: np.ndarray) -> float:
            right = np.where(y == 1, score(at, x), 1 - score(at, x))
            return float(-(weights * np.log(np.maximum(right, 1e-15))).sum() + (at[1] / prior_sd) ** 2 / 2)

        at = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6}).x
        return lambda logits: score(at, logits.to_numpy())

    return fit


METHODS: dict[str, Callable[[pd.DataFrame], Fitted]] = {
    "temperature of images alone": lambda _: lambda logits: probabilities(logits),
    "in use": in_use,
    "without the prior": fitted(1e3, 0.0),
    "with a lapse of 2 %": fitted(0.5, 0.02),
    "with a lapse of 5 %": fitted(0.5, 0.05),
}


def log_loss(labels: pd.Series, scores: np.ndarray) -> float:
    """The mean of the two classes' means."""
    right = np.clip(np.where(labels == 1, scores, 1 - scores), 1e-15, 1)
    return float(np.mean([-np.log(right[labels == label]).mean() for label in (0, 1)]))


def drawn(
    rng: np.random.Generator, counts: tuple[int, int], auroc: float, slope: float, odd: float, spread: float, scales: np.ndarray
) -> pd.DataFrame:
    """Patients of five networks (patient, fold, label, logit); `counts` of controls and subtype, `scales` `(2, folds)`."""
    labels = np.repeat([0, 1], counts)
    folds = np.concatenate([np.arange(count) for count in counts]) % FOLDS
    looks = np.where(rng.random(len(labels)) < odd, 1 - labels, labels)
    distance = np.sqrt(2) * norm.ppf(auroc)
    sd = np.where(labels == 1, spread, 1) / np.sqrt((1 + spread**2) / 2)
    honest = distance * (sd * rng.normal(size=len(labels)) + distance * (looks - 0.5))
    logits = honest * np.exp(scales[0])[folds] / slope + scales[1][folds] / slope
    return pd.DataFrame({"patient": np.arange(len(labels)), "fold": folds, "label": labels, "logit": logits})


def simulated(counts: tuple[int, int], cohorts: int) -> pd.DataFrame:
    """The loss of each method, a row a kind of cohort."""
    rng, rows = np.random.default_rng(0), []
    kinds = itertools.product((0.75, 0.9, 0.98), (0.7, 1.0, 2.0, 3.5), ((0.0, 1.0), (0.0, 3.0), (0.05, 1.0)))
    for auroc, slope, (odd, spread) in kinds:
        found = []
        for _ in range(cohorts):
            scales = rng.normal(0, 0.3, (2, FOLDS))
            known, new = (drawn(rng, n, auroc, slope, odd, spread, scales) for n in (counts, (NEW, NEW)))
            found.append({name: _across(known, new, method) for name, method in METHODS.items()})
        rows.append({"auroc": auroc, "slope": slope, "odd": odd, "spread": spread, **pd.DataFrame(found).mean()})
    return pd.DataFrame(rows)


def _across(known: pd.DataFrame, new: pd.DataFrame, method: Callable[[pd.DataFrame], Fitted]) -> float:
    scores = pd.Series(index=new.index, dtype=float)
    for fold, rows in new.groupby("fold"):
        scores[rows.index] = method(known[known["fold"] != fold])(rows["logit"])
    return log_loss(new["label"], scores.to_numpy())


def measured(path: Path) -> tuple[dict[str, float], dict[str, str]]:
    """The loss of each method on a table of scored images; calibration intercept and slope, at the classes' shares."""
    images = pd.read_parquet(path)
    means = images.groupby(["split", *metrics.PATIENT])["calibrated_logit"].mean().rename("logit").reset_index()
    tested = means[means["split"] == "test"]
    losses, judged = {}, {}
    for name, method in METHODS.items():
        scores = pd.Series(index=tested.index, dtype=float)
        for fold, rows in tested.groupby("fold"):
            scores[rows.index] = method(calibration.other_patients(means, int(str(fold))))(rows["logit"])
        losses[name] = log_loss(tested["label"], scores.to_numpy())
        p = np.clip(scores.to_numpy(), 1e-9, 1 - 1e-9)
        mixed = calibration.at_class_mix(tested["label"], np.log(p / (1 - p)))
        intercept, slope = calibration.intercept_and_slope(tested["label"], mixed)
        judged[name] = f"{intercept:.2f}; {slope:.2f}"
    return losses, judged


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=20, help="of a kind")
    parser.add_argument("scored", nargs="*", type=Path)
    options = parser.parse_args()
    print("| simulated | " + " | ".join(METHODS) + " |\n|---|" + "---|" * len(METHODS))
    for counts in ((30, 18), (60, 24)):
        table = simulated(counts, options.cohorts)
        whole = {f"{counts[1]} + {counts[0]}, all": table}
        parts = {f"... {key} {value:g}": rows for key in ("auroc", "slope", "odd") for value, rows in table.groupby(key)}
        for name, rows in (whole | parts).items():
            print(f"| {name} | " + " | ".join(f"{rows[method].mean():.3f}" for method in METHODS) + " |", flush=True)
    print()
    for path in options.scored:
        losses, judged = measured(path)
        print(f"| {path.parent.name} ({path.stem}) | " + " | ".join(f"{loss:.3f}" for loss in losses.values()) + " |")
        print("| intercept; slope | " + " | ".join(judged.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
