"""The same damage, met by the command line: one line that begins with `error:`, exit status 2, no traceback; or status 0."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.bad_input import ROOT, archives, damage, made_up, params_file
from bench.bad_input.csv_cells import csv_text
from bench.bad_input.guarded import Kind, RefusedError

_TABLES = {  # table -> its sound content, and the command that reads it
    "data/folds.csv": (made_up.FOLDS, "split"),
    "data/review.csv": (made_up.REVIEW, "weigh"),
    "data/splits/NPM1.csv": (made_up.SPLIT, "weigh"),
}


def _make(rng: random.Random, folder: Path) -> str:
    shutil.copyfile(made_up.params(), folder / "params.yaml")
    command = rng.choice(("results", "ingest", "deal", *(command for _, command in _TABLES.values())))
    (folder / "data/splits").mkdir(parents=True)
    made_up.put_manifest()
    for place, (rows, _) in _TABLES.items():
        (folder / place).write_text(csv_text(rows))
    match command:
        case "results":
            how = params_file.make(rng, folder)
        case "ingest":
            how = archives.make(rng, folder)
        case "deal":
            data = (folder / "data/manifest.parquet").read_bytes()
            how, data = damage.bytes_of(rng, data)
            (folder / "data/manifest.parquet").write_bytes(data)
        case _:
            place = rng.choice([place for place, (_, of) in _TABLES.items() if of == command])
            how, data = damage.table_of(rng, _TABLES[place][0])
            (folder / place).write_bytes(data)
    (folder / "command").write_text(command)
    return f"{command}: {how}"


def _read(folder: Path) -> str:
    command = [sys.executable, "-m", "pipeline", (folder / "command").read_text()]
    variables = {**os.environ, "COHORT_DIR": "cohort.zip", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, timeout=55, check=False)
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode == 0:
        return said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if done.returncode != 2 or len(errors) != 1 or "Traceback" in said:
        raise RuntimeError(f"status {done.returncode}: {' '.join(said.split())[-400:]}")
    raise RefusedError(errors[0])


def kinds() -> Iterable[Kind]:
    """The one of this module. What is accepted is judged by the kinds that read in this process."""
    refusals = (RefusedError,)
    yield Kind("commands", _make, _read, lambda folder, said: "", ("error: ",), refusals, one_in=25)
