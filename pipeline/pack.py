"""Decode every usable image once: data/cells/<class>.npy, uint8 `(images, px, px, 3)`, and its rows' patient and path.

The manifest names every file by its digest, and a file that has another one is refused: so DVC need not look at all files of
data/raw once more to know whether this stage is up to date.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from pipeline import console, image_files, images, paths
from pipeline.config import Config

_CHUNK = 256  # images in flight: bounds the memory, whatever the cohort's size


def run(config: Config) -> None:
    """Pack the classes one after the other; rows keep the manifest's order."""
    manifest = pd.read_parquet(paths.existing(paths.MANIFEST), columns=["path", "class", "patient", "sha256", "error"])
    usable = manifest[manifest["error"] == ""]
    px = config.pack.px

    def packed(path: str, sha256: str) -> np.ndarray:
        return images.resize(image_files.pixels(paths.RAW / path, sha256), px)

    with ThreadPoolExecutor() as pool:
        for class_name in config.classes:
            rows = usable.loc[usable["class"] == class_name, ["patient", "path", "sha256"]].reset_index(drop=True)
            target = paths.fresh(paths.cells(class_name))
            cells = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(len(rows), px, px, 3))
            starts = range(0, len(rows), _CHUNK)
            for start in console.track(starts, len(starts), f"packing {class_name}, {_CHUNK} images a step"):
                chunk = rows.iloc[start : start + _CHUNK]
                cells[start : start + len(chunk)] = list(pool.map(packed, chunk["path"], chunk["sha256"]))
            cells.flush()
            rows[["patient", "path"]].to_parquet(paths.fresh(paths.cell_rows(class_name)), index=False)
            console.say(f"pack: {class_name}: {len(rows):,} images of {px} px, {target.stat().st_size / 1e6:,.1f} MB")
