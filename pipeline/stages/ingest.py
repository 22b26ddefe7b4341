"""Bring the cohort's images, bytes untouched, to data/raw/<class>/<patient>/<image>, and write down what came.

Everything is gathered in a hidden folder beside data/raw and moved there in one step: after a failure there is no
half-filled data/raw. What can be known before the first byte is copied (names, sizes, room, metadata) is checked before.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from pipeline.cohort import delivered_metadata, delivery, patients, pseudonyms, source_digest
from pipeline.cohort.pseudonyms import Names
from pipeline.cohort.trees import NotCopied, Tree
from pipeline.common import console, parallel, paths
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError, DataError
from pipeline.common.files import folder_in_one_step
from pipeline.demo import cohort
from pipeline.names import image_paths, patient_names

TRUTH_COLUMNS = ["path", "cell_type", "kind", "diseased"]
NOT_COPIED_COLUMNS = ["path", "reason"]
_SPARE_BYTES = 64 * 2**20  # for what the copies need beside their content
_TAKEN_FOR_ONE = (
    f"the file system of {paths.RAW} takes it for one whose name is spelled in another way; make them one in the source, "
    "or rename one"
)
_NAMED = 5  # patients listed in a warning
_IMAGES_A_DRAWN_ONE = 10  # that can be read while one is drawn


def run(config: Config) -> None:
    """Fill data/raw, and the tables beside it: patients, what could not be copied, the truth (of the demo only), the source."""
    digest, names = delivery.Digest(), pseudonyms.of(config)
    with delivery.hiding(names), delivery.opened(config) as source, folder_in_one_step(paths.RAW) as incoming:
        taken = source_digest.of(config, source, names)
        came = _draw_demo(config, incoming, digest, names) if source is None else _copy(config, source, incoming, digest, names)
        if source and source_digest.of(config, source, names) != taken:
            raise DataError(f"{source.where('')}: changed while it was copied; run it again when nobody writes there")
        names.write_table()
        _write_tables(config, came, digest, taken)
    source_digest.write_down(taken)  # it may have been asked before, or not at all: what is recorded is what was taken in
    console.say(
        f"ingest: {digest.files:,} files, {digest.bytes / 1e6:,.1f} MB, {len(came.patients)} patients "
        f"from source {config.ingest.source} (sha256 {digest.sha256[:12]})"
    )


@dataclass(frozen=True)
class Came:
    """The tables that go with the images, and the SHA-256 of the metadata file ("" without one)."""

    patients: pd.DataFrame
    truth: pd.DataFrame
    not_copied: pd.DataFrame
    metadata: str


def _write_tables(config: Config, came: Came, digest: delivery.Digest, taken: source_digest.State) -> None:
    came.patients.to_csv(paths.fresh(paths.PATIENTS), index=False)
    came.not_copied.to_csv(paths.fresh(paths.NOT_COPIED), index=False)
    came.truth.to_parquet(paths.fresh(paths.TRUTH), index=False)
    origin = {**delivery.named(config), **digest.summary(), "metadata": came.metadata}
    if "sha256" in taken:
        origin["delivery"] = taken["sha256"]
    paths.fresh(paths.SOURCE).write_text(json.dumps(origin, indent=2) + "\n")


def _draw_demo(config: Config, target: Path, digest: delivery.Digest, names: Names) -> Came:
    demo = config.ingest.demo
    try:
        people = cohort.draw_patients(
            config.control,
            {name: demo.patients[name] for name in config.classes},
            (demo.images_per_patient[0], demo.images_per_patient[1]),
            (demo.diseased_share[0], demo.diseased_share[1]),
            demo.seed,
            (demo.unusable_share[0], demo.unusable_share[1]),
        )
    except ValueError as error:
        raise ConfigError(f"subtypes: {error}; for another cohort set ingest.source: folder") from None
    truth = []
    work, worth = partial(_drawn, control=config.control, seed=demo.seed), _IMAGES_A_DRAWN_ONE * demo.images_per_patient[1]
    with closing(parallel.each(work, people, worth)) as drawn:
        tracked = console.track(drawn, len(people), "drawing the demo cohort's patients")
        for person, cells in zip(people, tracked, strict=True):
            for cell in cells:
                # Uncompressed, as the real cohort is; compressed bytes would differ between builds of zlib.
                buffer = io.BytesIO()
                Image.fromarray(cell.pixels).save(buffer, format="TIFF")
                place = f"{person.class_name}/{names.path(f'{person.patient}/{cell.image}')}"
                _copy_file(digest.of(place, iter([buffer.getvalue()])), target / place)
                truth.append((place, cell.cell_type, cell.kind, cell.diseased))
    called = [names.patient(p.patient) for p in people]
    known = pd.DataFrame({"patient": called, "sex": [p.sex for p in people], "age": [str(p.age) for p in people]})
    found = zip((p.class_name for p in people), called, strict=True)
    table = patients.table(found, known.set_index("patient"))
    return Came(table, _table(truth, TRUTH_COLUMNS), _table([], NOT_COPIED_COLUMNS), "")


def _drawn(person: cohort.Patient, control: str, seed: int) -> list[cohort.Cell]:
    return list(cohort.draw_cells(person, control, seed))


def _copy(config: Config, source: Tree, target: Path, digest: delivery.Digest, names: Names) -> Came:
    files, class_folder = delivery.cohort_files(config, source, names)
    metadata, metadata_sha256 = delivered_metadata.read(config, source, class_folder, names)
    delivery.say_litter(source)
    _require_room(target, sum(source.size(file.path) for file in files if not file.missing))
    copied, not_copied = [], []
    for file in console.track(files, len(files), "copying images"):
        try:
            _copy_file(digest.of(file.place, delivery.chunks(source, file, names)), target / file.place)
            copied.append(file.place)
        except NotCopied as reason:
            not_copied.append((_shown(file.place), str(reason)))
    _require_apart(copied, target)
    if not_copied:
        console.warn(f"{len(not_copied)} files could not be copied, first {not_copied[0][0]}: {not_copied[0][1]}")
    places = (image_paths.place(_shown(file.place)) for file in files)
    found = {(name, patient) for name, patient, _ in places if patient}
    _compare(found, metadata)
    tables = (patients.table(found, metadata), _table([], TRUTH_COLUMNS), _table(not_copied, NOT_COPIED_COLUMNS))
    return Came(*tables, metadata_sha256)


def _copy_file(chunks: Iterator[bytes], target: Path) -> None:
    """A copy of its own, never a hard link: DVC makes its own files read-only."""
    first = next(chunks, b"")  # before anything is made: the file may not be had
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        stream = target.open("xb")
    except FileExistsError:
        raise DataError(f"{'/'.join(target.parts[-3:])}: {_TAKEN_FOR_ONE}") from None
    with stream:
        stream.write(first)
        stream.writelines(chunks)


def _require_apart(copied: Iterable[str], target: Path) -> None:
    """Refuse that two patients' folders became one, on a file system that ignores case or the form of accents."""
    of_class: dict[str, set[str]] = {}
    for class_name, patient, _ in map(image_paths.place, copied):
        of_class.setdefault(class_name, set()).add(patient)
    for class_name, patients_copied in of_class.items():
        for who, spellings in patient_names.spelled_apart(patients_copied).items():
            made = [entry for entry in os.scandir(target / class_name) if patient_names.identity(entry.name) == who]
            if len(made) < len(spellings):
                raise DataError(f"{class_name}: {patient_names.shown(*spellings)}: {_TAKEN_FOR_ONE}")


