"""The published dealing that a page's figures rest on, and what was published with it, beside ours over the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation import published_protocols
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.published_protocols import Figure


def describe(
    dealing: Mapping[str, Any],
    subtypes: Sequence[Mapping[str, Any]],
    calls: Sequence[Mapping[str, Any]],
    confidence: float,
) -> dict[str, Any]:
    """What data/splits/protocol.json says, and where results are known by it: their rows, and how they can be compared.

    A row has the published figure, and ours as (title, interval): none where nothing here measures it. `calls` are the one
    answers of all classes as the page has them.
    """
    found: dict[str, Any] = {**dealing, "published": None, "rows": []}
    known = published_protocols.PROTOCOLS.get(dealing["name"].lower())
    if known is None:
        return found
    made = [call for call in calls if "figures" in call]
    patients = sum(known.tested.values())
    others: list[Mapping[str, int]] = []  # whom the figures here are of, where it is not the published patients
    called = [{name: row["patients"] for name, row in call["classes"].items()} for call in made]  # all folds, trained or not
    for tested in (dealing["tested"], *called):
        if known.tested and tested not in (known.tested, *others):
            others.append(tested)
    return {
        **found,
        "published": known,
        "rows": [{"figure": figure, "ours": _ours(figure, subtypes, made)} for figure in known.figures],
        "others": others,
        "patients": patients,
        "half_width": published_protocols.half_width(known.figures[0].value, patients, confidence) if patients else None,
    }


def _ours(
    figure: Figure, subtypes: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Interval]]:
    subtype, name = figure.ours
    if not subtype:
        return [(f"all classes at once, by {call['candidate']}", call["figures"][name]) for call in calls]
    candidates = [c for own in subtypes if own["name"] == subtype for c in own["candidates"] if not c["leaked"]]
    key = ("patient", name, "usual")
    return [(c["title"], c["all"][key]) for c in candidates if key in c["all"]]
