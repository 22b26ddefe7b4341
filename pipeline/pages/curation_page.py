"""The page on which a person decides about images: one file, used by keys, that keeps what was decided until it is exported.

What is decided stays in the browser and in the exported file; the page sends nothing anywhere, and has no way to.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.curation import review
from pipeline.curation.agreement import Agreement
from pipeline.curation.ranking import QUESTIONS
from pipeline.pages import rendering

_TEMPLATE = "curation_page.html.j2"
_QUALITY = 88  # of JPEG: a cell of 144 px takes some 7 KB
KEYS = {"k": review.KEEP, "n": review.NORMAL, "a": review.ARTEFACT, "w": review.WRONG_PATIENT, "c": review.CANT_SAY}


def picture(pixels: NDArray[np.uint8]) -> str:
    """An image as the address of a JPEG that holds it, colours at full resolution."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def render(
    *,
    cohort: str,
    control: str,
    demo: bool,
    shown: Sequence[tuple[str, pd.DataFrame]],
    pictures: Mapping[str, str],
    counted: Mapping[str, int],
    agreements: Sequence[Agreement],
) -> str:
    """The page: sheets of images by question and patient, as `ranking.shown` has them, with their `pictures` by path."""
    sheets = []
    for question, chosen in shown:
        people = [
            {
                "patient": patient,
                "class": own["class"].iloc[0],
                "images": [
                    {"path": row.path, "picture": pictures[str(row.path)], "note": _note(question, row)}
                    for row in own.itertuples()
                ],
            }
            for patient, own in chosen.groupby("patient", sort=False)
        ]
        sheets.append({"id": question, "words": QUESTIONS[question], "people": people, "images": len(chosen)})
    return rendering.template(_TEMPLATE).render(
        cohort=cohort,
        control=control,
        demo=demo,
        sheets=sheets,
        keys=KEYS,
        columns=review.COLUMNS,
        counted=counted,
        agreements=agreements,
    )


def _note(question: str, row: Any) -> str:
    """What is said of an image beside its place in its sheet."""
    if question == "leukaemic":
        return f"like {row.resembles}"
    if question == "artefact":
        return "out of focus" if row.unfocused >= row.empty else "little on it"
    return ""
