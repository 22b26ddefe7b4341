"""What simple features reach without looking at a cell: logistic regression over the folds of the networks. No file is read.

Rows are images or patients, a table with columns patient, label (0 control, 1 subtype), fold and the features, numbers or
NaN. A baseline of fold k is fitted on the patients on whom the network of fold k was trained, and scores the same test
patients. Patients weigh the same however many images they have, and so do the classes. A patient's score is the mean logit
of his or her rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.auditing.permutation import Floats, Integers, Null, null, shuffled
from pipeline.evaluation import metrics
from pipeline.folds import split_table

COLOURS = ("mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b")  # of the manifest's columns
SEXES = ("f", "m")
_DECIMALS = 9  # of a logit: equal features are a tie, whatever the order in which a library adds them up


@dataclass(frozen=True)
class _Fold:
    """One fold's standardised features `(rows, features)`, and the position of every row's patient `(rows,)`."""

    train: Floats
    train_patient: Integers
    test: Floats
    test_patient: Integers


class Baseline:
    """A baseline on `features` of `rows`, over the folds that were trained of `n_folds`.

    `measured` names the patients whom its figures rest on, as the network's do; all where it is None.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        features: Sequence[str],
        trained_folds: Sequence[int],
        n_folds: int,
        measured: Collection[str] | None = None,
    ) -> None:
        keys = ["fold", "label", "patient"]
        patients = rows[keys].drop_duplicates().sort_values(keys, ignore_index=True)
        position = pd.MultiIndex.from_frame(patients).get_indexer(pd.MultiIndex.from_frame(rows[keys]))
        values = rows[list(features)].to_numpy(dtype=np.float64)
        self._patients = patients
        self._labels, self._of_fold = patients["label"].to_numpy(), patients["fold"].to_numpy()
        self._folds = []
        for k in trained_folds:
            roles = np.array([split_table.role(fold, k, n_folds) for fold in rows["fold"]])
            train, test = roles == "train", roles == "test"
            if measured is not None:
                test &= rows["patient"].isin(list(measured)).to_numpy()
            if not test.any():
                continue
            scale = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
            trained, tested = np.asarray(scale.fit_transform(values[train])), np.asarray(scale.transform(values[test]))
            self._folds.append(_Fold(trained, position[train], tested, position[test]))

    def patient_auroc(self) -> float:
        """Share of the pairs of test patients of one fold whose scores stand in the right order."""
        return self._patient_auroc(self._labels)

    def varies(self) -> bool:
        """Whether any feature differs between any two test rows, or two rows of its training."""
        return any(np.ptp(rows, axis=0).any() for fold in self._folds for rows in (fold.train, fold.test))

    def patient_scores(self) -> pd.DataFrame:
        """The test patients: fold, patient, label, logit."""
        tested, scores = self._scores(self._labels)
        return self._patients.iloc[tested].assign(logit=scores)

    def image_auroc(self) -> float:
        """Share of the pairs of test rows of one fold, images of control and subtype, whose scores stand in the right order."""
        logits = self._logits(self._labels)
        rows = np.concatenate([fold.test_patient for fold in self._folds])
        return metrics.within_fold_auroc(self._labels[rows], np.concatenate(logits), self._of_fold[rows])

    def null(self, permutations: int, seed: int) -> Null:
        """What chance reaches: fits and test with the patients' labels shuffled, each class as large in every fold as it is."""
        rng = np.random.default_rng(seed)
        drawn = [self._patient_auroc(shuffled(self._labels, self._of_fold, rng)) for _ in range(permutations)]
        return null(self.patient_auroc(), np.array(drawn))

    def _patient_auroc(self, labels: Integers) -> float:
        """The patient AUROC with `labels` `(patients,)` in training and in test."""
        tested, scores = self._scores(labels)
        return metrics.within_fold_auroc(labels[tested], scores, self._of_fold[tested])

    def _scores(self, labels: Integers) -> tuple[Integers, Floats]:
        """The test patients' positions, and the mean logits of their rows."""
        patients, scores = [], []
        for fold, logits in zip(self._folds, self._logits(labels), strict=True):
            tested, images = np.unique(fold.test_patient, return_counts=True)
            patients.append(tested)
            scores.append(np.bincount(fold.test_patient, weights=logits)[tested] / images)
        return np.concatenate(patients), np.concatenate(scores).round(_DECIMALS)

    def _logits(self, labels: Integers) -> list[Floats]:
        """The logits of each fold's test rows, by the model fitted to its training rows."""
        logits = []
        for fold in self._folds:
            y = labels[fold.train_patient]
            model = LogisticRegression(solver="liblinear")  # the fastest here, and the same whatever the number of threads
            model.fit(fold.train, y, sample_weight=weights(y, fold.train_patient))
            logits.append(np.asarray(model.decision_function(fold.test)).round(_DECIMALS))
        return logits


def weights(labels: Integers, patients: Integers) -> Floats:
    """Weight of every row `(rows,)`, 1 on average: the same sum for either class, and for each patient of a class."""
    share = 1 / np.bincount(patients)[patients]
    share = share / np.bincount(labels, weights=share)[labels]
    return share * len(labels) / 2


def describe_people(patients: pd.DataFrame, min_known_share: float) -> tuple[pd.DataFrame, list[str]]:
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
