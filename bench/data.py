"""What the data stages cost beside their bound, on cohorts of the published shape. `python -m bench.data`

Cohorts of the same 189 patients, of different size, so that what every process spends on starting is told from what an image
costs: the marginal cost is the difference in seconds over the difference in images, from each size to the next. The bound
reads, hashes and decodes the same files with all cores, and does nothing else. For every stage also the most memory of the
process and its children (PSS: pages that are shared count once; pages of the packed array count while they are mapped), and
`dvc repro` with nothing to do.

The images are drawn cells, blended two at a time, turned and moved, so that no two look alike. A cohort of the published size,
81,214 images, needs 15 GB for a while: originals, data/raw, and a copy that the bound makes; one is deleted before the next.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from numpy.typing import NDArray
from PIL import Image
from ruamel.yaml import YAML

from bench.flow import _copy
from pipeline.common import config, paths
from pipeline.demo import cohort
from pipeline.evaluation import pooling
from pipeline.folds import split_table

ROOT = Path(__file__).resolve().parents[1]
# Patients and images of the published cohort (Hehr et al. 2023), by class.
PUBLISHED = {
    "control": (60, 20_305),
    "PML_RARA": (24, 11_584),
    "NPM1": (36, 17_710),
    "CBFB_MYH11": (37, 17_212),
    "RUNX1_RUNX1T1": (32, 14_403),
}
IMAGES = sum(images for _, images in PUBLISHED.values())
BOUNDS = {"decode": "read, hash, decode", "copy": "read, hash, write"}
STAGES = ["delivery", "ingest", "delivery, asked again", "validate", "deal", "split", "pack", "evaluate"]
_PX, _DRAWN = 144, 320
_CORES = len(os.sched_getaffinity(0))

Pixels = NDArray[np.uint8]


def draw_cohort(folder: Path, images: int) -> None:
    """The published patients, with so many images in all."""
    people = [(name, patient, images * count // IMAGES) for name, (patient, count) in PUBLISHED.items()]
    jobs = [
        (folder / name / f"{name[0]}{chr(65 + number // 26)}{chr(65 + number % 26)}", total // of + (number < total % of))
        for name, of, total in people
        for number in range(of)
    ]
    with ProcessPoolExecutor(_CORES, initializer=_draw_cells) as pool:
        list(pool.map(_draw_patient, jobs, range(len(jobs)), chunksize=4))


_cells: list[Pixels] = []


def _draw_cells() -> None:
    counts = dict.fromkeys(PUBLISHED, 1)
    each = _DRAWN // len(counts)
    for patient in cohort.draw_patients("control", counts, (each, each), (0.7, 0.7), 1):
        _cells.extend(cell.pixels for cell in cohort.draw_cells(patient, "control", 1))


def _draw_patient(job: tuple[Path, int], seed: int) -> None:
    folder, count = job
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)

    def varied() -> NDArray[np.uint16]:
        cell = np.rot90(_cells[rng.integers(len(_cells))], int(rng.integers(4)))
        return np.roll(cell, rng.integers(-40, 41, 2), axis=(0, 1)).astype(np.uint16)

    for number in range(count):
        blended = ((varied() * 5 + varied() * 3) // 8).astype(np.uint8)
        Image.fromarray(blended).save(folder / f"image_{number}.tif", format="TIFF")


def bound(cohort: Path) -> dict[str, float]:
    """Seconds to read, hash and decode every file with all cores; and to read, hash and write them elsewhere."""
    os.sync()
    files = sorted(str(path) for path in cohort.glob("*/*/*"))
    with ProcessPoolExecutor(_CORES) as pool, tempfile.TemporaryDirectory(dir=cohort.parent) as target:
        list(pool.map(_decode, files[:256], chunksize=64))  # the processes have started
        started = time.perf_counter()
        list(pool.map(_decode, files, chunksize=256))
        decoded = time.perf_counter() - started
        started = time.perf_counter()
        list(pool.map(_rewrite, files, [f"{target}/{number}" for number in range(len(files))], chunksize=256))
        return {"decode": decoded, "copy": time.perf_counter() - started}


def _decode(file: str) -> None:
    data = Path(file).read_bytes()
    hashlib.sha256(data).digest()
    with Image.open(io.BytesIO(data)) as image:
        np.asarray(image)


def _rewrite(file: str, target: str) -> None:
    data = Path(file).read_bytes()
    hashlib.sha256(data).digest()
    Path(target).write_bytes(data)


class Peak:
    """The largest PSS of a process and its children while the block runs, in MB."""

    def __init__(self, pid: int) -> None:
        self._process, self._over, self.mb = psutil.Process(pid), threading.Event(), 0.0

    def __enter__(self) -> Peak:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            try:
                tree = [self._process, *self._process.children(recursive=True)]
                self.mb = max(self.mb, sum(_pss(one.pid) for one in tree) / 1e3)
            except psutil.NoSuchProcess:
                pass


def _pss(pid: int) -> int:
    """Kilobytes; 0 of a process that has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def call(folder: Path, *command: str, **variables: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a command that must succeed, begun when nothing waits to be written to the disk."""
    os.sync()
    environment = {
        **os.environ,
        **variables,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "true",
    }
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT)
        with Peak(process.pid) as peak:
            status = process.wait()
        seconds = time.perf_counter() - started
        if status != 0:
            said.seek(0)
            sys.exit(f"{' '.join(command)} ended with status {status}\n{said.read()[-2000:]}")
    return seconds, peak.mb


def predictions(folder: Path) -> None:
    """What `train` leaves of every fold of NPM1, of networks that were never trained."""
    settings, rng = config.load(folder / "params.yaml"), np.random.default_rng(0)
    split = pd.read_csv(folder / paths.split_table("NPM1"), dtype={"patient": "str"})
    tables = [pd.read_parquet(folder / paths.cell_rows(name)) for name in (settings.control, "NPM1")]
    rows = pd.concat([table.assign(label=label) for label, table in enumerate(tables)], ignore_index=True)
    own = dict(zip(split["patient"], rng.normal(0, 1, len(split)), strict=True))
    for k in settings.folds:
        target = folder / paths.fold("NPM1", "published", k)
        target.mkdir(parents=True)
        scored = rows.assign(split=rows["patient"].map(split_table.roles(split, k, settings.split.n_folds)))
        scored = scored[scored["split"] != "train"]
        logits = 2 * scored["label"] - 1 + scored["patient"].map(own) + rng.normal(0, 1, len(scored))
        scored = scored.assign(logit=logits, score=pooling.probabilities(logits))
        scored[["patient", "path", "split", "label", "logit", "score"]].to_parquet(target / "predictions.parquet", index=False)
        history = {"epoch": [0], "loss": [0.7], "val_loss": [0.7], "accuracy": [0.5], "val_accuracy": [0.5], "kept": [1]}
        pd.DataFrame(history).to_csv(target / "history.csv", index=False)
        (target / "spec.json").write_text("{}")  # of no search


def project(folder: Path) -> None:
    """This repository with the settings of the published cohort, except for the number of images it must have."""
    folder.mkdir()
    _copy(folder)
    yaml = YAML()
    yaml.width = 4096
    params = yaml.load(folder / "params.kaggle.yaml")
    params["ingest"]["source"], params["ingest"]["cohort"], params["ingest"]["class_folders"] = "folder", "drawn", {}
    params["validate"]["expected"], params["validate"]["min_images_per_patient"] = None, 1
    yaml.dump(params, folder / "params.yaml")


def measure(folder: Path, images: int) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Seconds and peak megabytes by stage; seconds of the bounds, each the least of three: no stage can be faster."""
    cohort, work = folder / f"cohort-{images}", folder / f"project-{images}"
    draw_cohort(cohort, images)
    project(work)
    bounds, found = [bound(cohort)], {}
    for stage in STAGES:
        if stage in ("validate", "pack"):
            bounds.append(bound(cohort))
        if stage == "evaluate":
            predictions(work)
        arguments = ["NPM1"] if stage == "evaluate" else []
        command = stage.split(",")[0]
        found[stage] = call(work, sys.executable, "-m", "pipeline", command, *arguments, COHORT_DIR=str(cohort))
        print(f"{images:,} images, {stage}: {found[stage][0]:.1f} s, {found[stage][1]:,.0f} MB", file=sys.stderr, flush=True)
    print(f"bounds: {pd.DataFrame(bounds).round(1).to_dict('list')} s", file=sys.stderr, flush=True)
    return found, {name: min(each[name] for each in bounds) for name in BOUNDS}


def idle(work: Path, rounds: int) -> tuple[float, float]:
    """Median seconds, and peak megabytes, of `dvc repro` of the data stages with nothing to do."""
    seconds, peak = call(work, "dvc", "commit", "--force", "delivery", "ingest", "validate", "deal", "split", "pack")
    print(f"dvc commit: {seconds:.1f} s, {peak:,.0f} MB", file=sys.stderr, flush=True)
    times = [call(work, "dvc", "repro", "split", "pack") for _ in range(rounds)]
    print(f"nothing to do: {[round(seconds, 1) for seconds, _ in times]} s", file=sys.stderr, flush=True)
    return statistics.median(seconds for seconds, _ in times), max(peak for _, peak in times)


def main() -> None:
    """Print what each size takes, and what an image and nothing to do cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[40_000, IMAGES], help="of the cohorts, two or more")
    parser.add_argument("--folder", type=Path, help="where there is room; the system's temporary folder when left out")
    options = parser.parse_args()
    sizes = sorted(options.images)
    results = {}
    for images in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            results[images] = (*measure(Path(name), images), idle(Path(name) / f"project-{images}", 3))
    tools = ", ".join(f"{tool} {version(tool)}" for tool in ("dvc", "pillow", "pandas"))
    print(f"{platform.processor() or platform.machine()}, {_CORES} cores, Python {platform.python_version()}, {tools}\n")
    print("| s, MB | " + " | ".join(f"{images:,} images" for images in sizes) + " |\n" + "|---" * (1 + len(sizes)) + "|")
    for stage in STAGES:
        print(f"| `{stage}` | " + " | ".join("{:.1f}, {:,.0f}".format(*results[images][0][stage]) for images in sizes) + " |")
    for name, what in BOUNDS.items():
        print(f"| bound: {what} | " + " | ".join(f"{results[images][1][name]:.1f}" for images in sizes) + " |")
    nothing = " | ".join("{:.1f}, {:,.0f}".format(*results[images][2]) for images in sizes)
    print(f"| `dvc repro split pack`, nothing to do | {nothing} |")
    for few, many in itertools.pairwise(sizes):
        print(f"\nfrom {few:,} to {many:,} images\n\n| | start-up, s | ms an image | to its bound |\n|---|---|---|---|")
        each = {name: 1e3 * (results[many][1][name] - results[few][1][name]) / (many - few) for name in BOUNDS}
        for stage in STAGES:
            less, more = (results[images][0][stage][0] for images in (few, many))
            marginal = (more - less) / (many - few) * 1e3
            bound_of = {"ingest": "copy", "validate": "decode", "pack": "decode"}.get(stage)
            shown = f"{marginal / each[bound_of]:.2f}" if bound_of else "-"
            print(f"| `{stage}` | {less - marginal * few / 1e3:.1f} | {marginal:.3f} | {shown} |")
        for name, what in BOUNDS.items():
            print(f"| bound: {what} | - | {each[name]:.3f} | 1 |")


if __name__ == "__main__":
    main()
