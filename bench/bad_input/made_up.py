"""The cohort that what is damaged is about: eight patients with three images each, and the settings for it."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd
from conftest import write_params
from delivery import USUAL

from pipeline.common import config, paths
from pipeline.curation import review
from pipeline.folds import split_table
from pipeline.images import manifest

PEOPLE = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH")


IMAGES = [f"{'control' if n < 4 else 'NPM1'}/{who}/image_{i}.tif" for n, who in enumerate(PEOPLE) for i in range(3)]


FOLDS = [["patient", "fold"], *[[who, str(n % 3)] for n, who in enumerate(PEOPLE)]]


SPLIT = [split_table.COLUMNS, *[[who, str(int(n >= 4)), str(n % 3), "3"] for n, who in enumerate(PEOPLE)]]


_TIME = "2026-01-31"


REVIEW = [
    [*review.COLUMNS],
    *[[path, path.split("/")[1], word, "Ann", _TIME] for path, word in zip(IMAGES, [*review.DECISIONS] * 5, strict=False)],
]


@cache
def params() -> Path:
    """A params.yaml of two classes, as long as this process lasts."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return write_params(folder / "params.yaml", USUAL)


@cache
def settings() -> config.Config:
    """What it says."""
    return config.load(params())


def sound_manifest() -> pd.DataFrame:
    """Of all images."""
    usual: dict[str, object] = {
        "width": 144,
        "height": 144,
        "mode": "RGB",
        "format": "TIFF",
        "look_alike": "",
        "error": "",
        "phash": "0" * 16,
    }
    digest = [hashlib.sha256(path.encode()).hexdigest() for path in IMAGES]
    return manifest.build(
        {
            **usual,
            "path": path,
            "class": path.split("/")[0],
            "patient": path.split("/")[1],
            "sha256": sha,
            "pixels_sha256": sha,
            **dict.fromkeys(manifest.NUMBERS, 1.0),
        }
        for path, sha in zip(IMAGES, digest, strict=True)
    )


@cache
def _manifest_file() -> bytes:
    return bytes(sound_manifest().to_parquet(index=False))


def put_manifest() -> None:
    """Where the stages look for it."""
    paths.MANIFEST.parent.mkdir(exist_ok=True)
    paths.MANIFEST.write_bytes(_manifest_file())


params()  # before processes are forked, which may write nothing there
