"""What simple features reach without looking at a cell: logistic regression over the folds of the networks. No file is read.

Rows are images or patients, a table with columns patient, label (0 control, 1 subtype), fold and the features, numbers or
NaN. A baseline of fold k is fitted on the patients on whom the network of fold k was trained, and scores the same test
patients. Patients weigh the same however many images they have, and so do the classes. A patient's score is the mean logit
of his or her rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline import manifest, metrics, splits

COLOURS = [name for name in manifest.NUMBERS if name.startswith(("mean_", "std_"))]
SEXES = ("f", "m")
_DECIMALS = 9  # of a logit: equal features are a tie, whatever the order in which a library adds them up

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Null:
    """What chance reaches: AUROC of patients whose labels were shuffled.

    `low` and `high` hold 95 % of them between them; `p_value` is the chance to reach the observed AUROC or more.
    """

    mean: float
    low: float
    high: float
    p_value: float
    permutations: int


@dataclass(frozen=True)
class _Fold:
    """One fold's standardised features `(rows, features)`, and the position of every row's patient `(rows,)`."""

    train: Floats
    train_patient: Integers
    test: Floats
    test_patient: Integers


class Baseline:
    """A baseline on `features` of `rows`, over the folds that were trained of `n_folds`."""

    def __init__(self, rows: pd.DataFrame, features: Sequence[str], trained_folds: Sequence[int], n_folds: int) -> None:
        self._rows = rows
        keys = ["fold", "label", "patient"]
        self._patients = rows[keys].drop_duplicates().sort_values(keys, ignore_index=True)
        position = pd.MultiIndex.from_frame(self._patients).get_indexer(pd.MultiIndex.from_frame(rows[keys]))
        self._folds = {}
        for k in trained_folds:
            roles = np.array([splits.role(fold, k, n_folds) for fold in rows["fold"]])
            train, test = roles == "train", roles == "test"
            scale = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
            self._folds[k] = _Fold(
                np.asarray(scale.fit_transform(rows.loc[train, list(features)].to_numpy(dtype=np.float64))),
                position[train],
                np.asarray(scale.transform(rows.loc[test, list(features)].to_numpy(dtype=np.float64))),
                position[test],
            )

    def predictions(self) -> pd.DataFrame:
        """One row per test row: fold, patient, label, logit."""
        return self._predict(self._patients["label"].to_numpy())

    def null(self, permutations: int, seed: int) -> Null:
        """The same fits and the same test with the patients' labels shuffled, each class as large in every fold as it is."""
        observed = patient_auroc(self.predictions())
        rng = np.random.default_rng(seed)
        labels, folds = self._patients["label"].to_numpy(), self._patients["fold"].to_numpy()
        drawn = np.array([patient_auroc(self._predict(shuffled(labels, folds, rng))) for _ in range(permutations)])
        return null(observed, drawn)

    def _predict(self, labels: Integers) -> pd.DataFrame:
        """`labels` `(patients,)`."""
        names = self._patients["patient"].to_numpy()
        scored = []
        for k, fold in self._folds.items():
            y = labels[fold.train_patient]
            model = LogisticRegression().fit(fold.train, y, sample_weight=weights(y, fold.train_patient))
            logits = model.decision_function(fold.test).round(_DECIMALS)
            tested = {"fold": k, "patient": names[fold.test_patient], "label": labels[fold.test_patient], "logit": logits}
            scored.append(pd.DataFrame(tested))
        return pd.concat(scored, ignore_index=True)


def weights(labels: Integers, patients: Integers) -> Floats:
    """Weight of every row `(rows,)`, 1 on average: the same sum for either class, and for each patient of a class."""
    share = 1 / np.bincount(patients)[patients]
    share = share / np.bincount(labels, weights=share)[labels]
    return share * len(labels) / 2


def patient_auroc(predictions: pd.DataFrame) -> float:
    """Pairs of patients of one fold in the right order; `predictions` has columns fold, patient, label, logit."""
    patients = metrics.patient_scores(predictions)
    return metrics.within_fold_auroc(patients["label"], patients["logit"].round(_DECIMALS), patients["fold"])


def shuffled(labels: ArrayLike, groups: ArrayLike, rng: np.random.Generator) -> Integers:
    """`labels` `(n,)` shuffled within each of `groups` `(n,)`."""
    drawn = np.array(labels)
    of = np.asarray(groups)
    for group in np.unique(of):
        drawn[of == group] = rng.permutation(drawn[of == group])
    return drawn


def null(observed: float, drawn: Floats) -> Null:
    """`drawn` `(permutations,)` summed up. The observed value counts as one of the draws, so that p is never 0."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    p_value = (1 + int((drawn >= observed).sum())) / (1 + len(drawn))
    return Null(float(drawn.mean()), float(low), float(high), p_value, len(drawn))


def people(patients: pd.DataFrame, min_known_share: float) -> tuple[pd.DataFrame, list[str]]:
    """`patients` with sex and age as numbers, and which of these columns are known of enough patients of either class.

    `patients` has columns label, sex ("f", "m" or "") and age (years as text, or ""). Where one is unknown the sex is
    neither, and the age is taken for the median of the training patients.
    """
    numbers = patients.assign(age=pd.to_numeric(patients["age"], errors="coerce"))
    numbers = numbers.assign(**{f"sex_{sex}": (patients["sex"] == sex).astype("float64") for sex in SEXES})
    columns = {"sex": [f"sex_{sex}" for sex in SEXES], "age": ["age"]}
    known = {"sex": patients["sex"].isin(SEXES), "age": numbers["age"].notna()}
    enough = [name for name, is_known in known.items() if is_known.groupby(patients["label"]).mean().min() >= min_known_share]
    return numbers, [column for name in enough for column in columns[name]]
