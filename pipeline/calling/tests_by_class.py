"""Every binary test on the patients of every class: whom it calls of the leukaemias that it was never trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.calling.answer import Floats, Ints
from pipeline.calling.crossed import Crossed
from pipeline.evaluation import calibration, every_class
from pipeline.evaluation.pooling import probabilities


def scores(tests: Crossed, labels: Ints) -> Floats:
    """The calibrated score of every patient by every test, `(patients, subtypes)`.

    A test is calibrated as in `evaluate`, by the patients of its own two classes of the other folds.
    """
    found = np.full((len(labels), next(iter(tests.pairs.values())).shape[1]), np.nan)
    for k in tests.numbers:
        rows, logits = tests.others(k)
        for column in range(found.shape[1]):
            own = np.isin(labels[rows], (0, column + 1))
            known = {"patient": rows[own], "label": (labels[rows[own]] > 0).astype(int), "logit": logits[own, column]}
            fitted = calibration.patient_calibration(pd.DataFrame(known))
            found[tests.rows(k), column] = probabilities(fitted.intercept + fitted.slope * tests.tested(k)[:, column])
    return found


def matrix(scored: Floats, labels: Ints, names: Sequence[str], threshold: float, confidence: float) -> pd.DataFrame:
    """A row a test and class, as `every_class.COLUMNS` name what it says.

    `names` are control and the subtypes, `scored` as `scores` gives them; a score above `threshold` is called the subtype.
    """
    rows = []
    for column, subtype in enumerate(names[1:]):
        for label, name in enumerate(names):
            how = every_class.OWN if label in (0, column + 1) else every_class.OTHERS
            rows.append(every_class.row(subtype, name, how, scored[labels == label, column] > threshold, confidence))
    return pd.DataFrame(rows, columns=every_class.COLUMNS)
