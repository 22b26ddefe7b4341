"""How a subtype's patients fared, by what is known of them. No file is read here.

`patients` has one row per test patient: fold, label (0 control, 1 subtype), logit, called (whether the subtype was), and the
columns by which they are grouped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from pipeline.evaluation import metrics

UNKNOWN = "not known"
_SIDES = {"control": 0, "subtype": 1}
_RATES = {"control": "specificity", "subtype": "sensitivity"}


def thirds(values: pd.Series) -> pd.Series:
    """Every number's third, as text ("18 to 41"); equal numbers share a third, and what is NaN is not known."""
    known = values.dropna()
    third = pd.Series(np.searchsorted(np.quantile(known, [1 / 3, 2 / 3]), known) if len(known) else [], known.index)
    named = third.map({number: _span(of_third) for number, of_third in known.groupby(third)})
    return named.reindex(values.index).astype("object").fillna(UNKNOWN)


def results(patients: pd.DataFrame, groups: pd.Series, order: pd.Series, fewest: int) -> list[dict[str, Any]]:
    """A row for each of `groups` (text, one per patient), by rising `order` (number or text, one per patient).

    Counts stand in every row: of either class, patients and those called right. Sensitivity, specificity and AUROC (of pairs
    within a fold) are None where they would rest on fewer than `fewest` patients of a class; `note` says so.
    """
    names = groups[order.sort_values(kind="stable").index].unique()
    ordered = sorted(names, key=lambda name: name == UNKNOWN)
    return [{"group": str(name), **_result(patients[groups == name], fewest)} for name in ordered]


def difference(results: list[dict[str, Any]], fewest: int) -> dict[str, Any] | None:
    """The group that differs most from the others in the share called right of a class; None where too few to compare.

    Keys group, rate ("sensitivity" or "specificity"), p_value: Fisher's exact test, times the number of comparisons; least_p:
    the least that any comparison could have given, one group all right and the other all wrong.
    """
    groups = [row for row in results if row["group"] != UNKNOWN]
    found = []
    for row in groups[:1] if len(groups) == 2 else groups:  # of two groups, each differs from the other alike
        for side, rate in _RATES.items():
            inside = _right_and_wrong([row[side]])
            outside = _right_and_wrong([other[side] for other in groups if other is not row])
            if min(sum(inside), sum(outside)) >= fewest:
                extreme = [[sum(inside), 0], [0, sum(outside)]]
                p_value, least_p = (float(fisher_exact(table).pvalue) for table in ([inside, outside], extreme))
                found.append({"group": row["group"], "rate": rate, "p_value": p_value, "least_p": least_p})
    if not found:
        return None
    clearest = min(found, key=lambda test: test["p_value"])
    least = min(test["least_p"] for test in found)
    return clearest | {"p_value": min(1.0, clearest["p_value"] * len(found)), "least_p": min(1.0, least * len(found))}


def _result(patients: pd.DataFrame, fewest: int) -> dict[str, Any]:
    counts, row, few = {}, {}, []
    for side, label in _SIDES.items():
        of_side = patients[patients["label"] == label]
        right = int((of_side["called"] == bool(label)).sum())
        counts[side] = {"patients": len(of_side), "right": right}
        row[_RATES[side]] = right / len(of_side) if len(of_side) >= fewest else None
        if len(of_side) < fewest:
            few.append(f"{len(of_side)} {side}")
    auroc = None if few else metrics.within_fold_auroc(patients["label"], patients["logit"], patients["fold"])
    return {**counts, **row, "patient_auroc": auroc, "note": f"too few to say: {', '.join(few)}" if few else ""}


def _right_and_wrong(counts: list[dict[str, int]]) -> list[int]:
    right = sum(count["right"] for count in counts)
    return [right, sum(count["patients"] for count in counts) - right]


def _span(values: pd.Series) -> str:
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low} to {high}"
