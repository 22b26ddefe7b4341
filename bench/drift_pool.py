"""Drawn patients as drift sees them, and what a changed laboratory does to them; for `bench.drift`, made once and kept.

Every image `(144, 144, 3)` becomes numbers: mean and deviation of each colour and sharpness, as `validate` measures them, and a
vector by the encoder of params.yaml. The same images are then shown as other laboratories would, and measured again: what that
moves is a class's mean difference over the same images.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.common import config
from pipeline.common.params_learning import PackageEncoder
from pipeline.demo import cohort
from pipeline.images import decoding, manifest

CONTROL = "control"
CLASSES = (CONTROL, *cohort.SUBTYPES)
KEPT = Path(".bench/drift_pool.npz")
_PATIENTS, _IMAGES, _MOVED = 60, 12, 12  # of a class; of a patient; patients of a class who are shown otherwise
_SEED = 27
_LOWEST_LIGHT = 8 / 255

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


def stained(pixels: Pixels) -> Pixels:
    """Another batch of stain: absorption of red up by 8 %, of blue down by 8 %."""
    light: Floats = np.maximum(pixels / 255.0, _LOWEST_LIGHT) ** np.array([1.08, 1.0, 0.92])
    return np.rint(255 * light).astype(np.uint8)


def scanned(pixels: Pixels) -> Pixels:
    """Another scanner: 4 % more blue light, a gamma of 1.05, and a lens that resolves 120 of 144 px."""
    small = Image.fromarray(pixels).resize((120, 120), Image.Resampling.BICUBIC).resize((144, 144), Image.Resampling.BICUBIC)
    light: Floats = np.asarray(small) / 255.0 * np.array([1.0, 1.0, 1.04])
    return np.rint(255 * np.clip(light, 0, 1) ** 1.05).astype(np.uint8)


def defocused(pixels: Pixels) -> Pixels:
    """A focus that is off by a blur of 0.8 px."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.8)))


OTHERWISE: dict[str, Callable[[Pixels], Pixels]] = {"stain": stained, "scanner": scanned, "focus": defocused}


def images(class_name: str, patients: int) -> Iterator[tuple[int, Pixels]]:
    """The images of a class's patients, with the patient's number."""
    drawn = cohort.draw_patients(CONTROL, {class_name: patients}, (_IMAGES, _IMAGES), (0.15, 0.5), _SEED, (0.15, 0.35))
    for number, patient in enumerate(drawn):
        for cell in cohort.draw_cells(patient, CONTROL, _SEED):
            yield number, cell.pixels


def read() -> dict[str, NDArray[Any]]:
    """By class, and class and change: patients `(images,)`, numbers `(images, 7)`, vectors `(images, dimension)`."""
    if not KEPT.is_file():
        _make()
    with np.load(KEPT) as kept:
        return dict(kept)


def _make() -> None:
    from pipeline.encoders.encoder import Encoder
    from pipeline.machine import device

    settings = next(one for one in config.load().encoders.values() if isinstance(one, PackageEncoder))
    encoder = Encoder("drift", settings, device.prepare("float32"))
    found: dict[str, NDArray[Any]] = {}
    for name in (*CLASSES, cohort.ON_DEMAND):
        began, drawn = time.monotonic(), list(images(name, _PATIENTS))
        first = [pixels for number, pixels in drawn if number < _MOVED]
        shown = {name: [pixels for _, pixels in drawn]}
        if name in CLASSES:
            shown |= {f"{name} {change}": [otherwise(one) for one in first] for change, otherwise in OTHERWISE.items()}
        for key, pixels in shown.items():
            patients = np.array([number for number, _ in drawn][: len(pixels)])
            statistics = [decoding.statistics(one) for one in pixels]
            numbers = np.array([(*one.mean, *one.std, one.sharpness) for one in statistics])
            vectors = np.concatenate(list(encoder.vectors(decoding.resize(one, encoder.px) for one in pixels)))
            found |= {f"{key}/patients": patients, f"{key}/numbers": numbers, f"{key}/vectors": vectors}
        assert numbers.shape[1] == len(manifest.NUMBERS)
        print(f"{name}: {sum(map(len, shown.values()))} images, {time.monotonic() - began:.0f} s", flush=True)
    KEPT.parent.mkdir(exist_ok=True)
    np.savez(KEPT, allow_pickle=False, **found)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    _make()
