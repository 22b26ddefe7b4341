"""Bring the cohort's images, bytes untouched, to data/raw/<class>/<patient>/<image>, and write down what came.

Everything is gathered in a hidden folder beside data/raw and moved there in one step: after a failure there is no
half-filled data/raw. What can be known before the first byte is copied (names, sizes, room, metadata) is checked before.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from pipeline import console, demo_cohort, download, paths, patients
from pipeline.config import Config
from pipeline.errors import ConfigError, DataError
from pipeline.sources import Archive, Folder, NotCopied, Tree

TRUTH_COLUMNS = ["path", "cell_type", "diseased"]
NOT_COPIED_COLUMNS = ["path", "reason"]
_DEEPEST_COHORT_LEVEL = 3  # a cohort may lie below a folder such as `data/`
_SPARE_BYTES = 64 * 2**20  # for what the copies need beside their content
_NAMED = 5  # patients listed in a warning


def run(config: Config) -> None:
    """Fill data/raw, and the tables beside it: patients, what could not be copied, the truth (of the demo only), the source."""
    source = _source(config)
    with _gathered(paths.RAW) as incoming:
        came = _draw_demo(config, incoming) if source is None else _copy(config, source, incoming)
        summary = _summary(incoming)
    came.patients.to_csv(paths.fresh(paths.PATIENTS), index=False)
    came.not_copied.to_csv(paths.fresh(paths.NOT_COPIED), index=False)
    came.truth.to_parquet(paths.fresh(paths.TRUTH), index=False)
    origin = {"source": config.ingest.source, "cohort": config.ingest.cohort, **asdict(summary), "metadata": came.metadata}
    paths.fresh(paths.SOURCE).write_text(json.dumps(origin, indent=2) + "\n")
    if config.ingest.source == "kaggle":
        shutil.rmtree(paths.DOWNLOADS)  # all of it is in data/raw now
    console.say(
        f"ingest: {summary.files:,} files, {summary.bytes / 1e6:,.1f} MB, {len(came.patients)} patients "
        f"from source {config.ingest.source} (sha256 {summary.sha256[:12]})"
    )


@dataclass(frozen=True)
class Came:
    """The tables that go with the images, and the SHA-256 of the metadata file ("" without one)."""

    patients: pd.DataFrame
    truth: pd.DataFrame
    not_copied: pd.DataFrame
    metadata: str


@contextmanager
def _gathered(target: Path) -> Iterator[Path]:
    incoming = target.with_name(f".{target.name}-incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    try:
        yield incoming
        shutil.rmtree(target, ignore_errors=True)
        incoming.rename(target)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _draw_demo(config: Config, target: Path) -> Came:
    demo = config.ingest.demo
    try:
        people = demo_cohort.draw_patients(
            config.control,
            {name: demo.patients[name] for name in config.classes},
            (demo.images_per_patient[0], demo.images_per_patient[1]),
            (demo.diseased_share[0], demo.diseased_share[1]),
            demo.seed,
        )
    except ValueError as error:
        raise ConfigError(f"subtypes: {error}; for another cohort set ingest.source: folder") from None
    truth = []
    for person in console.track(people, len(people), "drawing the demo cohort's patients"):
        folder = target / person.class_name / person.patient
        folder.mkdir(parents=True)
        for cell in demo_cohort.draw_cells(person, config.control, demo.seed):
            # Uncompressed, as the real cohort is; compressed bytes would differ between builds of zlib.
            buffer = io.BytesIO()
            Image.fromarray(cell.pixels).save(buffer, format="TIFF")
            (folder / cell.image).write_bytes(buffer.getvalue())
            truth.append((f"{person.class_name}/{person.patient}/{cell.image}", cell.cell_type, cell.diseased))
    known = pd.DataFrame(
        {"patient": [p.patient for p in people], "sex": [p.sex for p in people], "age": [str(p.age) for p in people]}
    )
    table = patients.table(((p.class_name, p.patient) for p in people), known.set_index("patient"))
    return Came(table, _table(truth, TRUTH_COLUMNS), _table([], NOT_COPIED_COLUMNS), "")


def _source(config: Config) -> Tree | None:
    """Where the images come from; None: they are drawn."""
    match config.ingest.source:
        case "demo":
            return None
        case "folder":
            return _cohort_dir(config)
        case "kaggle":
            return _downloaded(config)


def _cohort_dir(config: Config) -> Tree:
    named = os.environ.get("COHORT_DIR", "")
    if not named:
        raise ConfigError(
            "COHORT_DIR is not set; ingest.source: folder needs the folder, or ZIP archive, that holds the class folders"
        )
    place = Path(named).expanduser()
    if place.is_file():
        return Archive(place, config.ingest.archive)
    if not place.is_dir():
        raise ConfigError(f"COHORT_DIR: {place} is neither a folder nor a ZIP archive")
    if paths.RAW.resolve().is_relative_to(place.resolve()) or place.resolve().is_relative_to(paths.RAW.resolve()):
        raise ConfigError(f"COHORT_DIR: {place} and {paths.RAW} lie in each other; name the folder of the originals")
    return Folder(place)


def _downloaded(config: Config) -> Tree:
    """Kaggle's archive; one that is damaged is thrown away, or it would be taken for complete for ever."""
    archive = download.fetch(config.ingest.kaggle.dataset, config.ingest.kaggle.version, paths.DOWNLOADS)
    try:
        return Archive(archive, config.ingest.archive)
    except DataError:
        archive.unlink()
        raise


