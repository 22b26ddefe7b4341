"""How far colours alone tell the drawn cohorts apart: for whoever redraws the cells. `python -m bench.colours`

Cohorts of the demo's size from seeds of their own; of each, the audit's logistic regression on the mean and deviation of an
image's colours, over the folds that `split` would deal. One seed says little:
that of params.yaml may be a lucky or an unlucky one.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd

from pipeline.auditing import baselines
from pipeline.common import config, parallel
from pipeline.demo import cohort
from pipeline.folds import dealer, split_table
from pipeline.images import decoding


def rows(patient: cohort.Patient, control: str, seed: int) -> pd.DataFrame:
    """The colours of a patient's images, with columns patient, class."""
    numbers = [decoding.statistics(cell.pixels) for cell in cohort.draw_cells(patient, control, seed)]
    frame = pd.DataFrame([(*image.mean, *image.std) for image in numbers], columns=baselines.COLOURS)
    return frame.assign(patient=patient.patient, **{"class": patient.class_name})


def aurocs(settings: config.Config, seed: int, pool: ProcessPoolExecutor) -> dict[str, float]:
    """Patient AUROC of colours alone, by subtype."""
    demo, folds = settings.ingest.demo, settings.split.n_folds
    people = cohort.draw_patients(
        settings.control,
        demo.patients,
        (demo.images_per_patient[0], demo.images_per_patient[1]),
        (demo.diseased_share[0], demo.diseased_share[1]),
        seed,
        (demo.unusable_share[0], demo.unusable_share[1]),
    )
    drawn = pd.concat(pool.map(partial(rows, control=settings.control, seed=seed), people), ignore_index=True)
    patients = drawn.groupby(["patient", "class"]).size().rename("images").reset_index()
    dealt = dealer.deal(patients.assign(who=patients["patient"], set=range(len(patients))), {}, folds, seed)
    patients["fold"] = patients["patient"].map(dealt)
    found = {}
    for subtype in settings.subtypes:
        of_two = drawn[drawn["class"].isin([settings.control, subtype])]
        of_two = of_two.assign(label=(of_two["class"] == subtype).astype("int64"))
        split = split_table.split(patients, settings.control, subtype, folds)
        table = of_two.merge(split[["patient", "fold"]], on="patient")
        found[subtype] = baselines.Baseline(table, baselines.COLOURS, range(folds), folds).patient_auroc()
    return found


def main() -> None:
    """Print a row a seed, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="*", default=list(range(30, 35)))
    options = parser.parse_args()
    settings = config.load()
    with ProcessPoolExecutor(parallel.available()) as pool:
        found = pd.DataFrame({seed: aurocs(settings, seed, pool) for seed in options.seeds}).T
    print("| seed | " + " | ".join(found.columns) + " |\n" + "|---" * (1 + len(found.columns)) + "|")
    for seed, values in found.iterrows():
        print(f"| {seed} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    print("| mean | " + " | ".join(f"{value:.3f}" for value in np.asarray(found).mean(axis=0)) + " |")


if __name__ == "__main__":
    main()
