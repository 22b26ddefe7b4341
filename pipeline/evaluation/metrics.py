"""Figures of merit, from labels, scores and calls alone.

`labels` are 0 (control) or 1 (subtype) `(n,)`, `logits` and `scores` float `(n,)`, `called` bool `(n,)`: whether the
subtype was called. What one row is, an image or a patient, is the caller's business and stands in the name of the figure.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from pipeline.evaluation import pooling
from pipeline.evaluation.pooling import probabilities

PATIENT = ("fold", "patient", "label")  # tells a tested patient from the others


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the receiver operating characteristic; NaN when only one class is there."""
    y = np.asarray(labels)
    return float(roc_auc_score(y, scores)) if 0 < y.sum() < len(y) else float("nan")


def within_fold_auroc(labels: ArrayLike, scores: ArrayLike, folds: ArrayLike) -> float:
    """Share of the pairs of control and subtype of one fold that stand in the right order, ties counting half; NaN: no pair.

    Scores of different networks are not comparable, so pairs across folds do not count. `folds` `(n,)`.
    """
    table = pd.DataFrame({"label": np.asarray(labels), "score": np.asarray(scores), "fold": np.asarray(folds)})
    right = pairs = 0.0
    for _, fold in table.groupby("fold"):
        positives = int(fold["label"].sum())
        ranks = rankdata(fold["score"])
        right += float(ranks[fold["label"] == 1].sum()) - positives * (positives + 1) / 2
        pairs += positives * (len(fold) - positives)
    return right / pairs if pairs else float("nan")


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> pd.DataFrame:
    """Columns threshold, fpr (1 - specificity) and tpr (sensitivity), from the strictest threshold to the laxest."""
    fpr, tpr, thresholds = sklearn_roc_curve(labels, scores, drop_intermediate=True)
    return pd.DataFrame({"threshold": thresholds, "fpr": fpr, "tpr": tpr})


def confusion(labels: ArrayLike, called: ArrayLike) -> NDArray[np.int64]:
    """`(2, 2)` counts: rows are the truth, columns the call, control first."""
    table = confusion_matrix(labels, np.asarray(called).astype(int), labels=[0, 1])
    return np.asarray(table, dtype=np.int64)


def patient_scores(images: pd.DataFrame, intercept: float = 0.0, slope: float = 1.0) -> pd.DataFrame:
    """The tested patients: `images` (fold, patient, label, logit) pooled to fold, patient, label, images, logit, score.

    Rows that are of patients already say in a column `images` of how many.
    """
    patients = pooling.patient_scores(images, PATIENT, intercept, slope)
    if "images" in images:
        patients["images"] = images.groupby(list(PATIENT), sort=True)["images"].sum().to_numpy()
    return patients


def other_poolings(images: pd.DataFrame, threshold: float) -> dict[str, pd.DataFrame]:
    """Patients (fold, patient, label, logit) pooled in other ways than by the mean, to see whether a result hangs on it.

    An image whose probability lies above `threshold` is called the subtype.
    """
    by_patient = images.groupby(list(PATIENT), sort=True)["logit"]
    pooled = {
        "median of the logits": by_patient.median(),
        "mean of the highest quarter": by_patient.agg(lambda x: x.nlargest(-(-len(x) // 4)).mean()),
        "share of images called the subtype": by_patient.agg(lambda x: (probabilities(x) > threshold).mean()),
    }
    return {name: values.reset_index() for name, values in pooled.items()}
