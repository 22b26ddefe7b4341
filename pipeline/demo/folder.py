"""A drawn cohort as a hospital would send it: a folder a class, metadata.csv (sex, age), truth.csv (what each image shows)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from pipeline.common import console, files, parallel
from pipeline.common.errors import DataError
from pipeline.demo import cohort
from pipeline.demo.hospitals import HOSPITALS

CONTROL = "control"
_IMAGES, _DISEASED, _UNUSABLE = (10, 28), (0.15, 0.5), (0.15, 0.35)  # as params.yaml's ingest.demo
_IMAGES_A_DRAWN_ONE = 10  # that can be read while one is drawn


def draw(folder: Path, hospital: str, counts: Mapping[str, int], seed: int) -> None:
    """Fill `folder`, which must not be there yet.

    Raises:
        DataError: it is, or nobody of such a class can be drawn.
    """
    if folder.exists():
        raise DataError(f"{folder}: is there already; name a folder that is not")
    try:
        people = cohort.draw_patients(CONTROL, counts, _IMAGES, _DISEASED, seed, _UNUSABLE, HOSPITALS[hospital])
    except ValueError as error:
        raise DataError(f"--patients: {error}") from None
    truth = []
    work = partial(_drawn, hospital=hospital, seed=seed)
    with (
        files.folder_in_one_step(folder) as unfinished,
        closing(parallel.each(work, people, _IMAGES_A_DRAWN_ONE * _IMAGES[1])) as drawn,
    ):
        for person, cells in zip(people, console.track(drawn, len(people), "drawing patients"), strict=True):
            (own := unfinished / person.class_name / person.patient).mkdir(parents=True)
            for cell in cells:
                buffer = io.BytesIO()
                Image.fromarray(cell.pixels).save(buffer, format="TIFF")
                (own / cell.image).write_bytes(buffer.getvalue())
                place = f"{person.class_name}/{person.patient}/{cell.image}"
                truth.append((place, cell.cell_type, cell.kind, cell.diseased))
        known = [(person.patient, person.sex, person.age) for person in people]
        pd.DataFrame(known, columns=["patient", "sex", "age"]).to_csv(unfinished / "metadata.csv", index=False)
        (unfinished / ".gitignore").write_text("*\n")  # where it lies in a checkout, no commit takes it
        columns = ["path", "cell_type", "kind", "diseased"]
        pd.DataFrame(truth, columns=columns).to_csv(unfinished / "truth.csv", index=False)
    console.say(f"demo: {folder}: {len(truth):,} images of {len(people)} patients, scanner {hospital}, seed {seed}")


def _drawn(person: cohort.Patient, hospital: str, seed: int) -> list[cohort.Cell]:
    return list(cohort.draw_cells(person, CONTROL, seed, HOSPITALS[hospital]))
