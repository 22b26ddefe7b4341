"""Folders of people who are in no cohort: whose images are whose, before anything of them is opened."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.common.errors import DataError
from pipeline.images import reading
from pipeline.names import image_paths, leftovers, patient_names


def find(folder: Path) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """The image files of each patient by file name, in natural order; and the folders that hold no image.

    Raises:
        DataError: there is no such folder, it is neither a patient's nor one of patients, or two folders are one patient's.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; name a patient's folder of images, or a folder of such folders")
    own, below = _entries(folder)
    if any(image_paths.is_image_name(name) for name in own):
        if below:
            raise DataError(f"{folder}: holds images and folders; name a patient's folder, or a folder of patients' folders")
        return {reading.shown(folder.resolve().name): own}, []
    found = {name: _entries(place)[0] for name, place in below.items()}
    patients = {name: files for name, files in found.items() if any(map(image_paths.is_image_name, files))}
    if not patients:
        raise DataError(f"{folder}: no {image_paths.EXTENSIONS} file in it or in the folders directly in it")
    if twice := patient_names.told_twice(below[name].name for name in patients):
        raise DataError(f"{folder}: {twice}; make them one folder, or rename one of them")
    return patients, [name for name in found if name not in patients]


def _entries(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The files and the folders that lie in a folder, by name; no folders that are litter."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: image_paths.natural(entry.name))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); correct its permissions") from None
    files: dict[str, Path] = {}
    folders: dict[str, Path] = {}
    for entry in entries:
        if entry.is_dir() and leftovers.litter(entry.name):
            continue
        (folders if entry.is_dir() else files)[reading.shown(entry.name)] = Path(entry.path)
    return files, folders