def _table(rows: Sequence[tuple[object, ...]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _compare(found: set[tuple[str, str]], metadata: pd.DataFrame | None) -> None:
    if metadata is None:
        return
    here = {patient_names.identity(patient): patient for _, patient in found}
    listed = {patient_names.identity(patient): patient for patient in metadata.index}
    for these, others, what in (
        (here, listed, "in the cohort but not in the metadata"),
        (listed, here, "in the metadata alone"),
    ):
        if names := sorted(name for who, name in these.items() if who not in others):
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            console.warn(f"{len(names)} patients are {what}: {', '.join(map(patient_names.shown, names[:_NAMED]))}{more}")
    alike = {patient_names.loosely(name): name for who, name in listed.items() if who not in here}
    if known := sorted(name for who, name in here.items() if who not in listed and patient_names.loosely(name) in alike):
        other = patient_names.shown(alike[patient_names.loosely(known[0])])
        console.warn(
            f"{patient_names.shown(known[0])} may be {other} of the metadata ({len(known)} such): write the name there as the "
            "folder has it; a spreadsheet takes leading zeros away unless the column is text"
        )


def _require_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if needed + _SPARE_BYTES > free:
        raise DataError(f"{paths.RAW}: the images need {needed / 1e9:,.2f} GB, {free / 1e9:,.2f} GB are free; make room")


def _shown(name: str) -> str:
    """A file name as text, also when its bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
