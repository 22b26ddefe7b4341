"""A binary test asked of the patients of every class: whom it calls its subtype of those whom it was never trained on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from numpy.typing import ArrayLike

from pipeline.evaluation import intervals

OWN, OTHERS, SEARCHED = "held out", "never trained on", "seen by the search"  # how a class is asked
COLUMNS = ["test", "class", "how", "patients", "called", "share", "low", "high"]


def row(test: str, name: str, asked: str, called: ArrayLike, confidence: float) -> Sequence[object]:
    """What `COLUMNS` say of a test and the patients of a class, of whom `called` says who is called the subtype."""
    calls = pd.Series(called, dtype=bool)
    share = intervals.proportion(int(calls.sum()), len(calls), confidence)
    return (test, name, asked, len(calls), int(calls.sum()), share.value, share.low, share.high)
