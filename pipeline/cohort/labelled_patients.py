"""Another cohort's patients, as they lie in class folders of any names: whose images are whose, and of which class.

`classes` says which folder is which class; a folder that it does not name is the class of its own name, and one that it leaves
blank is left out. Nothing of an image is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.cohort import delivered_metadata, first_look, patients
from pipeline.cohort.trees import Folder, NotCopied, Tree
from pipeline.cohort.zip_archive import Archive
from pipeline.common.errors import DataError
from pipeline.common.params_data import ArchiveLimits
from pipeline.images import reading
from pipeline.names import image_paths, patient_names


@dataclass(frozen=True)
class Delivered:
    """Patients with their class, their images as places in the tree by file name, and what the metadata says of them."""

    class_of: dict[str, str]
    images: dict[str, dict[str, str]]
    left_out: list[str]  # folders
    metadata: pd.DataFrame | None


def opened(place: Path, limits: ArchiveLimits) -> Tree:
    """A folder, or a ZIP archive that is judged before anything of it is unpacked.

    Raises:
        DataError: it is neither.
    """
    if not place.exists():
        raise DataError(f"{place}: not there; name the folder, or ZIP archive, that holds the class folders")
    return Folder(place) if place.is_dir() else Archive(place, limits)


def pairs(text: str) -> dict[str, str]:
    """Folder -> class, as written: "healthy=control,AML_NPM1=NPM1"; a folder without a class is left out: "unsorted=".

    Raises:
        DataError: it is written otherwise, or names a folder twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        folder, sign, name = (piece.strip() for piece in part.partition("="))
        if not (folder and sign):
            raise DataError(f'--classes: {part!r} is not FOLDER=CLASS; write "healthy=control,AML_NPM1=NPM1"')
        if "/" in name:
            raise DataError(f"--classes: {name!r} holds a slash, which no class's name does; write it otherwise")
        if folder in found:
            raise DataError(f"--classes: names the folder {folder} twice; keep one of them")
        found[folder] = name
    return found


def find(source: Tree, classes: Mapping[str, str], needed: tuple[str, str]) -> Delivered:
    """Everybody who has an image; `needed` are the two classes without which nothing can be measured.

    Raises:
        DataError: there are no such folders, one of `classes` is not there, or a patient is in two.
    """
    looked = first_look.classes(source)
    there = {reading.shown(one.name): one for one in looked}
    shown = ", ".join(there)
    if strangers := [name for name in classes if name not in there]:
        raise DataError(f"--classes: there is no folder {strangers[0]} with patients in it; there are: {shown}")
    class_of: dict[str, str] = {}
    images: dict[str, dict[str, str]] = {}
    for folder, one in there.items():
        name = classes.get(folder, folder)
        for own, places in one.patients.items() if name else []:
            patient = reading.shown(own)
            if patient in class_of:
                raise DataError(
                    f"{source.where(one.folder)}/{patient}: is in the folder of {class_of[patient]} too; a patient has one "
                    "class: keep the right one, or give two persons two names"
                )
            class_of[patient] = name
            images[patient] = {reading.shown(place.rpartition("/")[2]): place for place in places}
    for name in needed:
        if name not in class_of.values():
            raise DataError(
                f"{source.where('')}: no folder is class {name}; there are: {shown}. Say which is: "
                f'--classes "FOLDER={needed[0]},FOLDER={needed[1]}"'
            )
    if twice := patient_names.told_twice(class_of):
        raise DataError(f"{source.where('')}: {twice}; make them one folder, or rename one")
    return Delivered(class_of, images, [f for f in there if classes.get(f) == ""], _metadata(source, looked[0].folder))


def fetched(source: Tree, delivered: Delivered, folder: Path) -> dict[str, dict[str, Path]]:
    """Every patient's image files: those that lie in a folder where they are, those of an archive unpacked into `folder`."""
    if isinstance(source, Folder):
        return {
            patient: {name: Path(source.where(place)) for name, place in files.items()}
            for patient, files in delivered.images.items()
        }
    found: dict[str, dict[str, Path]] = {}
    for number, (patient, files) in enumerate(delivered.images.items()):
        (own := folder / str(number)).mkdir()
        found[patient] = {}
        for at, (name, place) in enumerate(sorted(files.items(), key=lambda item: image_paths.natural(item[0]))):
            file = own / f"{at}"
            with file.open("wb") as stream:
                stream.writelines(source.chunks(place))
            found[patient][name] = file
    return found


def _metadata(source: Tree, class_folder: str) -> pd.DataFrame | None:
    """What lies beside the class folders or above them; COHORT_METADATA is of another cohort."""
    found = delivered_metadata.beside(source, class_folder)
    if found is None:
        return None
    name = source.where(found)
    try:
        return patients.read(b"".join(source.chunks(found)), name)
    except NotCopied as reason:
        raise DataError(f"{name}: {reason}; mend it, or take it away") from None
