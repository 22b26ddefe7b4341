"""The patients of a subtype and of control as bags: the vectors of an encoder, dealt as the split says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bags.scoring import Bag
from pipeline.common import paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.folds import split_table


@dataclass(frozen=True)
class Patients:
    """Everybody of the split, in its order, and the encoder behind the vectors, as its file says."""

    split: pd.DataFrame
    bags: Sequence[Bag]
    encoder: dict[str, Any]

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 of a control, 1 of a patient of the subtype, `(patients,)`."""
        return self.split["label"].to_numpy(np.int64)


def read(config: Config, subtype: str, encoder: str) -> Patients:
    """The bags, on disk until they are looked at.

    Raises:
        DataError: vectors, their tables and the split do not fit each other, or a vector is not of numbers.
    """
    split = pd.read_csv(paths.existing(paths.split_table(subtype)), **split_table.CSV_FORMAT)
    about = json.loads(paths.existing(paths.encoder(encoder)).read_text(encoding="utf-8"))
    bags: dict[str, Bag] = {}
    for label, name in enumerate((config.control, subtype)):
        file = paths.vectors(encoder, name)
        rows = pd.read_parquet(paths.existing(paths.vector_rows(encoder, name)))
        vectors = np.load(paths.existing(file), mmap_mode="r")
        if vectors.dtype != np.float32 or vectors.shape != (len(rows), about["dimension"]):
            raise DataError(f"{file} does not fit its table or {paths.encoder(encoder)}; run `dvc repro embed`")
        strangers = set(rows["patient"]) ^ set(split.loc[split["label"] == label, "patient"])
        if strangers:
            raise DataError(
                f"patient {min(strangers)} of {name} is in only one of {paths.split_table(subtype)} and "
                f"{paths.vector_rows(encoder, name)}; run `dvc repro`"
            )
        for patient, of_patient in rows.groupby("patient", sort=False).indices.items():
            bags[str(patient)] = vectors[of_patient]
            if not np.isfinite(bags[str(patient)]).all():
                raise DataError(f"{file}: patient {patient} has a vector that is no number; run `dvc repro --force embed`")
    return Patients(split, [bags[patient] for patient in split["patient"]], about)
