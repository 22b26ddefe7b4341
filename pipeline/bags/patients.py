"""The patients of a subtype and of control as bags: the vectors of an encoder, dealt as the split says."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bags.scoring import Bag
from pipeline.common import made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, LeakError
from pipeline.folds import split_table


@dataclass(frozen=True)
class Patients:
    """Everybody of the split, in its order, with vectors and the images' paths, and the encoder, as its file says."""

    split: pd.DataFrame
    bags: Sequence[Bag]
    images: Sequence[Sequence[str]]
    encoder: dict[str, Any]

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 of a control, 1 of a patient of the subtype, `(patients,)`."""
        return self.split["label"].to_numpy(np.int64)

    def without(self, row: int, left_out: Collection[str]) -> Bag:
        """A patient's vectors to learn from, without those of images that are left out."""
        if not left_out:
            return self.bags[row]
        return self.bags[row][[path not in left_out for path in self.images[row]]]


def read(config: Config, subtype: str, encoder: str, fold: int) -> Patients:
    """The bags from which a learner learns for `fold` and by which it is judged, on disk until they are looked at.

    By a network of this project they are those of the fold's own: nobody who is scored trained the network, and of the patients
    to learn from, who did, there are the vectors that the fold keeps apart.

    Raises:
        DataError: vectors, their tables and the split do not fit each other, or a vector is not of numbers.
        LeakError: a network trained on a patient who is to be scored.
    """
    split = split_table.read(subtype)
    place, *apart = places(config, subtype, encoder, fold)
    about = made.values(paths.encoder(place))
    if apart and made.values(paths.encoder(apart[0])) != about:
        raise DataError(f"{paths.encoder(place)} and {paths.encoder(apart[0])} are of two networks; run `dvc repro`")
    bags: dict[str, tuple[Bag, list[str]]] = {}
    roles = split_table.roles(split, fold, config.split.n_folds)
    for label, name in enumerate((config.control, subtype)):
        expected = set(split.loc[split["label"] == label, "patient"])
        learners = {patient for patient in expected if roles[patient] == "train"} if apart else set()
        for folder, patients in zip((place, *apart), (expected - learners, learners), strict=False):
            bags |= _bags(folder, name, about.get("dimension"), subtype, patients, learners)
    for patient, images in zip(split["patient"], split["images"], strict=True):
        if len(bags[patient][0]) != images:
            raise DataError(
                f"patient {patient}: {len(bags[patient][0]):,} vectors in {paths.encoder(place).parent}, and {images:,} images "
                f"in {paths.split_table(subtype)}; run `dvc repro`"
            )
    found = [bags[patient] for patient in split["patient"]]
    return Patients(split, [vectors for vectors, _ in found], [images for _, images in found], about)


def places(config: Config, subtype: str, encoder: str, fold: int) -> list[str]:
    """Under which names below data/vectors lies what `read` reads."""
    if encoder not in config.embed_networks:
        return [encoder]
    network = paths.of_network(subtype, encoder, fold)
    return [network, f"{network}/{paths.TRAINED_ON}"]


def _bags(
    place: str, name: str, dimension: int | None, subtype: str, patients: set[str], learners: set[str]
) -> dict[str, tuple[Bag, list[str]]]:
    """By patient, of one class: vectors and paths, exactly of `patients`."""
    file, table = paths.vectors(place, name), paths.vector_rows(place, name)
    rows, vectors = made.table(table, columns=["patient", "path"]), made.array(file)
    if vectors.dtype != np.float32 or vectors.shape != (len(rows), dimension):
        raise DataError(f"{file} does not fit its table or {paths.encoder(place)}; run `dvc repro embed`")
    strangers = set(rows["patient"]) ^ patients
    if leaked := strangers & learners:
        raise LeakError(f"{file}: the network was trained on patient {min(leaked)}, who would be scored by it; run `dvc repro`")
    if strangers:
        raise DataError(
            f"patient {min(strangers)} of {name} is in only one of {paths.split_table(subtype)} and {table}; run `dvc repro`"
        )
    bags = {}
    for patient, of_patient in rows.groupby("patient", sort=False).indices.items():
        first, end = int(of_patient[0]), int(of_patient[-1]) + 1
        # One after the other, as `embed` leaves them, they are a part of the file, of which nothing is copied.
        bag = vectors[first:end] if end - first == len(of_patient) else vectors[of_patient]
        bags[str(patient)] = bag, rows["path"].iloc[of_patient].tolist()
        if not np.isfinite(bag).all():
            raise DataError(f"{file}: patient {patient} has a vector that is no number; run `dvc repro --force embed`")
    return bags
