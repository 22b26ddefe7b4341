"""A picture that a model was made from is known again, however it was saved; another is not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from PIL import Image

from pipeline.common.errors import ModelError
from pipeline.demo import cohort
from pipeline.images import decoding, manifest
from pipeline.images.decoding import Pixels
from pipeline.registry import known_pictures


@pytest.fixture(scope="module")
def cells() -> list[Pixels]:
    people = cohort.draw_patients("control", {"control": 4, "NPM1": 4}, (6, 6), (0.5, 0.5), 20)
    return [cell.pixels for person in people for cell in cohort.draw_cells(person, "control", 20)]


def rows(images: list[Pixels]) -> pd.DataFrame:
    found = []
    for pixels in images:
        numbers = decoding.statistics(np.ascontiguousarray(pixels))
        values = dict(zip(manifest.NUMBERS, (*numbers.mean, *numbers.std, numbers.sharpness), strict=True))
        found.append({"pixels_sha256": numbers.sha256, "phash": numbers.phash, **values})
    return pd.DataFrame(found)


def jpeg(pixels: Pixels) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def smaller(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((96, 96), Image.Resampling.LANCZOS))


SAVED_AGAIN: dict[str, Callable[[Pixels], Pixels]] = {
    "compressed": jpeg,
    "smaller": smaller,
    "turned": np.rot90,
    "mirrored": np.fliplr,
    "upside down, compressed": lambda pixels: jpeg(np.ascontiguousarray(np.flipud(pixels))),
}


def test_the_very_picture_is_known(cells: list[Pixels]) -> None:
    met = known_pictures.met(known_pictures.of(rows(cells[:10])), rows(cells[8:14]))
    assert met == known_pictures.Met([0, 1], [])


@pytest.mark.parametrize("how", SAVED_AGAIN)
def test_a_picture_saved_again_is_known(how: str, cells: list[Pixels]) -> None:
    copies = rows([SAVED_AGAIN[how](cell) for cell in cells])
    met = known_pictures.met(known_pictures.of(rows(cells)), copies)
    assert not met.same
    assert len(met.alike) >= 0.9 * len(cells), "one of a patient's is enough"


def test_no_other_picture_is(cells: list[Pixels]) -> None:
    assert known_pictures.met(known_pictures.of(rows(cells[::2])), rows(cells[1::2])) == known_pictures.Met([], [])


def test_what_is_kept_names_nobody_and_no_order_of_patients(cells: list[Pixels]) -> None:
    table = rows(cells).assign(patient="AAA", path="control/AAA/image_0.tif")
    kept = known_pictures.of(pd.concat([table, table]))
    assert "patient" not in kept
    assert "path" not in kept
    assert kept["pixels_sha256"].is_monotonic_increasing
    assert len(kept) == len(cells)


@pytest.mark.parametrize(("name", "command"), [("NPM1", "register NPM1"), ("call", "register_call")])
def test_a_version_that_does_not_say_them_is_told_with_the_command_that_does(name: str, command: str) -> None:
    with pytest.raises(ModelError, match=f"run `python -m pipeline {command}` where it was trained"):
        known_pictures.read(MlflowClient("sqlite://"), ModelVersion(name, "1", 0))
