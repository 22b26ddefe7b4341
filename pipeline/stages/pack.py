"""Decode every usable image once: data/cells/<class>.npy, uint8 `(images, px, px, 3)`, and its rows' patient and path.

The manifest names every file by its digest, and a file that has another one is refused: so DVC need not look at all files of
data/raw once more to know whether this stage is up to date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import islice

import numpy as np
import pandas as pd

from pipeline.common import console, made, parallel, paths
from pipeline.common.config import Config
from pipeline.images import decoding, reading


def run(config: Config) -> None:
    """Pack the classes one after the other; rows keep the manifest's order."""
    manifest = made.table(paths.MANIFEST, columns=["path", "class", "patient", "sha256", "error"])
    usable = manifest[manifest["error"] == ""]
    px = config.pack.px
    tables = {name: usable.loc[usable["class"] == name, ["patient", "path", "sha256"]] for name in config.classes}
    named = [names for table in tables.values() for names in zip(table["path"], table["sha256"], strict=True)]
    with closing(parallel.each(partial(_packed, px=px), named)) as cells:
        _write(tables, console.track(cells, len(named), "packing images"), px)


def _write(tables: Mapping[str, pd.DataFrame], packed: Iterator[decoding.Pixels], px: int) -> None:
    for class_name, table in tables.items():
        target = paths.fresh(paths.cells(class_name))
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(table), px, px, 3)}
        with target.open("wb") as file:  # image by image: of an array mapped into memory every page would stay there
            np.lib.format.write_array_header_1_0(file, header)
            file.writelines(cell.tobytes() for cell in islice(packed, len(table)))
        table[["patient", "path"]].to_parquet(paths.fresh(paths.cell_rows(class_name)), index=False)
        console.say(f"pack: {class_name}: {len(table):,} images of {px} px, {target.stat().st_size / 1e6:,.1f} MB")


def _packed(named: tuple[str, str], px: int) -> decoding.Pixels:
    path, sha256 = named
    return decoding.resize(reading.pixels(paths.RAW / path, sha256), px)
