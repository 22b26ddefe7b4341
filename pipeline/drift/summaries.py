"""What is kept of a patient to tell drift by: a row a patient, of the training cohort and of new patients alike. No file is
read.

Columns: keys (of the pictures; whoever has one of them can tell the patient again, nobody else can), class ("" where it is not
known), call (the class that a model gives who never saw the patient; "" where there is none), images, the means of
`manifest.NUMBERS` over the patient's images (sharpness by its logarithm, with its spread over them), probabilities (of the
call, by class; empty where there is none), vector (the mean of the images' vectors; empty where there is none).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.images import manifest

Floats = NDArray[np.float64]

_COLOURS = [name for name in manifest.NUMBERS if name != "sharpness"]
_SHARPNESS = ["sharpness", "sharpness_spread"]
COLUMNS = ["keys", "class", "call", "images", *_COLOURS, *_SHARPNESS, "probabilities", "vector"]
VIEWS = {  # by name, what the view looks at
    "colours": "mean and deviation of red, green and blue",
    "sharpness": "sharpness of the images, and its spread",
    "vectors": "the mean of the images' vectors",
    "scores": "the probabilities of the call",
}
_FEW = 4  # keys by which a patient is told again, as long as most pictures are the same
_LISTS = ("probabilities", "vector")
_NUMBERS = ("images", *_COLOURS, *_SHARPNESS)


def of_patient(images: pd.DataFrame) -> dict[str, object]:
    """A row of one patient's usable images, whose columns are pixels_sha256 and `manifest.NUMBERS`; no more is known."""
    sharpness = np.log1p(images["sharpness"].to_numpy(np.float64))
    colours = images[_COLOURS].to_numpy(np.float64).mean(axis=0)
    return {
        "keys": keys(images["pixels_sha256"].tolist()),
        "class": "",
        "call": "",
        "images": len(images),
        **dict(zip(_COLOURS, map(float, colours), strict=True)),
        "sharpness": float(sharpness.mean()),
        "sharpness_spread": float(sharpness.std()),
        "probabilities": [],
        "vector": [],
    }


def keys(pixels_sha256: Sequence[str]) -> str:
    """Of all pictures, those whose digests come first first."""
    return " ".join(hashlib.sha256(f"patient {digest}".encode()).hexdigest()[:16] for digest in sorted(set(pixels_sha256)))


def few(keys: str) -> str:
    """The first: the patient is the same when a picture comes or goes, or the name changes."""
    return " ".join(keys.split()[:_FEW])


def table(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Rows as a table, also where there are none."""
    return pd.DataFrame(list(rows), columns=COLUMNS)


def require_sound(patients: pd.DataFrame) -> None:
    """Refuse a table that was read, and holds something else than `table` made.

    Raises:
        ValueError: names the column.
    """
    if missing := [name for name in COLUMNS if list(patients.columns).count(name) != 1]:
        raise ValueError(f"its column {missing[0]} is not there once")
    for name, column in patients.items():
        if name in _LISTS:
            sound = all(isinstance(value, np.ndarray | list) and _are_numbers(list(value)) for value in column)
        else:
            sound = _are_numbers(column.tolist()) if name in _NUMBERS else all(isinstance(value, str) for value in column)
        if not sound:
            raise ValueError(f"its column {name} holds something else than it should")


def _are_numbers(values: Sequence[object]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values)


def known_again(keys: pd.Series, among: pd.Series) -> NDArray[np.bool_]:
    """Whether a patient is one of others: whether they share a key."""
    others = {key for text in among for key in str(text).split()}
    return np.array([not others.isdisjoint(str(text).split()) for text in keys], dtype=np.bool_)


def once(patients: pd.DataFrame) -> pd.DataFrame:
    """Without those who are a patient further down again, under another name."""
    further_down, stays = set[str](), list[bool]()
    for own in reversed([str(text).split() for text in patients["keys"]]):
        stays.append(further_down.isdisjoint(own))
        further_down.update(own)
    return patients[np.array(stays[::-1], dtype=np.bool_)].reset_index(drop=True)


def views(patients: pd.DataFrame) -> dict[str, Floats]:
    """What can be looked at in all these patients, by view: `(patients, numbers)`."""
    found = {"colours": patients[_COLOURS].to_numpy(np.float64), "sharpness": patients[_SHARPNESS].to_numpy(np.float64)}
    for name, column in (("vectors", "vector"), ("scores", "probabilities")):
        sizes = {len(values) for values in patients[column]}
        if len(sizes) == 1 and sizes != {0}:
            found[name] = np.stack([np.asarray(values, dtype=np.float64) for values in patients[column]])
    return found


def mean_vector(vectors: NDArray[np.float32]) -> list[float]:
    """Of a patient's images' vectors `(images, dimension)`."""
    return [float(value) for value in np.asarray(vectors, dtype=np.float64).mean(axis=0).astype(np.float32)]
