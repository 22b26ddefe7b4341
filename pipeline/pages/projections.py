"""What follows from the results beyond them: what a call is worth at a prevalence, and what so many patients can show.

Nothing here is measured: prevalences, risks and wanted precision are the reader's, from params.yaml's `report`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.common.params_judging import Report, SampleSize
from pipeline.evaluation import sample_size, usefulness
from pipeline.evaluation.usefulness import Benefit

_CURVE_POINTS = 60
_ZERO, _PREVALENCE = 80, 10  # where the curve's net benefits of 0 and of the prevalence lie, from above, of 100


def worth(patients: pd.DataFrame, report: Report, confidence: float) -> list[dict[str, Any]]:
    """At each prevalence: predictive values of the calls, net benefit at the named risks, and the curve.

    `patients` has columns label, called, logit.
    """
    label, called, logit = patients["label"], patients["called"], patients["logit"]
    grid = (report.risks[-1] * np.arange(1, _CURVE_POINTS + 1) / _CURVE_POINTS).tolist()
    return [
        {
            "values": usefulness.predictive_values(label, called, prevalence, confidence),
            "benefits": usefulness.decision_curve(label, logit, prevalence, report.risks, confidence),
            "curve": _curve(usefulness.decision_curve(label, logit, prevalence, grid, confidence), prevalence),
        }
        for prevalence in report.prevalences
    ]


def size(patients: Mapping[bool, int], wanted: SampleSize, confidence: float) -> dict[str, Any]:
    """What so many tested patients of the subtype (True) and controls (False) can show, and how many it would take."""
    n, m = patients[True], patients[False]
    ratio = m / n if n and m else 1.0
    of_subtype = sample_size.patients_for_auroc(wanted.expected, wanted.half_width, ratio, confidence)
    return {
        "n": n,
        "m": m,
        "all_right": {label: sample_size.bound_if_all_right(count, confidence) for label, count in patients.items()},
        "least_auroc": sample_size.least_shown_auroc(n, m, confidence, wanted.power),
        "for_rate": sample_size.patients_for_rate(wanted.expected, wanted.half_width, confidence),
        "for_auroc": (round(of_subtype * ratio), of_subtype),
    }


def _curve(benefits: Sequence[Benefit], prevalence: float) -> dict[str, str]:
    """The lines of a decision curve, as an SVG's points in a square of 100 with the highest risk at the right."""

    def line(of: Iterable[float]) -> str:
        scale = (_ZERO - _PREVALENCE) / prevalence
        rows = zip(benefits, of, strict=True)
        return " ".join(f"{100 * at.threshold / benefits[-1].threshold:.2f},{_ZERO - scale * value:.2f}" for at, value in rows)

    return {"scores": line(at.scores.value for at in benefits), "everybody": line(at.everybody for at in benefits)}
