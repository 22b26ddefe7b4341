"""Experts' labels of single cells of the published cohort, as SCEMILA's repository has them, beside the ranking.

The table (github.com/marrlab/SCEMILA, analysis/suppl_data/image_annotation_master.csv; Hehr et al. 2023, doi
10.1371/journal.pdig.0000187) has columns mll_annotation, prediction, ID (patient) and im_tiffname (103.TIF). Image 103 is taken
to be the cohort's image_103: both count a patient's images from 0. What a label says of a cell follows the groups in which that
repository shows them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from pipeline.common.errors import DataError
from pipeline.evaluation import intervals, metrics
from pipeline.evaluation.figures import Interval
from pipeline.names import image_paths, patient_names

_LABEL, _PATIENT, _IMAGE = NEEDED = ("mll_annotation", "ID", "im_tiffname")
HEALTHY, LEUKAEMIC, OPEN = "healthy", "leukaemic", "open"
_LABELS = {
    **dict.fromkeys(
        (
            "typical lymphocyte",
            "reactive lymphocyte",
            "large granulated lymphocyte",
            "neoplastic lymphocyte",
            "hair cell",
            "mononucleosis",
            "plasma cell",
            "neutrophil granulocyte (segmented)",
            "neutrophil granulocyte (band)",
            "metamyelocyte",
            "eosinophil granulocyte",
            "basophil granulocyte",
        ),
        HEALTHY,
    ),
    **dict.fromkeys(
        (
            "myeloblast",
            "myeloblast with auer rod",
            "myeloblast with long auer rod",
            "cup-like blast",
            "monoblast",
            "promonocyte",
            "atypical promyelocyte",
            "atypical promyelocyte, bilobed",
            "atypical promyelocyte with auer rod",
            "faggot cell",
            "pathological eosinophil",
        ),
        LEUKAEMIC,
    ),
    **dict.fromkeys(
        (
            "monocyte",
            "promyelocyte",
            "myelocyte",
            "normo",
            "erythroblast",
            "proerythroblast",
            "ambiguous",
            "other",
            "smudge",
            "smudge cell",
        ),
        OPEN,
    ),
}


def read(table: Path, images: Iterable[str], pseudonyms: bool) -> pd.Series:
    """Path -> healthy, leukaemic or open, of those of `images` that the table labels.

    Raises:
        DataError: names the table's line that is wrong, or says that it is of another cohort.
    """
    by_number = {(patient_names.identity(who), _number(name)): path for path in images
                 for _, who, name in [image_paths.place(path)]}  # fmt: skip
    found: dict[str, str] = {}
    for line, label, who, name in _lines(table):
        where = f"{table} line {line}"
        if label not in _LABELS:
            raise DataError(f"{where}: {label!r} is no label that is known here; one is {next(iter(_LABELS))!r}")
        if (number := _number(name)) is None:
            raise DataError(f"{where}: {name!r} is no image's name such as 103.TIF")
        path = by_number.get((patient_names.identity(who), number))
        if path is not None and found.setdefault(path, _LABELS[label]) != _LABELS[label]:
            raise DataError(f"{where}: {path} has another label above; remove one of the two lines")
    if not found:
        known = "; ingest.pseudonyms is on: write pseudonyms in the column ID" if pseudonyms else ""
        raise DataError(f"{table}: labels no usable image of this cohort{known}")
    return pd.Series(found, name="label")


def _lines(table: Path) -> Iterable[tuple[int, str, str, str]]:
    """Line, label, patient and image."""
    try:
        lines = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig")), strict=True)
        rows = [(lines.line_num, row) for row in lines]
    except FileNotFoundError:
        raise DataError(f"{table}: not there; bring it from github.com/marrlab/SCEMILA") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV table ({error})") from None
    if missing := [name for name in NEEDED if name not in (lines.fieldnames or [])]:
        raise DataError(f"{table}: has no column {missing[0]}; it must have {', '.join(NEEDED)}")
    if twice := [name for name in NEEDED if list(lines.fieldnames or []).count(name) > 1]:
        raise DataError(f"{table}: has the column {twice[0]} twice; leave the right one")
    label, patient, image = NEEDED
    return [(line, _stripped(row, label), _stripped(row, patient), _stripped(row, image)) for line, row in rows]


def _stripped(row: dict[str, str], name: str) -> str:
    return (row[name] or "").strip()  # a short line has nothing there


def _number(name: str) -> int | None:
    found = re.fullmatch(r"\D*(\d+)\.\w+", name)
    return int(found[1]) if found else None


def scored(images: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """How well the ranking finds healthy cells, a row a patient whom experts labelled.

    `images` has path, patient, logit and flagged. Columns patient, healthy, leukaemic, open (images), auroc (a healthy cell has
    a lower logit than a leukaemic one), flagged (of those two), precision and recall of the flagged; NaN where there is none.
    """
    rows = []
    for patient, own in images.merge(labels, left_on="path", right_index=True).groupby("patient", sort=True):
        counts = {name: int((own["label"] == name).sum()) for name in (HEALTHY, LEUKAEMIC, OPEN)}
        judged = own[own["label"] != OPEN]
        healthy = (judged["label"] == HEALTHY).to_numpy()
        flagged = judged["flagged"].to_numpy(bool)
        both = counts[HEALTHY] and counts[LEUKAEMIC]
        rows.append(
            {
                "patient": patient,
                **counts,
                "auroc": metrics.auroc(healthy.astype(np.int64), -judged["logit"].to_numpy()) if both else np.nan,
                "flagged": int(flagged.sum()),
                "precision": (healthy & flagged).sum() / flagged.sum() if flagged.any() else np.nan,
                "recall": (healthy & flagged).sum() / healthy.sum() if healthy.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)


def mean_auroc(found: pd.DataFrame, confidence: float) -> Interval:
    """The mean over the patients of `scored` who have one, with bounds by Student's t; of a single patient there are none.

    That all are equal, or nearly 1, does not make it sure: the bounds are at least as far away as those of a share of so many
    patients of whom all are right.
    """
    values = found["auroc"].dropna().to_numpy(np.float64)
    mean = float(values.mean()) if len(values) else float("nan")
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    certain = intervals.all_right(len(values), confidence)
    if np.ptp(values) == 0:
        return Interval(mean, mean * certain, 1 - (1 - mean) * certain)
    reach = float(t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, max(0.0, min(mean - reach, certain)), min(1.0, max(mean + reach, 1 - certain)))
