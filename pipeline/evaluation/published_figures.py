"""The four published networks and their figures, to stand beside ours.

The figures are of images, of one test set of 800 of each class; by what the split was made, image or patient, is not stated. A
subtype that is not listed has no published figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pipeline.common.params_learning import Network

IMAGES_PER_CLASS = 800


@dataclass(frozen=True)
class Figures:
    """Precision, recall and F1 as (control, subtype), and accuracy over both."""

    precision: tuple[float, float]
    recall: tuple[float, float]
    f1: tuple[float, float]
    accuracy: float
    support: tuple[int, int] = (IMAGES_PER_CLASS, IMAGES_PER_CLASS)

    def by_class(self) -> pd.DataFrame:
        """A table with a row a class, in the form that `published_form` gives ours."""
        return pd.DataFrame(
            {"precision": self.precision, "recall": self.recall, "f1": self.f1, "support": self.support},
            index=pd.Index(["control", "subtype"], name="class"),
        )


FIGURES = {
    "PML_RARA": Figures((0.88, 0.91), (0.91, 0.88), (0.90, 0.90), 0.90),
    "RUNX1_RUNX1T1": Figures((0.94, 0.89), (0.88, 0.94), (0.91, 0.91), 0.91),
    "CBFB_MYH11": Figures((0.79, 0.92), (0.93, 0.75), (0.86, 0.83), 0.84),
    "NPM1": Figures((0.87, 0.90), (0.90, 0.86), (0.89, 0.88), 0.88),
}


def _found_by_search(first_conv: int, conv: list[int], dense: int, learning_rate: float) -> Network:
    return Network(
        first_conv=first_conv,
        conv=conv,
        dense=[dense],
        learning_rate=learning_rate,
        pooling="flatten",
        dropout=0.0,
        weight_decay=0.0,
    )


# Which learning rate belongs to CBFB_MYH11 and RUNX1_RUNX1T1 is our reading of an ambiguous figure.
NETWORKS = {
    "PML_RARA": _found_by_search(64, [128, 192], 128, 1e-5),
    "RUNX1_RUNX1T1": _found_by_search(64, [256, 192], 256, 1e-5),
    "CBFB_MYH11": _found_by_search(32, [128, 256, 256], 192, 1e-4),
    "NPM1": _found_by_search(64, [256, 192, 192], 256, 1e-4),
}
