"""The test patients of a candidate and what each of their cells does to the score, by the one fold that never saw them.

No network is asked here: a network's images were scored when it was trained, and a bag learner's vectors lie on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.bags import patients, scoring
from pipeline.bags.scoring import Bag, Floats
from pipeline.common import files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import LeakError, ModelError
from pipeline.explanation import cells
from pipeline.explanation.deletion import Ints
from pipeline.folds import split_table


@dataclass(frozen=True)
class Patient:
    """One patient: the logit, how much of it goes with each image, the logit of each alone, and that of any of them.

    `changes` are above 0 of an image that speaks for the subtype, NaN of an only one.
    """

    patient: str
    label: int
    fold: int
    images: list[str]  # paths below data/raw
    logit: float
    changes: Floats
    alone: Floats
    left: Callable[[Ints], float]
    bag: Bag | None  # of a learner of bags


def read(config: Config, subtype: str, candidate: str) -> Iterator[Patient]:
    """The test patients of all trained folds.

    Raises:
        LeakError: a fold was trained by another split than there is now.
        DataError, ModelError: files are missing, damaged, or do not fit each other.
    """
    split = split_table.read(subtype)
    digest = files.sha256_of_all([paths.split_table(subtype)])
    for fold in sorted(config.folds):
        folder = paths.fold(subtype, candidate, fold)
        spec = made.values(folder / "spec.json")
        if spec["inputs"].get("split") != digest:
            raise LeakError(
                f"{folder}: trained by another split than {paths.split_table(subtype)}; `dvc repro` trains it again"
            )
        roles = split_table.roles(split, fold, config.split.n_folds)
        dealt = split[split["patient"].map(roles) == "test"]
        if candidate in config.kinds.bag:
            yield from _of_bags(config, subtype, candidate, fold, folder, dealt)
        else:
            yield from _of_network(fold, folder, dealt)


def learner(folder: Path) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Spec and coefficients of a fold of kind `bag`.

    Raises:
        DataError: a file of it is damaged.
        ModelError: they do not fit each other.
    """
    spec = made.values(folder / "spec.json")
    known = {name: values.astype(np.float64) for name, values in made.arrays(folder / "coefficients.npz").items()}
    try:
        dimension = spec["encoder"]["dimension"]
        if dimension > max((values.size for values in known.values()), default=0):  # no array may grow with a damaged number
            raise ValueError(f"vectors of {dimension} numbers, and fewer coefficients")
        if (known.get("scale", np.ones(1)) <= 0).any():
            raise ValueError("a scale that is not above 0")
        made_up = [np.zeros((images, dimension), dtype=np.float32) for images in (2, 3)]
        scoring.logits(spec["learner"], known, made_up)  # of two: what is as long as one is not as long as the other
    except (ValueError, KeyError, TypeError, IndexError) as error:
        what = f"spec and coefficients make no learner ({str(error).splitlines()[0]})"
        raise ModelError(f"{folder}: {what}; run `dvc checkout --force {folder}`") from None
    return spec, known


def _of_network(fold: int, folder: Path, dealt: pd.DataFrame) -> Iterator[Patient]:
    scored = made.table(folder / "predictions.parquet")
    by_patient = {str(name): rows for name, rows in scored[scored["split"] == "test"].groupby("patient", sort=False)}
    if strangers := set(by_patient) ^ set(dealt["patient"]):
        raise LeakError(f"{folder}: patient {min(strangers)} is in the scored or in the dealt test patients, not in both")
    for patient, label in dealt[["patient", "label"]].itertuples(index=False):
        logits = by_patient[patient]["logit"].to_numpy(np.float64)
        yield Patient(
            patient,
            int(label),
            fold,
            by_patient[patient]["path"].tolist(),
            float(logits.mean()),
            logits.mean() - cells.mean_left_out(logits),
            logits,
            _mean_of(logits),
            None,
        )


def _mean_of(logits: Floats) -> Callable[[Ints], float]:
    return lambda rows: float(logits[rows].mean())


def _of_bags(config: Config, subtype: str, candidate: str, fold: int, folder: Path, dealt: pd.DataFrame) -> Iterator[Patient]:
    spec, known = learner(folder)
    name, encoder = spec["learner"], config.bag_of(candidate).encoder
    everybody = patients.read(config, subtype, encoder, fold)
    bags = dict(zip(everybody.split["patient"], everybody.bags, strict=True))
    images = dict(zip(everybody.split["patient"], map(list, everybody.images), strict=True))
    for patient, label in dealt[["patient", "label"]].itertuples(index=False):
        bag = bags[patient]
        (logit,) = scoring.logits(name, known, [bag])
        changes = logit - cells.left_out(name, known, bag)
        alone = cells.alone(name, known, bag)
        yield Patient(patient, int(label), fold, images[patient], float(logit), changes, alone, _of(name, known, bag), bag)


def _of(name: str, known: dict[str, Floats], bag: Bag) -> Callable[[Ints], float]:
    return lambda rows: float(scoring.logits(name, known, [bag[rows]])[0])