def _copy(config: Config, source: Tree, target: Path) -> Came:
    class_folders = _find_class_folders(config, source)
    files = [(name, folder, path) for name, folder in class_folders for path in source.files(folder)]
    if not files:
        raise DataError(f"{source.where('')}: the class folders hold no files")
    metadata, digest = _metadata(source, class_folders[0][1])
    _require_room(target, sum(source.size(path) for _, _, path in files))
    not_copied = []
    for class_name, folder, path in console.track(files, len(files), "copying images"):
        place = f"{class_name}/{path.removeprefix(f'{folder}/')}"
        if (target / place).exists():
            raise DataError(f"{source.where(path)}: a second file for {place}; rename one of them")
        try:
            _copy_file(source, path, target / place)
        except NotCopied as reason:
            not_copied.append((_shown(place), str(reason)))
    if not_copied:
        console.warn(f"{len(not_copied)} files could not be copied, first {not_copied[0][0]}: {not_copied[0][1]}")
    found = {(class_name, _shown(path.removeprefix(f"{folder}/").split("/")[0])) for class_name, folder, path in files}
    _compare(found, metadata)
    tables = (patients.table(found, metadata), _table([], TRUTH_COLUMNS), _table(not_copied, NOT_COPIED_COLUMNS))
    return Came(*tables, digest)


def _copy_file(source: Tree, path: str, target: Path) -> None:
    if not _is_utf8(path):
        raise NotCopied("its path is not UTF-8; rename it")  # DVC could not hold it
    target.parent.mkdir(parents=True, exist_ok=True)
    source.copy(path, target)


def _table(rows: Sequence[tuple[object, ...]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _metadata(source: Tree, class_folder: str) -> tuple[pd.DataFrame | None, str]:
    """The metadata that COHORT_METADATA names, or that lies beside the class folders or above them, and its SHA-256."""
    if named := os.environ.get("COHORT_METADATA", ""):
        file = Path(named).expanduser()
        if not file.is_file():
            raise ConfigError(f"COHORT_METADATA: {file} is not a file")
        name, content = str(file), file.read_bytes()
    else:
        found: list[str] = []
        at = class_folder
        while at and not found:
            at = at.rpartition("/")[0]
            found = [path for path in source.children(at)[1] if patients.is_metadata_name(path.rpartition("/")[2])]
        if not found:
            return None, ""
        if len(found) > 1:
            raise DataError(f"{source.where(found[0])} and {source.where(found[1])}: which is it? Name it in COHORT_METADATA")
        name, content = source.where(found[0]), source.read(found[0])
    table = patients.read(content, name)
    console.say(f"metadata: {len(table)} patients in {name}")
    return table, hashlib.sha256(content).hexdigest()


def _compare(found: set[tuple[str, str]], metadata: pd.DataFrame | None) -> None:
    if metadata is None:
        return
    here, listed = {patient for _, patient in found}, set(metadata.index)
    for names, what in ((here - listed, "in the cohort but not in the metadata"), (listed - here, "in the metadata alone")):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            console.warn(f"{len(names)} patients are {what}: {', '.join(sorted(names)[:_NAMED])}{more}")


def _require_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if needed + _SPARE_BYTES > free:
        raise DataError(f"{paths.RAW}: the images need {needed / 1e9:,.2f} GB, {free / 1e9:,.2f} GB are free; make room")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    """A file name as text, also when its bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _find_class_folders(config: Config, source: Tree) -> list[tuple[str, str]]:
    """The folders named like a class, all beside each other, at the shallowest level that has any."""

    def class_of(folder: str) -> str:
        name = folder.rpartition("/")[2]
        return config.ingest.class_folders.get(name, name)

    level = [""]
    for _ in range(_DEEPEST_COHORT_LEVEL + 1):
        below = {parent: source.children(parent)[0] for parent in level}
        parents = [parent for parent, folders in below.items() if any(class_of(child) in config.classes for child in folders)]
        if len(parents) > 1:
            raise DataError(
                f"{source.where(parents[0])} and {source.where(parents[1])} both hold class folders; "
                "keep one of them, or set COHORT_DIR to one"
            )
        if parents:
            return _class_folders(config, source, {folder: class_of(folder) for folder in below[parents[0]]}, parents[0])
        level = [child for folders in below.values() for child in folders]
    raise DataError(f"{source.where('')}: no folder named like a class ({', '.join(config.classes)}); see ingest.class_folders")


def _class_folders(config: Config, source: Tree, found: dict[str, str], parent: str) -> list[tuple[str, str]]:
    missing = [name for name in config.classes if name not in found.values()]
    if missing:
        raise DataError(
            f"{source.where(parent)}: no folder for class {missing[0]}; found "
            f"{', '.join(folder.rpartition('/')[2] for folder in found)}. "
            "Name it in ingest.class_folders, or take the class out of subtypes"
        )
    for folder, name in found.items():
        if name not in config.classes:
            console.warn(f"{source.where(folder)}: not a class of params.yaml, left out")
    return [(name, folder) for folder, name in found.items() if name in config.classes]


@dataclass(frozen=True)
class Summary:
    """What came: two cohorts with the same `sha256` are the same."""

    files: int
    bytes: int
    sha256: str


def _summary(folder: Path) -> Summary:
    digest = hashlib.sha256()
    files = size = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + hashlib.sha256(content).digest())
        files += 1
        size += len(content)
    return Summary(files, size, digest.hexdigest())
