"""A delivery's metadata: which file it is, read and understood, and what of it is said."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import pandas as pd

from pipeline.cohort import patients
from pipeline.cohort.pseudonyms import Names
from pipeline.cohort.trees import NotCopied, Tree
from pipeline.common import console, environment
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError, DataError


def read(config: Config, source: Tree, class_folder: str, names: Names) -> tuple[pd.DataFrame | None, str]:
    """The metadata, understood, and its SHA-256."""
    found = content(config, source, class_folder)
    if found is None:
        _say_unread(source, class_folder)
        return None, ""
    name, data = found
    table = patients.read(data, name, names.patient)
    table["class_listed"] = table["class_listed"].replace(config.ingest.class_folders)
    said = [column for column in table.columns if (table[column] != "").any()]
    console.say(f"metadata: {len(table)} patients in {name}" + (f": {', '.join(said)}" if said else ""))
    if len(table) and not said:
        console.warn(
            f"{name}: says nothing of them that is understood; name its columns as docs/data.md has them: age, sex ..."
        )
    return table, names.keyed(hashlib.sha256(data).hexdigest())


def _say_unread(source: Tree, class_folder: str) -> None:
    """What lies where metadata would, and is called so, and is not read."""
    at = class_folder
    while at:
        at = at.rpartition("/")[0]
        for path in source.children(at)[1]:
            if patients.is_metadata_in_name_only(path.rpartition("/")[2]):
                console.warn(f"{source.where(path)}: not read: metadata is a .csv or .xlsx file; save it as one")


def content(config: Config, source: Tree, class_folder: str) -> tuple[str, bytes] | None:
    """The metadata that COHORT_METADATA names, or that lies beside the class folders or above them: its name and content."""
    if os.environ.get("COHORT_METADATA", ""):
        file = environment.place("COHORT_METADATA")
        if not file.is_file():
            raise ConfigError(f"COHORT_METADATA: {file} is not a file")
        return str(file), _read(str(file), lambda: file.read_bytes())
    found = beside(source, class_folder)
    if found is None:
        return None
    name = source.where(found)
    return name, _read(name, lambda: b"".join(source.chunks(found)))


def beside(source: Tree, class_folder: str) -> str | None:
    """The place of the metadata that lies beside the class folders or above them.

    Raises:
        DataError: there are two.
    """
    found: list[str] = []
    at = class_folder
    while at and not found:
        at = at.rpartition("/")[0]
        found = [path for path in source.children(at)[1] if patients.is_metadata_name(path.rpartition("/")[2])]
    if len(found) > 1:
        raise DataError(f"{source.where(found[0])} and {source.where(found[1])}: which is it? Name it in COHORT_METADATA")
    return found[0] if found else None


def _read(name: str, opened: Callable[[], bytes]) -> bytes:
    try:
        return opened()
    except NotCopied as reason:
        raise DataError(f"{name}: {reason}; mend it, or take it away") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); mend it, or take it away") from None
