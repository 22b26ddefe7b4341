"""The source of params.yaml opened: which of its files are the cohort's, and where each belongs in data/raw.

Read by `ingest`, which copies them, and by `source`, which only asks whether they are still the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from pipeline.cohort import class_folders, download
from pipeline.cohort.pseudonyms import Names
from pipeline.cohort.trees import DamagedError, Folder, NotCopied, Tree
from pipeline.cohort.zip_archive import Archive
from pipeline.common import console, environment, paths
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError, DataError, PipelineError
from pipeline.names import image_paths, leftovers

EMPTY = f"{leftovers.NOT_THERE}: the folder is empty; complete it, and run `dvc repro` again"
_LITTER_NAMED = 6  # kinds of it that are named


@dataclass(frozen=True)
class File:
    """One file of the cohort: where it is in the source, there below its class, and its place, `<class>/<patient>/<image>`.

    `missing` says why there is nothing to copy: it stands for an image, or is a patient's empty folder.
    """

    path: str
    below: str
    place: str
    missing: str = ""


class Digest:
    """Files, bytes and a SHA-256 over all: two cohorts with the same are the same."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()
        self.files = self.bytes = 0

    def of(self, place: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Pass on a file's content, and count it when it has come to its end."""
        own = hashlib.sha256()
        size = 0
        for chunk in chunks:
            own.update(chunk)
            size += len(chunk)
            yield chunk
        self._total.update(os.fsencode(place) + b"\0" + own.digest())
        self.files += 1
        self.bytes += size

    def summary(self) -> dict[str, int | str]:
        """As it stands in data/source.json."""
        return {"files": self.files, "bytes": self.bytes, "sha256": self.sha256}

    @property
    def sha256(self) -> str:
        """Of all files so far, with their places."""
        return self._total.hexdigest()


@contextmanager
def opened(config: Config) -> Iterator[Tree | None]:
    """Where the images come from; None: they are drawn.

    What was downloaded is thrown away when it was read to its end, and when it turns out to be damaged: it would be taken for
    complete for ever. After any other failure it stays, for the next run.
    """
    try:
        yield _source(config)
    except DamagedError:
        if config.ingest.source == "kaggle":
            shutil.rmtree(paths.DOWNLOADS)
        raise
    if config.ingest.source == "kaggle":
        shutil.rmtree(paths.DOWNLOADS)


def _source(config: Config) -> Tree | None:
    match config.ingest.source:
        case "demo":
            return None
        case "folder":
            return _cohort_dir(config)
        case "kaggle":
            return _downloaded(config)


def out_of_reach(config: Config) -> str:
    """Why the source that params.yaml names cannot be looked at here; "" where it can, or needs no look."""
    if config.ingest.source != "folder":
        return ""
    if not os.environ.get("COHORT_DIR", ""):
        return "COHORT_DIR is not set; ingest.source: folder needs the folder, or ZIP archive, that holds the class folders"
    try:
        place = environment.place("COHORT_DIR")
    except ConfigError as error:
        return str(error)
    if not place.exists():
        return f"COHORT_DIR: {place} is neither a folder nor a ZIP archive"
    if place.is_dir() and not any(place.iterdir()):
        return f"COHORT_DIR: {place} is empty; is its disk mounted?"
    return ""


def _cohort_dir(config: Config) -> Tree:
    if reason := out_of_reach(config):
        raise ConfigError(reason)
    place = environment.place("COHORT_DIR")
    if paths.RAW.resolve().is_relative_to(place.resolve()) or place.resolve().is_relative_to(paths.RAW.resolve()):
        raise ConfigError(f"COHORT_DIR: {place} and {paths.RAW} lie in each other; name the folder of the originals")
    if place.is_file():
        return Archive(place, config.ingest.archive)
    if not place.is_dir():
        raise ConfigError(f"COHORT_DIR: {place} is neither a folder nor a ZIP archive")
    return Folder(place)


def _downloaded(config: Config) -> Tree:
    dataset, version = config.ingest.kaggle.dataset, config.ingest.kaggle.version
    archive = download.fetch(dataset, version, paths.DOWNLOADS / f"{dataset.replace('/', '-')}-{version}")
    return Archive(archive, config.ingest.archive)


@contextmanager
def hiding(names: Names) -> Iterator[None]:
    """What goes wrong within is told without the names that are hidden."""
    try:
        yield
    except PipelineError as error:
        raise type(error)(names.hide(str(error))) from None


def cohort_files(config: Config, source: Tree, names: Names) -> tuple[list[File], str]:
    """The cohort's files in order of their places, and one of the class folders.

    Raises:
        DataError: the source holds no such cohort, or two files for one place.
    """
    of_classes = class_folders.find(config, source)
    for _, folder in of_classes:
        own = [child.rpartition("/")[2] for child in source.children(folder)[0]]
        names.require_distinct([name for name in own if not leftovers.litter(name)])  # before anything can go wrong within
    files: list[File] = []
    for name, folder in of_classes:
        files += _below(source, name, folder, names)
    if all(file.missing for file in files):
        raise DataError(f"{source.where('')}: the class folders hold no images")
    files.sort(key=lambda file: [image_paths.natural(part) for part in file.place.split("/")])
    for file, other in pairwise(files):
        if file.place == other.place:
            raise DataError(f"{source.where(other.path)}: a second file for {file.place}; rename one of them")
    return files, of_classes[0][1]


def _below(source: Tree, class_name: str, folder: str, names: Names) -> Iterator[File]:
    """What lies below a class folder; litter, and what stands for an image that is there, is written down in the source."""
    found = [path.removeprefix(f"{folder}/") for path in source.files(folder)]
    images = {below for below in found if image_paths.is_image_name(below)}
    patients_met = set()
    for below in found:
        kind, stand_in = leftovers.litter(below), leftovers.stand_in(below)
        if stand_in and stand_in.image in images:
            kind = "unfinished copies of what is there"
        if kind:
            source.litter[f"{folder}/{below}"] = kind
            continue
        images |= {stand_in.image} if stand_in else set()  # one image that is missing, however much stands for it
        patients_met.add(below.split("/")[0])
        missing = stand_in.reason if stand_in else ""
        yield File(f"{folder}/{below}", below, f"{class_name}/{names.path(below)}", missing)
    for child in source.children(folder)[0]:
        name = child.rpartition("/")[2]
        if name not in patients_met and not leftovers.litter(name):
            yield File(child, f"{name}/", f"{class_name}/{names.patient(name)}/", EMPTY)


def say_litter(source: Tree) -> None:
    """One line on what was left out without being looked at, and a warning where it may have been a patient."""
    hidden = [place for place, kind in source.litter.items() if kind == leftovers.HIDDEN]
    if images := sum(image_paths.is_image_name(place.rpartition("/")[2]) for place in hidden):
        console.warn(
            f"{source.where('')}: {images:,} images lie in hidden folders, left out; are they the cohort's, rename the folders"
        )
    if kinds := Counter(source.litter.values()):
        named = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(_LITTER_NAMED))
        more = " ..." if len(kinds) > _LITTER_NAMED else ""
        console.say(f"litter of file browsers, storage and sync tools, left out: {len(source.litter):,} ({named}{more})")


def chunks(source: Tree, file: File, names: Names) -> Iterator[bytes]:
    """A file's content.

    Raises:
        NotCopied: why this one file cannot be had.
    """
    if file.missing:
        raise NotCopied(file.missing)
    try:
        file.place.encode()
    except UnicodeEncodeError:
        raise NotCopied("its path is not UTF-8; rename it") from None  # DVC could not hold it
    yield from names.checked(file.below, source.chunks(file.path))


def named(config: Config) -> dict[str, str | int]:
    """What params.yaml says of where the cohort is from, as it stands in data/source.json."""
    origin: dict[str, str | int] = {"source": config.ingest.source, "cohort": config.ingest.cohort}
    if config.ingest.source == "kaggle":
        origin |= {"dataset": config.ingest.kaggle.dataset, "version": config.ingest.kaggle.version}
    return origin
