"""How much a training image counts, where that is not as much as any other: data/weights.

A table of a candidate's fold has a row for every such image: path, weight. Weight 0 leaves the image out of the training;
another, from 0 to 1, says how often it is shown beside the patient's others. Images of who validates or is tested are in no
table, nor does anything here ever touch them. left_out.csv names the images that nobody is trained on: path.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common import made

COLUMNS = ["path", "weight"]
DECIMALS = 4


def read(table: Path) -> pd.Series:
    """Path -> weight of the images that count less."""
    with made.reading(table):
        known = made.rows(table, dtype={"path": "str", "weight": "float64"}, keep_default_na=False).set_index("path")["weight"]
        if not known.between(0, 1).all() or not known.index.is_unique:
            raise ValueError("a weight is not between 0 and 1, or an image has two")
    return known


def of_images(weights: pd.Series, paths: pd.Series) -> NDArray[np.float64]:
    """`(images,)`: of each of `paths`, 1 where nothing is said of it."""
    found: NDArray[np.float64] = paths.map(weights).fillna(1.0).to_numpy(np.float64)
    return found


def left_out(table: Path) -> frozenset[str]:
    """The images that nobody is trained on."""
    with made.reading(table):
        return frozenset(made.rows(table, dtype="str", keep_default_na=False)["path"])


def curated(weights: pd.Series) -> dict[str, dict[str, int | str]]:
    """What tells a training from one in which all images count the same, for its spec; nothing if all do.

    That is how many images are left out, how many count less, and a digest of which and how much, which names none.
    """
    if weights.empty:
        return {}
    lines = "\n".join(f"{path} {weight:.{DECIMALS}f}" for path, weight in sorted(weights.items()))
    none = int((weights == 0).sum())
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return {"curated": {"left_out": none, "down_weighted": len(weights) - none, "sha256": digest}}
