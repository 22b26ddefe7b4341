"""What an earlier stage made, read: a file that is not there, damaged, or of another form ends in one line.

The line names the file and the command that brings it back. A column's name means the same in all tables, so what it must hold
is known here. What a person writes by hand is not read here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.common import paths
from pipeline.common.errors import REFUSALS, DataError, PipelineError, is_for_want_of_memory

if TYPE_CHECKING:  # `--help` waits for neither
    import pandas as pd
    from numpy.typing import NDArray

_TEXTS = frozenset(("patient", "path", "class", "split", "error", "look_alike", "sha256", "pixels_sha256", "phash"))
_WHOLE = frozenset(("label", "fold", "images", "width", "height"))


def values(path: Path) -> dict[str, Any]:
    """A JSON file's values by name; to ask for one that is not there is an error of the file, too."""
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("holds no values by name")
        return _Values(path, found)


def rows(path: Path, **how: Any) -> pd.DataFrame:
    """A CSV table, read as pandas is told; texts are what stands there, whatever it looks like."""
    import pandas as pd

    with reading(path):
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file), [])
        usual: dict[str, Any] = {"dtype": dict.fromkeys(_TEXTS & set(header), "str")}
        if "keep_default_na" not in how:  # a patient may be called NA
            usual |= {"keep_default_na": False, "na_values": {name: [""] for name in header if name not in _TEXTS}}
        table = pd.read_csv(path, **{**usual, **how})
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("a row has more cells than there are columns")
        return _sound(table, header, _TEXTS if how.get("dtype") == "str" else _TEXTS | _WHOLE)


def table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A Parquet table, or some of its columns."""
    with reading(path):
        found = parquet(path, columns)
        decode(found)
        return _sound(found, list(map(str, found.columns)))


def parquet(source: Path | BytesIO, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A Parquet table, as pandas reads it; by this thread alone, since Arrow's wait for ever where memory ends (Arrow 25).

    Raises:
        ValueError: a column is not there.
        whatever Arrow stumbles over.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(source) as file:
        if missing := [name for name in columns or [] if name not in file.schema_arrow.names]:
            raise ValueError(f"has no column {missing[0]}")
        found: pd.DataFrame = file.read(None if columns is None else list(columns), use_threads=False).to_pandas(
            use_threads=False
        )
    return found


def decode(table: pd.DataFrame) -> None:
    """Look at all texts: pandas decodes those of Parquet when they are looked at, and what is wrong shall show here."""
    for _, column in table.items():
        if column.dtype == "str":
            column.to_numpy()


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name; numbers, all of them finite, and never objects."""
    import numpy as np

    with reading(path), np.load(path, allow_pickle=False) as stored:
        found = {str(name): values for name, values in stored.items()}
        if not all(values.dtype.kind in "biuf" and np.isfinite(values).all() for values in found.values()):
            raise ValueError("holds something else than finite numbers")
    return found


def array(path: Path) -> NDArray[Any]:
    """An array that stays on the disk until it is looked at; numbers, never objects."""
    import numpy as np

    with reading(path):
        return np.lib.format.open_memmap(path, mode="r")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong within is this file's fault.

    Raises:
        DataError: names the file, and how to have it again.
    """
    paths.existing(path)
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # Arrow, NumPy and pandas raise whatever their parsers stumble over
        if isinstance(error, OSError) and error.errno in REFUSALS:
            raise
        if is_for_want_of_memory(error):  # or a length was damaged: Arrow does not tell one from the other
            hint = f"end other programs, and run it again; is it damaged, `dvc checkout --force {path}` brings it back"
            raise DataError(f"{path}: not enough memory to read it; {hint}") from None
        raise _damaged(path, str(error) or type(error).__name__) from None


class _Values(dict[str, Any]):
    """What a file holds by name, and which file that was."""

    def __init__(self, path: Path, found: dict[str, Any]) -> None:
        super().__init__(found)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise _damaged(self._path, f"has no {name}")


def _damaged(path: Path, reason: str) -> DataError:
    # metrics are in git, and DVC's cache has none
    hint = "delete it and run `dvc repro`" if path.name == "metrics.json" else f"run `dvc checkout --force {path}`"
    return DataError(f"{path}: damaged ({' '.join(reason.splitlines()[0].split())}); {hint}")


def _sound(found: pd.DataFrame, header: Sequence[str], known: frozenset[str] = _TEXTS | _WHOLE) -> pd.DataFrame:
    """The table, if no column is there twice and those known by name hold what they must."""
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"has the column {name} twice")
    import pandas as pd

    for name in sorted(known & set(header) & set(found.columns)):
        kind, holds = pd.api.types.infer_dtype(found[name], skipna=False), "text" if name in _TEXTS else "whole numbers"
        if found[name].isna().any() or kind not in ("empty", "string" if name in _TEXTS else "integer"):
            raise ValueError(f"its column {name} holds something else than {holds}")
    return found
