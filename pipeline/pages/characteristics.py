"""Who the patients are, by class and fold: age, sex, and of how many it is not known.

`people` has a row a patient: sex ("f", "m" or empty), age and the shares and counts of `MEASURED`, text that is empty where
unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

MEASURED = {
    "blast_share": "share of blasts",
    "promyelocyte_share": "share of promyelocytes",
    "leucocytes_per_ul": "leucocytes",
}


@dataclass(frozen=True)
class Characteristics:
    """Of some patients; `age` is (median, least, most), None where none is known, and `unknown` counts by what is missing."""

    patients: int
    women: int
    men: int
    age: tuple[float, float, float] | None
    unknown: dict[str, int]


def describe(people: pd.DataFrame) -> Characteristics:
    """The characteristics of all of `people`."""
    ages = pd.to_numeric(people["age"], errors="coerce")
    known = ages.dropna().to_numpy(np.float64)
    missing = {"sex": int((~people["sex"].isin(["f", "m"])).sum()), "age": int(ages.isna().sum())}
    missing |= {what: int(pd.to_numeric(people[column], errors="coerce").isna().sum()) for column, what in MEASURED.items()}
    return Characteristics(
        patients=len(people),
        women=int((people["sex"] == "f").sum()),
        men=int((people["sex"] == "m").sum()),
        age=(float(np.median(known)), float(known.min()), float(known.max())) if len(known) else None,
        unknown=missing,
    )


def by_fold(people: pd.DataFrame, n_folds: int) -> list[Characteristics]:
    """The characteristics of each fold's; `people` has the column fold too."""
    return [describe(people[people["fold"] == fold]) for fold in range(n_folds)]
