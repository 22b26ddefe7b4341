"""The published dealing that a page's figures rest on, and what was published with it, beside ours over the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation import published_protocols
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.published_protocols import Figure

Joint = Mapping[str, Interval]  # figures of the call among all classes at once, by name


def describe(
    dealing: Mapping[str, Any], subtypes: Sequence[Mapping[str, Any]], joint: Joint, confidence: float
) -> dict[str, Any]:
    """What data/splits/protocol.json says, and where results are known by it: their rows, and how they can be compared.

    A row has the published figure, and ours as (title, interval): none where nothing here measures it.
    """
    found: dict[str, Any] = {**dealing, "published": None, "rows": []}
    known = published_protocols.PROTOCOLS.get(dealing["name"].lower())
    if known is None:
        return found
    patients = sum(known.tested.values())
    return {
        **found,
        "published": known,
        "rows": [{"figure": figure, "ours": _ours(figure, subtypes, joint)} for figure in known.figures],
        "same_numbers": not known.tested or dict(known.tested) == dealing["tested"],
        "patients": patients,
        "half_width": published_protocols.half_width(known.figures[0].value, patients, confidence) if patients else None,
    }


def _ours(figure: Figure, subtypes: Sequence[Mapping[str, Any]], joint: Joint) -> list[tuple[str, Interval]]:
    subtype, name = figure.ours
    if not subtype:
        return [("all classes at once", joint[name])] if name in joint else []
    candidates = [c for own in subtypes if own["name"] == subtype for c in own["candidates"] if not c["leaked"]]
    key = ("patient", name, "usual")
    return [(c["title"], c["all"][key]) for c in candidates if key in c["all"]]
