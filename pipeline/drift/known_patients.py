"""The patients of the cohort as drift sees them, from what the stages left: `summaries`' table, a row a patient.

Every number is one that a model may be held to: vectors by an encoder that no training here touched, calls and probabilities
by models that never saw the patient. Vectors by a network of this project are none of these, nor are scores in fold.
"""

from __future__ import annotations

import pandas as pd

from pipeline.common import made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.drift import summaries
from pipeline.images import manifest

_NEEDED = ["class", "patient", "pixels_sha256", "error", *manifest.NUMBERS]


def of_cohort(config: Config, encoder: str | None = None, calls: pd.DataFrame | None = None) -> pd.DataFrame:
    """Everybody with a usable image, by class and patient; with vectors by an encoder, and calls out of fold, where given.

    `calls` has columns patient, call and the classes, whose values are probabilities; of whom it doesn't hold, call is "".

    Raises:
        DataError: vectors do not fit their table.
    """
    images = manifest.usable(made.table(paths.MANIFEST, columns=_NEEDED))
    images = images[images["class"].isin(config.classes)]
    vectors = _vectors(encoder, config.classes) if encoder else {}
    answered = {} if calls is None else {str(row["patient"]): row for row in calls.to_dict("records")}
    rows = []
    for (name, patient), own in images.groupby(["class", "patient"], sort=True):
        row = {**summaries.of_patient(own), "class": str(name), "vector": vectors.get(str(patient), [])}
        if answer := answered.get(str(patient)):
            row |= {"call": answer["call"], "probabilities": [float(answer[one]) for one in config.classes]}
        rows.append(row)
    return summaries.table(rows)


def vectors_are_there(config: Config, encoder: str, digest: str) -> bool:
    """Whether an encoder's vectors of all classes lie on disk, of everybody who has a usable image now.

    `digest` is of what the vectors are to follow from ("" where it is not known): by other settings they are others.
    """
    if not all(paths.vectors(encoder, name).is_file() for name in config.classes):
        return False
    if digest and made.values(paths.encoder(encoder)).get("digest") != digest:
        return False
    known = {patient for name in config.classes for patient in _rows(encoder, name)}
    images = manifest.usable(made.table(paths.MANIFEST, columns=["class", "patient", "error"]))
    return set(images.loc[images["class"].isin(config.classes), "patient"]) <= known


def _vectors(encoder: str, classes: list[str]) -> dict[str, list[float]]:
    """The mean of every patient's vectors."""
    found: dict[str, list[float]] = {}
    for name in classes:
        rows, vectors = pd.Series(_rows(encoder, name)), made.array(paths.vectors(encoder, name))
        if len(rows) != len(vectors):
            raise DataError(f"{paths.vectors(encoder, name)} does not fit its table; run `dvc repro embed`")
        found |= {
            str(patient): summaries.mean_vector(vectors[places]) for patient, places in rows.groupby(rows).indices.items()
        }
    return found


def _rows(encoder: str, name: str) -> list[str]:
    return [str(one) for one in made.table(paths.vector_rows(encoder, name), columns=["patient"])["patient"]]
