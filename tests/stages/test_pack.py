"""Packed cells are the images' pixels, row by row, and an old file in DVC's cache is never written into."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.common import config, parallel
from pipeline.common.errors import DataError
from pipeline.stages import deal, pack, split

Settings = Callable[[dict[str, Any]], config.Config]
CLASSES = {"control": ["AAA", "BBB", "007"], "NPM1": ["CCC", "DDD", "NA"]}
CHANGES = {
    "subtypes": ["NPM1"],
    "image_px": 16,
    "pack.px": 16,
    "split.n_folds": 3,
    "candidates.published.networks": {"NPM1": {"first_conv": 4, "conv": [], "dense": [], "learning_rate": 0.001}},
}


@pytest.fixture(autouse=True)
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A manifest and its images; the second image of every patient is unusable."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pixels, rows = {}, []
    for class_name, patients in CLASSES.items():
        for patient in patients:
            for n in (1, 2, 10):
                path = f"{class_name}/{patient}/image_{n}.tif"
                pixels[path] = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                target = tmp_path / "data/raw" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels[path]).save(target)
                digest = hashlib.sha256(target.read_bytes()).hexdigest()
                rows.append((path, class_name, patient, digest, pixels[path].tobytes().hex(), "", "too dark" if n == 2 else ""))
    columns = pd.Index(["path", "class", "patient", "sha256", "pixels_sha256", "look_alike", "error"])
    pd.DataFrame(rows, columns=columns).to_parquet("data/manifest.parquet")
    return pixels


def test_rows_are_the_usable_images_in_the_manifests_order(cohort: dict[str, np.ndarray], params: Settings) -> None:
    pack.run(params(CHANGES))
    for class_name, patients in CLASSES.items():
        cells, rows = np.load(f"data/cells/{class_name}.npy"), pd.read_parquet(f"data/cells/{class_name}.parquet")
        assert rows["patient"].tolist() == [patient for patient in patients for _ in range(2)]
        assert [path.rsplit("_", 1)[1] for path in rows["path"]] == ["1.tif", "10.tif"] * 3
        assert all(np.array_equal(cell, cohort[path]) for cell, path in zip(cells, rows["path"], strict=True))


def test_smaller_cells_keep_the_whole_field_and_its_mean_colour(cohort: dict[str, np.ndarray], params: Settings) -> None:
    pack.run(params({**CHANGES, "pack.px": 8}))
    cells, rows = np.load("data/cells/NPM1.npy"), pd.read_parquet("data/cells/NPM1.parquet")
    assert cells.shape == (6, 8, 8, 3)
    for cell, path in zip(cells, rows["path"], strict=True):
        assert cell.mean(axis=(0, 1)) == pytest.approx(cohort[path].mean(axis=(0, 1)), abs=0.6)


def test_several_processes_write_what_one_does(params: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for processes in (1, 2):
        monkeypatch.setattr(parallel, "available", lambda processes=processes: processes)
        monkeypatch.setattr(parallel, "_FEW", 1)
        pack.run(params({**CHANGES, "pack.px": 8}))
        written.append([Path(f"data/cells/{class_name}.npy").read_bytes() for class_name in CLASSES])
    assert written[0] == written[1]


def test_a_file_that_is_not_the_one_validated_is_refused(cohort: dict[str, np.ndarray], params: Settings) -> None:
    """DVC knows data/raw as what `ingest` made and pack's input as the manifest, which names every file by its digest."""
    changed = Path("data/raw/NPM1/CCC/image_10.tif")
    Image.fromarray(cohort["NPM1/CCC/image_1.tif"]).save(changed)
    with pytest.raises(DataError, match=re.escape(f"{changed}: is not the file that `validate` saw; run `dvc repro`")):
        pack.run(params(CHANGES))


def test_patients_whose_ids_look_like_numbers_stay_who_they_are(params: Settings) -> None:
    deal.run(params(CHANGES))
    split.run(params(CHANGES))
    listed = pd.read_csv("data/splits/NPM1.csv", dtype="str", keep_default_na=False)
    assert sorted(listed["patient"]) == ["007", "AAA", "BBB", "CCC", "DDD", "NA"]
    assert listed["images"].tolist() == ["2"] * 6


def test_a_file_that_dvc_linked_into_its_cache_is_replaced_not_changed(params: Settings) -> None:
    settings = params(CHANGES)
    deal.run(settings)
    for run, name in ((pack.run, "data/cells/NPM1.npy"), (split.run, "data/splits/NPM1.csv")):
        run(settings)
        cached = Path(f"cached-{Path(name).name}")
        os.link(name, cached)
        before = cached.read_bytes()
        changed = pd.read_parquet("data/manifest.parquet")
        changed.loc[changed["path"] == "NPM1/CCC/image_10.tif", "error"] = "blurred"
        changed.to_parquet("data/manifest.parquet")
        run(settings)
        assert cached.read_bytes() == before
        assert not Path(name).samefile(cached)
