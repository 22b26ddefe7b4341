"""Who may be scored as a stranger: images enough that can be used, and none that the model was made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common.errors import DataError, LeakError
from pipeline.names import image_paths
from pipeline.registry import known_pictures


def require_usable(frame: pd.DataFrame, most: float, place: Path) -> None:
    """What stops `validate` at home stops here too: a share of unusable files above `most`.

    Raises:
        DataError: so many of a manifest are, or all.
    """
    bad = frame[frame["error"] != ""]
    if len(bad) == len(frame) or len(bad) > most * len(frame):
        first = bad.iloc[0]
        raise DataError(
            f"{place}: {len(bad):,} of {len(frame):,} images cannot be used, more than validate.max_quarantined_share "
            f"({most:g}); first {_file(first)}: {first['error']}; mend them, or take them out"
        )


def require_unknown(images: pd.DataFrame, known: pd.DataFrame, model: str, despite_look_alikes: bool) -> int:
    """How many of a manifest's usable images only look like some that the model was made from, and are said to be others.

    Raises:
        LeakError: one is such a picture, or looks like one and nobody said that it is another.
    """
    met = known_pictures.met(known, images)
    if met.same:
        first = images.iloc[met.same[0]]
        raise LeakError(
            f"patient {first['patient']} is in the training of {model}: {_file(first)} is one of its pictures "
            f"({_counted(images, met.same)}); take these patients out of the cohort"
        )
    if met.alike and not despite_look_alikes:
        first = images.iloc[met.alike[0]]
        raise LeakError(
            f"patient {first['patient']} may be in the training of {model}: {_file(first)} looks like one of its pictures, "
            f"saved again, turned or mirrored ({_counted(images, met.alike)}); take these patients out, or say "
            "--despite-look-alikes when you know that they are others"
        )
    return len(met.alike)


def _file(image: pd.Series[Any]) -> str:
    """The patient's folder and the file, whatever the class's folder is called."""
    return "/".join(image_paths.place(str(image["path"]))[1:])


def _counted(images: pd.DataFrame, positions: Sequence[int]) -> str:
    patients = images["patient"].iloc[list(positions)].nunique()
    return f"in all {len(positions):,} of {patients} {'patient' if patients == 1 else 'patients'}"
