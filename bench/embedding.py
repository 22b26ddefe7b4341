"""How fast images become vectors, beside the bare network. `python -m bench.embedding [images] [--rows N]`

Images a second, in alternation, on drawn cells of the demo's size:

    stage       the stage `embed`, from files to what it writes, once its process and network are ready
    bare        the network's forward pass on batches that lie ready: the bound
    decoding    the files read, decoded and resized, nothing else, in one process

and the process's largest memory for so many images. A ratio is the median over the rounds.

With --rows only memory is measured, of a cohort of N images: of all but `images` the vectors lie in .vectors already, as after
a kill just before the end (drawn numbers, under drawn digests), and the manifest has rows for them and no file.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.common import config, files
from pipeline.common.params_learning import PackageEncoder
from pipeline.images import decoding, reading

_ROUNDS = 3


def draw(count: int, px: int) -> pd.DataFrame:
    """Files of `count` images and the manifest's columns that the stage reads."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        path = f"control/P{number // 400:04d}/image_{number}.tif"
        target = Path("data/raw") / path
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (px, px, 3), dtype=np.uint8)).save(target)
        rows.append((path, "control", path.split("/")[1], files.sha256(target), ""))
    return pd.DataFrame(rows, columns=pd.Index(["path", "class", "patient", "sha256", "error"]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="?", type=int, default=1000)
    parser.add_argument("--rows", type=int, help="memory at so many images, of which only `images` are embedded")
    options = parser.parse_args()
    count = options.images
    settings = config.load()
    name, made_by = next((name, one) for name, one in settings.encoders.items() if isinstance(one, PackageEncoder))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        manifest = draw(count, settings.image_px)
        if options.rows:
            _weigh(settings, name, made_by, manifest, options.rows)
        else:
            manifest.to_parquet("data/manifest.parquet")
            _measure(settings, name, made_by, manifest)
        os.chdir("/")


def _weigh(settings: config.Config, name: str, made_by: PackageEncoder, drawn: pd.DataFrame, count: int) -> None:
    from pipeline.encoders.encoder import Encoder
    from pipeline.encoders.kept_vectors import KeptVectors
    from pipeline.machine import device
    from pipeline.stages import embed

    network, rng = Encoder(name, made_by, device.prepare("float32")), np.random.default_rng(1)
    known = [rng.bytes(32).hex() for _ in range(count - len(drawn))]
    with closing(KeptVectors(Path(".vectors", name, network.digest_here), network.dimension)) as kept:
        for some in _parts(known, 1000):
            kept.add(some, rng.normal(size=(len(some), network.dimension)).astype(np.float32))
    others = [(f"control/P{n // 430:04d}/image_{n}.tif", "control", f"P{n // 430:04d}") for n in range(len(drawn), count)]
    rows = pd.DataFrame(others, columns=pd.Index(["path", "class", "patient"])).assign(sha256=known, error="")
    pd.concat([drawn, rows]).to_parquet("data/manifest.parquet")
    before_mb = _largest_mb()
    embed.run(settings, name)
    print(f"at most {_largest_mb():,.0f} MB for {count:,} images, of which {before_mb:,.0f} MB before the stage began")


def _parts(values: list[str], size: int) -> Iterator[list[str]]:
    """`values` in parts of at most `size`."""
    yield from (values[start : start + size] for start in range(0, len(values), size))


def _largest_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(settings: config.Config, name: str, made_by: PackageEncoder, manifest: pd.DataFrame) -> None:
    from pipeline.encoders.encoder import Encoder
    from pipeline.machine import device
    from pipeline.stages import embed

    network = Encoder(name, made_by, device.prepare("float32"))
    batch = np.random.default_rng(0).integers(0, 256, (network.batch, network.px, network.px, 3), dtype=np.uint8)
    batches = -(-len(manifest) // network.batch)

    def bare() -> None:
        for _ in range(batches):
            network._network.predict_on_batch(batch)

    def stage() -> None:
        shutil.rmtree(".vectors", ignore_errors=True)
        embed.run(settings, name)

    def decode() -> None:
        for path in manifest["path"]:
            decoding.resize(reading.pixels(Path("data/raw") / path), network.px)

    ways: dict[str, Callable[[], None]] = {"stage": stage, "bare": bare, "decoding": decode}
    bare()
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(_ROUNDS):
        for way, run in ways.items():
            began = time.monotonic()
            run()
            speeds[way].append(len(manifest) / (time.monotonic() - began))
    for way, found in speeds.items():
        print(f"{way:10} {statistics.median(found):8.0f} images/s")
    ratio = statistics.median(a / b for a, b in zip(speeds["stage"], speeds["bare"], strict=True))
    print(f"stage beside bare {ratio:.2f}; at most {_largest_mb():,.0f} MB for {len(manifest):,} images")


if __name__ == "__main__":
    main()
