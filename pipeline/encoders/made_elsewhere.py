"""Vectors that somebody else made, one file a patient: `<patient>.h5` or `.parquet`, in a folder or in its `<class>` folders.

An HDF5 file holds one table of numbers `(cells, dimension)`; so do all columns of numbers of a Parquet file, which may name
each row's image in a column `path` (as data/manifest.parquet does, or by the file's name alone; an image of another patient is
refused). Without names rows are in the manifest's order of the patient's images, usable or not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common import addresses, made
from pipeline.common.errors import DataError

Vectors = NDArray[np.float32]
_SUFFIXES = (".h5", ".hdf5", ".parquet")


def file_of(folder: Path, class_name: str, patient: str) -> Path:
    """The one file of a patient.

    Raises:
        DataError: there is none, or several.
    """
    places = [place / f"{patient}{suffix}" for place in (folder / class_name, folder) for suffix in _SUFFIXES]
    found = [place for place in places if place.is_file()]
    if len(found) != 1:
        what = f"{found[0]} and {found[1]} are both there; leave one" if found else f"no {places[0]} (or .parquet); bring it"
        raise DataError(f"vectors of patient {patient} of {class_name}: {what}, or exclude the patient in data/exclude.csv")
    return found[0]


def strangers(folder: Path, taken: Collection[Path]) -> list[Path]:
    """The files of vectors below a folder that nobody's vectors were taken from."""
    return sorted({file for file in folder.rglob("*") if file.suffix in _SUFFIXES} - set(taken))


def read(file: Path, dimension: int, images: pd.DataFrame, pseudonyms: bool = False) -> Vectors:
    """`(usable images, dimension)` of a patient whose `images` are rows of the manifest: path, error.

    Where patients have `pseudonyms`, what names none of the patient's images is not quoted.

    Raises:
        DataError: the file holds something else, or doesn't fit the images.
    """
    vectors, named = _parquet(file) if file.suffix == ".parquet" else (_h5(file), None)
    usable = (images["error"] == "").to_numpy()
    if vectors.shape[1] != dimension:
        raise DataError(
            f"{file}: vectors of {vectors.shape[1]} numbers, not {dimension}; correct its `dimension`, or bring others"
        )
    if named is not None:
        rows = _rows(file, named, images["path"].tolist(), images.loc[usable, "path"].tolist(), pseudonyms)
    elif len(vectors) == len(images):
        rows = np.flatnonzero(usable)
    else:
        raise DataError(
            f"{file}: {len(vectors):,} vectors for the patient's {len(images):,} images of data/manifest.parquet (usable: "
            f"{int(usable.sum()):,}); bring one for each, or a Parquet file whose column path names them"
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        chosen = np.ascontiguousarray(vectors[rows], dtype=np.float32)
    if not np.isfinite(chosen).all():
        raise DataError(f"{file}: holds vectors that are no numbers (NaN or infinite); bring sound ones")
    return chosen


def _rows(
    file: Path, named: Sequence[object], known: Sequence[str], wanted: Sequence[str], pseudonyms: bool
) -> NDArray[np.intp]:
    """The row of each of the images `wanted`; whatever a row names must be one of the patient's, all of which are `known`."""
    by_name: dict[str, int] = {}
    patients = {path.rsplit("/", 1)[-1]: path.split("/")[-2] for path in known}
    for row, said in enumerate(map(str, named)):
        name = said.rsplit("/", 1)[-1]
        if name not in patients or f"/{said}".split("/")[-2] not in ("", patients[name]):
            shown = "a file" if pseudonyms else repr(said)
            raise DataError(
                f"{file}: row {row + 1} names {shown}, which is no image of the patient in data/manifest.parquet; name each "
                "row's own, or leave the row out"
            )
        if name in by_name:
            raise DataError(f"{file}: names {name} twice; leave each once")
        by_name[name] = row
    missing = [path for path in wanted if path.rsplit("/", 1)[-1] not in by_name]
    if missing:
        raise DataError(f"{file}: no vector of {missing[0]} ({len(missing):,} missing); bring all, or exclude the images")
    return np.array([by_name[path.rsplit("/", 1)[-1]] for path in wanted], dtype=np.intp)


def _h5(file: Path) -> NDArray[np.generic]:
    tables: dict[str, NDArray[np.generic]] = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 2 and item.dtype.kind == "f":
            tables[name] = item[()]

    try:
        with h5py.File(file, "r") as opened:
            opened.visititems(note)
    except Exception as error:  # HDF5 raises whatever it stumbles over
        raise DataError(f"{file}: not a sound HDF5 file: {addresses.first_line(error)}; bring it again") from None
    if len(tables) != 1:
        raise DataError(
            f"{file}: {len(tables)} tables of numbers (cells, dimension), not one ({', '.join(tables) or 'none of floats'}); "
            "leave the vectors alone in it"
        )
    return next(iter(tables.values()))


def _parquet(file: Path) -> tuple[NDArray[np.generic], list[object] | None]:
    try:
        table = made.parquet(file)
        names = table["path"].tolist() if "path" in table else None  # pandas decodes texts when they are looked at
    except Exception as error:  # Arrow raises whatever its parser stumbles over
        raise DataError(f"{file}: not a sound Parquet file: {addresses.first_line(error)}; bring it again") from None
    vectors = table.select_dtypes("number").to_numpy(dtype=np.float64, na_value=np.nan)
    return vectors, names
