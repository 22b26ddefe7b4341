"""Scored images, the table data/scored/<subtype>/<candidate>.parquet that every result is measured on and looked up in.

A row an image and network that scored it: fold, split ("val" or "test"), patient, path, label, logit (the network's own),
calibrated_logit, score (the probability at that), called (whether the score lies above the threshold), claimed (whether figures
rest on it: a test image of a patient whom no search for the network saw; all test images where none would be left), intercept
and slope (of the patient's calibration: `pooling.patient_scores`).
"""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from pipeline.evaluation import metrics, seen_by_search
from pipeline.evaluation.pooling import probabilities

_ONE_OF = ["path", "images"]  # of a row of an image, of a row of a patient
ALWAYS = ["fold", "split", "patient", "label", "logit", "calibrated_logit", "score", "called", "claimed", "intercept", "slope"]


def are_of_images(rows: pd.DataFrame) -> bool:
    """Whether the learner scores images; if not, a row is a patient, with the number of his or her images."""
    return "path" in rows


def calibrated(images: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """`images` with their logits divided by the temperature of the network, and the scores that follow from them."""
    logits = images["logit"] / temperature
    return images.assign(calibrated_logit=logits, score=probabilities(logits))


def table(images: pd.DataFrame, seen: Collection[str], threshold: float) -> pd.DataFrame:
    """The table of images as `calibrated` makes them; `seen` are the patients whom a search for the network saw."""
    tested = images[images["split"] == "test"]
    claimed = seen_by_search.claimed(tested, seen)
    keys = ["fold", "path" if are_of_images(images) else "patient"]
    kept = pd.MultiIndex.from_frame(claimed[keys])
    rows = pd.MultiIndex.from_frame(images[keys])
    rests = (images["split"] == "test") & rows.isin(kept)
    found = images.assign(called=images["score"] > threshold, claimed=rests)
    return found[[column for column in [*ALWAYS[:3], *_ONE_OF, *ALWAYS[3:]] if column in found]]


def patients(images: pd.DataFrame) -> pd.DataFrame:
    """The patients of images as `claimed` gives them, calibrated as such: fold, patient, label, images, logit, score."""
    of_folds = [
        metrics.patient_scores(rows, float(rows["intercept"].iloc[0]), float(rows["slope"].iloc[0]))
        for _, rows in images.groupby("fold")
    ]
    return pd.concat(of_folds, ignore_index=True)


def as_calibrated(images: pd.DataFrame) -> pd.DataFrame:
    """The same images with their calibrated logits in the column logit, as figures are measured on them."""
    return images.drop(columns="logit").rename(columns={"calibrated_logit": "logit"})


def claimed(images: pd.DataFrame) -> pd.DataFrame:
    """The images that figures rest on, with their calibrated logits in the column logit."""
    return as_calibrated(images[images["claimed"]]).reset_index(drop=True)
