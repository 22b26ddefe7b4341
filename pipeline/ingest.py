"""Bring the cohort's images, bytes untouched, to data/raw/<class>/<patient>/<image>, and write down what came.

Everything is gathered in a hidden folder beside data/raw and moved there in one step: after a failure there is no
half-filled data/raw.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from pipeline import console, demo_cohort, paths
from pipeline.config import Config
from pipeline.errors import ConfigError, DataError

PATIENT_COLUMNS = ["patient", "class", "sex", "age"]
TRUTH_COLUMNS = ["path", "cell_type", "diseased"]
_DEEPEST_COHORT_LEVEL = 3  # a cohort may lie below a folder such as `data/`


def run(config: Config) -> None:
    """Fill data/raw, data/patients.csv, data/truth.parquet (rows for the demo only) and data/source.json."""
    with _gathered(paths.RAW) as incoming:
        if config.ingest.source == "demo":
            patients, truth = _draw_demo(config, incoming)
        else:
            patients, truth = _copy_folder(config, _cohort_folder(), incoming)
        summary = _summary(incoming)
    patients.to_csv(paths.fresh(paths.PATIENTS), index=False)
    truth.to_parquet(paths.fresh(paths.TRUTH), index=False)
    paths.fresh(paths.SOURCE).write_text(
        json.dumps({"source": config.ingest.source, "cohort": config.ingest.cohort, **asdict(summary)}, indent=2) + "\n"
    )
    console.say(
        f"ingest: {summary.files:,} files, {summary.bytes / 1e6:,.1f} MB, {len(patients)} patients "
        f"from source {config.ingest.source} (sha256 {summary.sha256[:12]})"
    )


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


def _draw_demo(config: Config, target: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    demo = config.ingest.demo
    try:
        patients = demo_cohort.draw_patients(
            config.control,
            {name: demo.patients[name] for name in config.classes},
            (demo.images_per_patient[0], demo.images_per_patient[1]),
            (demo.diseased_share[0], demo.diseased_share[1]),
            config.seed,
        )
    except ValueError as error:
        raise ConfigError(f"subtypes: {error}; for another cohort set ingest.source: folder") from None
    truth = []
    for patient in console.track(patients, len(patients), "drawing the demo cohort's patients"):
        folder = target / patient.class_name / patient.patient
        folder.mkdir(parents=True)
        for cell in demo_cohort.draw_cells(patient, config.control, config.seed):
            # Uncompressed, as the real cohort is; compressed bytes would differ between builds of zlib.
            buffer = io.BytesIO()
            Image.fromarray(cell.pixels).save(buffer, format="TIFF")
            (folder / cell.image).write_bytes(buffer.getvalue())
            truth.append((f"{patient.class_name}/{patient.patient}/{cell.image}", cell.cell_type, cell.diseased))
    table = pd.DataFrame([(p.patient, p.class_name, p.sex, p.age) for p in patients], columns=pd.Index(PATIENT_COLUMNS))
    return table, pd.DataFrame(truth, columns=pd.Index(TRUTH_COLUMNS))


def _cohort_folder() -> Path:
    named = os.environ.get("COHORT_DIR", "")
    if not named:
        raise ConfigError("COHORT_DIR is not set; ingest.source: folder needs it: the folder that holds the class folders")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"COHORT_DIR: {folder} is not a folder")
    if paths.RAW.resolve().is_relative_to(folder.resolve()) or folder.resolve().is_relative_to(paths.RAW.resolve()):
        raise ConfigError(f"COHORT_DIR: {folder} and {paths.RAW} lie in each other; name the folder of the originals")
    return folder


def _copy_folder(config: Config, source: Path, target: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    class_folders = _find_class_folders(config, source)
    files = [(name, folder, path) for name, folder in class_folders for path in _files_below(folder)]
    if not files:
        raise DataError(f"{source}: the class folders hold no files")
    for class_name, folder, path in console.track(files, len(files), "copying images"):
        copy = target / class_name / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if copy.exists():
            raise DataError(f"{path}: a second file for {copy.relative_to(target)}; rename one of them")
        try:
            shutil.copyfile(path, copy)  # never a hard link: DVC makes its own files read-only
        except OSError as error:
            raise DataError(f"{path}: cannot be copied ({error.strerror}); mend it or take it out of the source") from None
    patients = {(class_name, _shown(path.relative_to(folder).parts[0])) for class_name, folder, path in files}
    rows = [(patient, class_name, "", "") for class_name, patient in sorted(patients)]
    return pd.DataFrame(rows, columns=pd.Index(PATIENT_COLUMNS)), pd.DataFrame(columns=pd.Index(TRUTH_COLUMNS))


def _files_below(folder: Path) -> list[Path]:
    """Every file, whatever it is and however deep: what cannot be used is for `validate` to say."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); mend it or take it out of the source")

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        for name in sorted(folders):
            if (Path(parent) / name).is_symlink():
                raise DataError(f"{Path(parent) / name}: a link to a folder; put the folder itself there, or take the link out")
        found += [Path(parent) / name for name in names]
    return sorted(found)


def _shown(name: str) -> str:
    """A file name as text, also when its bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); mend it or take it out of the source") from None


def _find_class_folders(config: Config, source: Path) -> list[tuple[str, Path]]:
    """The folders named like a class, all beside each other, at the shallowest level that has any."""

    def class_of(folder: Path) -> str:
        return config.ingest.class_folders.get(folder.name, folder.name)

    level = [source]
    for _ in range(_DEEPEST_COHORT_LEVEL + 1):
        parents = [parent for parent in level if any(class_of(child) in config.classes for child in _subfolders(parent))]
        if len(parents) > 1:
            raise DataError(f"{parents[0]} and {parents[1]} both hold class folders; set COHORT_DIR to one of them")
        if parents:
            return _class_folders(config, {folder: class_of(folder) for folder in _subfolders(parents[0])}, parents[0])
        level = [child for parent in level for child in _subfolders(parent)]
    raise DataError(f"{source}: no folder named like a class ({', '.join(config.classes)}); see ingest.class_folders")


def _class_folders(config: Config, found: dict[Path, str], parent: Path) -> list[tuple[str, Path]]:
    missing = [name for name in config.classes if name not in found.values()]
    if missing:
        raise DataError(
            f"{parent}: no folder for class {missing[0]}; found {', '.join(folder.name for folder in found)}. "
            "Name it in ingest.class_folders, or take the class out of subtypes"
        )
    for folder, name in found.items():
        if name not in config.classes:
            console.warn(f"{folder}: not a class of params.yaml, left out")
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
