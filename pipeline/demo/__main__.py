"""Draw a cohort into a folder: `python -m pipeline.demo elsewhere --scanner other`, another hospital's, for `external`.

The folder gets a folder a class, metadata.csv (sex, age) and truth.csv (what each image shows).
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from pipeline.common import console, environment, files, parallel
from pipeline.common.errors import DataError, PipelineError
from pipeline.demo import cohort
from pipeline.demo.hospitals import HOSPITALS

_PATIENTS = {"control": 40, **dict.fromkeys((*cohort.SUBTYPES, cohort.ON_DEMAND), 16)}
_IMAGES, _DISEASED, _UNUSABLE = (10, 28), (0.15, 0.5), (0.15, 0.35)  # as params.yaml's ingest.demo
_SEED = 21  # params.yaml's is 20: with the same one these would be the same persons
_IMAGES_A_DRAWN_ONE = 10  # that can be read while one is drawn


def main(arguments: list[str] | None = None) -> int:
    """Draw it; 0 when it is there, 2 when the user has to mend something."""
    chosen = _parser().parse_args(arguments)
    try:
        _draw(chosen.folder, chosen.scanner, _counts(chosen.patients), chosen.seed)
    except PipelineError as error:
        console.fail(str(error))
        return error.status
    return 0


def _draw(folder: Path, scanner: str, counts: dict[str, int], seed: int) -> None:
    if folder.exists():
        raise DataError(f"{folder}: is there already; name a folder that is not")
    try:
        people = cohort.draw_patients("control", counts, _IMAGES, _DISEASED, seed, _UNUSABLE, HOSPITALS[scanner])
    except ValueError as error:
        raise DataError(f"--patients: {error}") from None
    truth = []
    with files.folder_in_one_step(folder) as unfinished:
        for person, cells in zip(people, _each(people, scanner, seed), strict=True):
            (own := unfinished / person.class_name / person.patient).mkdir(parents=True)
            for cell in cells:
                buffer = io.BytesIO()
                Image.fromarray(cell.pixels).save(buffer, format="TIFF")
                (own / cell.image).write_bytes(buffer.getvalue())
                place = f"{person.class_name}/{person.patient}/{cell.image}"
                truth.append((place, cell.cell_type, cell.kind, cell.diseased))
        known = [(person.patient, person.sex, person.age) for person in people]
        pd.DataFrame(known, columns=["patient", "sex", "age"]).to_csv(unfinished / "metadata.csv", index=False)
        columns = ["path", "cell_type", "kind", "diseased"]
        pd.DataFrame(truth, columns=columns).to_csv(unfinished / "truth.csv", index=False)
    console.say(f"demo: {folder}: {len(truth):,} images of {len(people)} patients, scanner {scanner}, seed {seed}")


def _each(people: list[cohort.Patient], scanner: str, seed: int) -> Iterator[list[cohort.Cell]]:
    with closing(parallel.each(partial(_drawn, scanner=scanner, seed=seed), people, _IMAGES_A_DRAWN_ONE * _IMAGES[1])) as drawn:
        yield from console.track(drawn, len(people), "drawing patients")


def _drawn(person: cohort.Patient, scanner: str, seed: int) -> list[cohort.Cell]:
    return list(cohort.draw_cells(person, "control", seed, HOSPITALS[scanner]))


def _counts(text: str) -> dict[str, int]:
    if not text:
        return dict(_PATIENTS)
    found = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        if not number.isdecimal():
            raise DataError(f"--patients: {part!r} is not CLASS=NUMBER; write control=40,NPM1=16")
        found[name] = int(number)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo", description="Draw a synthetic cohort into a folder.")
    parser.add_argument("folder", type=Path, help="where it goes; must not be there yet")
    parser.add_argument("--scanner", choices=list(HOSPITALS), default="home", help="the demo's, or another hospital's")
    parser.add_argument("--seed", type=int, default=_SEED, help="of the drawing; the demo's own is 20")
    parser.add_argument("--patients", default="", metavar="PAIRS", help="how many of each class: control=40,NPM1=16")
    return parser


if __name__ == "__main__":
    environment.run_program(main)
