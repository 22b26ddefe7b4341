"""Two candidates over the same patients, by hand."""

import math

import pandas as pd
import pytest

from pipeline.evaluation import paired


def patients(scores: dict[str, float]) -> pd.DataFrame:
    rows = [(name, int(name.startswith("S")), score, score > 0.5) for name, score in scores.items()]
    return pd.DataFrame(rows, columns=["patient", "label", "score", "called"])


OTHER = patients({"S1": 0.8, "S2": 0.4, "C1": 0.2, "C2": 0.6})


def test_who_is_right_alone_and_the_difference_in_brier_score() -> None:
    candidate = patients({"S1": 0.4, "S2": 0.6, "C1": 0.1, "C2": 0.4, "S3": 0.9})
    found = paired.compare(candidate, OTHER, 0.95)
    assert (found.patients, found.right_alone, found.wrong_alone) == (4, 2, 1)  # S3 was not scored by the other
    # S1 .36 - .04, S2 .16 - .36; C1 .01 - .04, C2 .16 - .36
    assert found.brier.value == pytest.approx(((0.32 - 0.20) / 2 + (-0.03 - 0.20) / 2) / 2)
    # variances .1352 and .01445, each of two patients; t of one degree of freedom is 12.706
    assert found.brier.high - found.brier.value == pytest.approx(12.7062 * math.sqrt(0.1352 / 2 + 0.01445 / 2) / 2, rel=1e-4)


def test_of_one_patient_of_a_class_no_bounds_are_known() -> None:
    found = paired.compare(OTHER, OTHER[OTHER["patient"] != "C2"], 0.95)
    assert found.brier.value == 0
    assert not found.brier.known
    nobody = paired.compare(OTHER, OTHER[OTHER["label"] == 1], 0.95)
    assert math.isnan(nobody.brier.value)
