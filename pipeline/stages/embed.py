"""Make a vector of every usable image: data/vectors/<encoder>/<class>.npy, float32 `(images, dimension)`, and its rows.

Rows are those of data/cells/<class>.parquet: patient and path, in the manifest's order. Beside them lie encoder.json, what the
vectors follow from, and, where the encoder is a network, its weights. What was made before of an image's bytes, by the same
encoder on the same kind of machine, is taken from .vectors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common import console, files, made, parallel, paths
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError
from pipeline.common.params_learning import ApplicationEncoder, PackageEncoder, VectorsEncoder
from pipeline.images import decoding, reading

_KEEP_EVERY_S = 5.0


def run(config: Config, name: str) -> None:
    """Write the vectors of all classes by one encoder."""
    manifest = made.table(paths.MANIFEST, columns=["path", "class", "patient", "sha256", "error"])
    tables = {class_name: manifest[manifest["class"] == class_name] for class_name in config.classes}
    settings = config.encoders[name]
    if isinstance(settings, VectorsEncoder):
        _take(name, settings, tables, config.ingest.pseudonyms)
    else:
        _make(name, settings, {key: table[table["error"] == ""] for key, table in tables.items()})


def _make(name: str, settings: PackageEncoder | ApplicationEncoder, tables: Mapping[str, pd.DataFrame]) -> None:
    from pipeline.encoders import encoder  # here, since TensorFlow takes seconds
    from pipeline.encoders.kept_vectors import KeptVectors
    from pipeline.machine import device

    machine = device.prepare("float32")
    device.whole_float32()
    network = encoder.Encoder(name, settings, machine)
    kept_file = paths.KEPT_VECTORS / name / network.digest_here
    with closing(KeptVectors(kept_file, network.dimension)) as kept:
        images = pd.concat(tables.values())[["path", "sha256"]]
        new = [(path, sha256) for path, sha256 in images.itertuples(index=False) if sha256 not in kept]
        if new:
            _embed(name, network, machine.kind, kept, new, len(images) - len(new))
        with files.folder_in_one_step(paths.encoder(name).parent) as folder:
            for class_name, table in tables.items():
                _write(folder, class_name, table, kept.vectors(table["sha256"].tolist()), network.dimension)
            weights = network.save(folder)
            _describe(folder, {**network.description, "weights_file_sha256": files.sha256(weights)})
    for other in kept_file.parent.iterdir():
        if other != kept_file:
            other.unlink()
    _say(name, tables, network.dimension)


def _embed(name: str, network: Any, kind: str, kept: Any, new: list[tuple[str, str]], known: int) -> None:
    """Images are decoded ahead by all cores where there are many; what is made is kept every few seconds."""
    blank = [np.zeros((network.px, network.px, 3), dtype=np.uint8)] * network.batch
    for _ in range(2):  # the first builds the graph
        began = time.monotonic()
        list(network.vectors(blank))
    seconds = (time.monotonic() - began) / network.batch * len(new)
    console.say(
        f"embed: {name}: {len(new):,} images to be made on {'a GPU' if kind == 'gpu' else 'the processor'}, {known:,} known: "
        f"about {console.duration(seconds)}"
    )
    waiting: list[NDArray[np.float32]] = []
    done = 0
    last = time.monotonic()

    def keep() -> None:
        nonlocal done
        vectors = np.concatenate(waiting)
        kept.add([sha256 for _, sha256 in new[done : done + len(vectors)]], vectors)
        done += len(vectors)
        waiting.clear()

    with closing(parallel.each(partial(_seen, px=network.px), new)) as seen:
        for vectors in network.vectors(console.track(seen, len(new), f"embedding by {name}")):
            waiting.append(vectors)
            if time.monotonic() - last >= _KEEP_EVERY_S:
                keep()
                last = time.monotonic()
    if waiting:
        keep()


def _take(name: str, settings: VectorsEncoder, tables: Mapping[str, pd.DataFrame], pseudonyms: bool) -> None:
    """Vectors made elsewhere, checked patient by patient."""
    from pipeline.encoders import description, made_elsewhere

    source = Path(settings.folder)
    if not source.is_dir():
        raise ConfigError(f"encoders.{name}.folder: {source} is not a folder; bring the vectors there, or name where they are")
    if (found := description.digest(files.sha256_below(source))) != settings.sha256:
        raise ConfigError(
            f"encoders.{name}.sha256: the files below {source} have {found}, not {settings.sha256}; bring those "
            "that are meant, or name the digest of these if they are"
        )
    taken: list[Path] = []
    with files.folder_in_one_step(paths.encoder(name).parent) as folder:
        for class_name, table in tables.items():
            usable = table[table["error"] == ""]
            of_patient = {}
            for patient in usable["patient"].unique():
                file = made_elsewhere.file_of(source, class_name, patient)
                taken.append(file)
                own = table[table["patient"] == patient]
                of_patient[patient] = iter(made_elsewhere.read(file, settings.dimension, own, pseudonyms))
            _write(folder, class_name, usable, (next(of_patient[who]) for who in usable["patient"]), settings.dimension)
        _describe(folder, description.described(settings.model_dump(exclude={"folder"}), settings.dimension))
    if others := made_elsewhere.strangers(source, taken):
        console.warn(
            f"embed: {name}: {len(others)} of the files below {source} are of nobody who has usable images in "
            f"{paths.MANIFEST}{'' if pseudonyms else f', first {others[0]}'}"
        )
    _say(name, {key: table[table["error"] == ""] for key, table in tables.items()}, settings.dimension)


def _write(folder: Path, class_name: str, table: pd.DataFrame, vectors: Iterable[NDArray[np.float32]], dimension: int) -> None:
    with (folder / f"{class_name}.npy").open("wb") as file:  # row by row: of an array mapped into memory every page would stay
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(table), dimension)}
        np.lib.format.write_array_header_1_0(file, header)
        file.writelines(vector.tobytes() for vector in vectors)
    table[["patient", "path"]].to_parquet(folder / f"{class_name}.parquet", index=False)


def _describe(folder: Path, description: Mapping[str, Any]) -> None:
    (folder / "encoder.json").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")


def _say(name: str, tables: Mapping[str, pd.DataFrame], dimension: int) -> None:
    count = sum(map(len, tables.values()))
    console.say(f"embed: {name}: {count:,} vectors of {dimension:,} numbers, {count * dimension * 4 / 1e6:,.1f} MB")


def _seen(named: tuple[str, str], px: int) -> decoding.Pixels:
    path, sha256 = named
    return decoding.resize(reading.pixels(paths.RAW / path, sha256), px)
