"""The manifest: one row per file of data/raw, usable or not. No file is read or written here.

Columns: path (relative to data/raw, forward slashes), class, patient, width, height, mode, format, sha256 (of the file),
pixels_sha256, phash, mean_r .. std_b (0 to 255), sharpness, look_alike (the first image that is the same picture, saved again;
"" if there is none; the first one names itself), error ("" if the image is usable). A file outside
`<class>/<patient>/<image>` has an empty patient. Rows are in natural order of class, patient and image: image_2 before
image_10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import pandas as pd

from pipeline.common.errors import DataError
from pipeline.names import image_paths, patient_names

COLOURS = ("mean_r", "mean_g", "mean_b")
NUMBERS = (*COLOURS, "std_r", "std_g", "std_b", "sharpness")
DTYPES = {
    **dict.fromkeys(("path", "class", "patient"), "str"),
    **dict.fromkeys(("width", "height"), "int32"),
    **dict.fromkeys(("mode", "format", "sha256", "pixels_sha256", "phash"), "str"),
    **dict.fromkeys(NUMBERS, "float64"),
    **dict.fromkeys(("look_alike", "error"), "str"),
}
EXCLUSION_COLUMNS = ["patient", "path", "reason"]

_ROWS_AT_ONCE = 4096  # a row by itself takes five times the memory of one in a table
_EXCLUDED = "excluded: "
_REPEATED = "same pixels as "


@dataclass(frozen=True)
class Exclusion:
    """One line of data/exclude.csv: an image, or (empty path) all of a patient's."""

    line: int
    patient: str
    path: str
    reason: str


def build(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """The manifest of rows that may come in any order; few of them are in memory before they are part of it."""
    rows = iter(rows)
    parts = [pd.DataFrame([], columns=list(DTYPES)).astype(DTYPES)]
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        parts.append(pd.DataFrame(some, columns=list(DTYPES)).astype(DTYPES))
    frame = pd.concat(parts, ignore_index=True)
    keys = [(*map(image_paths.natural, image_paths.place(path)), path) for path in frame["path"]]
    return frame.take(sorted(range(len(keys)), key=keys.__getitem__)).reset_index(drop=True)


def excluded(paths: Iterable[str], exclusions: Sequence[Exclusion], source: str, pseudonyms: bool = False) -> dict[str, str]:
    """Path -> error of what a person excluded. Where patients have `pseudonyms`, a line that fits none is not quoted.

    Raises:
        DataError: names the line of `source` whose patient or path is not among `paths`.
    """
    of_patient: dict[str, list[str]] = {}
    for path in paths:
        of_patient.setdefault(patient_names.identity(image_paths.place(path)[1]), []).append(path)
    errors: dict[str, str] = {}
    for exclusion in exclusions:
        where = f"{source} line {exclusion.line}"
        who = patient_names.identity(exclusion.patient)
        its = of_patient.get(who) if who else None
        meant = _meant(exclusion.path, its or [])
        if pseudonyms and not meant:
            raise DataError(
                f"{where}: fits no file of the cohort; ingest.pseudonyms is on: name pseudonyms, of patients and of files"
            )
        if not its:
            raise DataError(f"{where}: there is no patient {exclusion.patient!r} in the cohort; correct or remove the line")
        if not meant:
            raise DataError(
                f"{where}: patient {exclusion.patient} has no file {exclusion.path!r}; write <class>/<patient>/<image>"
            )
        errors |= dict.fromkeys(meant, _EXCLUDED + exclusion.reason)
    return errors


def _meant(path: str, its: list[str]) -> list[str]:
    """The files that a path names: that of this very spelling, or else those in other spellings; all, where none is named."""
    if not path or path in its:
        return [path] if path else its
    return [other for other in its if image_paths.folded(other) == image_paths.folded(path)]


def exclude(frame: pd.DataFrame, errors: Mapping[str, str]) -> pd.DataFrame:
    """The manifest with the errors of `excluded` in place of what the files themselves had."""
    return frame.assign(error=frame["path"].map(errors).fillna(frame["error"]).astype("str"))


def drop_repeats(frame: pd.DataFrame) -> pd.DataFrame:
    """Of usable images with the same pixels within a patient, keep the first."""
    usable = frame[frame["error"] == ""]
    who = usable["patient"].map(patient_names.identity)
    first = usable.groupby([usable["class"], who, usable["pixels_sha256"]], sort=False)["path"].transform("first")
    repeated = first[first != usable["path"]]
    error = frame["error"].copy()
    error[repeated.index] = _REPEATED + repeated
    return frame.assign(error=error)


def mark_look_alikes(frame: pd.DataFrame, first: Sequence[int]) -> pd.DataFrame:
    """`first` holds, for every usable image, the position (among them) of the first that looks the same, or -1."""
    paths = usable(frame)["path"]
    names = ["" if position < 0 else str(paths.iloc[position]) for position in first]
    return frame.assign(look_alike=pd.Series(names, paths.index, dtype="str").reindex(frame.index, fill_value=""))


def usable(frame: pd.DataFrame) -> pd.DataFrame:
    """The images that the next stages see."""
    return frame[frame["error"] == ""]


def not_excluded(frame: pd.DataFrame) -> pd.DataFrame:
    """Every file but those a person excluded."""
    return frame[~frame["error"].str.startswith(_EXCLUDED)]


def without_litter(frame: pd.DataFrame) -> pd.DataFrame:
    """Every file but those that file browsers leave behind."""
    return frame[frame["error"] != image_paths.LITTER_REASON]


def kind(error: str) -> str:
    """What an error has in common with others, to count them by."""
    return f"{_REPEATED}another image of the patient" if error.startswith(_REPEATED) else error.split(":")[0]
