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
    paths.fresh(paths.SOURCE).write_text(json.dumps({"source": config.ingest.source, **asdict(summary)}, indent=2) + "\n")
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
    files = sorted(
        (class_name, path)
        for class_name, folder in class_folders
        for path in folder.glob("*/*")
        if path.is_file() and not path.parent.is_symlink()
    )
    if not files:
        raise DataError(f"{source}: the class folders hold no <patient>/<image> files")
    for class_name, path in console.track(files, len(files), "copying images"):
        copy = target / class_name / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if copy.exists():
            raise DataError(f"{path}: a second file for {class_name}/{path.parent.name}/{path.name}; rename one of them")
        try:
            shutil.copyfile(path, copy)  # never a hard link: DVC makes its own files read-only
        except OSError as error:
            raise DataError(f"{path}: cannot be copied ({error.strerror}); mend it or take it out of the source") from None
    patients = sorted({(path.parent.name, class_name, "", "") for class_name, path in files}, key=lambda row: row[1::-1])
    return pd.DataFrame(patients, columns=pd.Index(PATIENT_COLUMNS)), pd.DataFrame(columns=pd.Index(TRUTH_COLUMNS))


def _find_class_folders(config: Config, source: Path) -> list[tuple[str, Path]]:
    """The folders named like a class, all beside each other, at the shallowest level that has any."""
    levels = [source]
    for _ in range(_DEEPEST_COHORT_LEVEL + 1):
        for parent in levels:
            found = [
                (config.ingest.class_folders.get(folder.name, folder.name), folder)
                for folder in sorted(parent.iterdir())
                if folder.is_dir()
            ]
            known = [(name, folder) for name, folder in found if name in config.classes]
            if known:
                missing = sorted(set(config.classes) - {name for name, _ in known})
                if missing:
                    raise DataError(
                        f"{parent}: no folder for class {missing[0]}; found {', '.join(f.name for _, f in found)}. "
                        "Name it in ingest.class_folders, or take the class out of subtypes"
                    )
                for _, folder in found:
                    if folder not in [used for _, used in known]:
                        console.warn(f"{folder}: not a class of params.yaml, left out")
                return known
        levels = [child for parent in levels for child in sorted(parent.iterdir()) if child.is_dir()]
    raise DataError(f"{source}: no folder named like a class ({', '.join(config.classes)}); see ingest.class_folders")


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
