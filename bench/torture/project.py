"""A tiny project that ran to its end once, the reference, and copies of it in which some stages have to run again.

Every stage of the pipeline is in it, with networks of 16 px and two epochs, so that a stage takes seconds. The project always
lies at the same path: MLflow writes down where its files are.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import psutil
from conftest import write_params
from processes import CLEAN
from ruamel.yaml import YAML
from small_project import TINY, call, copy_of_the_repository

from bench.torture import ROOT

_BAGS = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")["candidates"]["bags"]
MICRO = {
    **TINY,
    "subtypes": ["NPM1"],
    "kinds.bag": ["bags"],
    "ingest.demo.patients": {"control": 6, "NPM1": 6},
    "pack.px": 16,
    "train.max_epochs": 2,
    "train.min_epochs": 2,
    "candidates.published.networks": {"NPM1": {"first_conv": 8, "conv": [8], "dense": [8], "learning_rate": 0.001}},
    "candidates.bags": {**_BAGS, "learner": {**_BAGS["learner"], "inner_folds": 2}},
    "encoders.efficientnet_lite0.px": 32,
    "suspect.inner_folds": 2,
    "evaluate.draws": 100,
    "audit.permutations": 20,
    "call.candidates": ["bags"],
    "call.inner_folds": 2,
    "register.floors.bag": {"patient_sensitivity": 0.0, "patient_specificity": 0.0},
    "register.gate.draws": 500,
}
# One thread each: two rounds of the same stage are then the same work, and the machine stays usable.
VARIABLES = {**CLEAN, "TRAIN_THREADS": "1", "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
REGISTER = ("register@NPM1", "register_call@bags")
TRACKED = ("train@NPM1-published-0", *REGISTER)  # who talk to MLflow
RECORDS = ("mlflow.db*", "mlartifacts", "data/decisions.jsonl", "reports/*/verdicts.html")


class Project:
    """The project at `folder/project`, its reference beside it, and the seconds that every stage took."""

    def __init__(self, folder: Path) -> None:
        """Make the reference, where it is not there from an earlier sitting with the same code."""
        self.folder, self.kept = folder / "project", folder / "reference"
        if not (folder / "seconds.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            seconds = self._make()
            shutil.rmtree(self.kept, ignore_errors=True)
            self.folder.rename(self.kept)
            (folder / "seconds.json").write_text(json.dumps(seconds))
        self.seconds: dict[str, float] = json.loads((folder / "seconds.json").read_text())

    def _make(self) -> dict[str, float]:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        copy_of_the_repository(self.folder)
        write_params(self.folder / "params.yaml", MICRO)
        call(self.folder, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-am", "micro")
        return _run_all(self.folder)

    def restore(self) -> None:
        """The project as the reference is; hard links into DVC's cache stay such."""
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.kept), str(self.folder)], check=True)

    def outs(self, stage: str) -> list[Path]:
        """What the reference holds of a stage's, by their places within a project."""
        lock = YAML(typ="safe", pure=True).load(self.kept / "dvc.lock")["stages"]
        return [Path(out["path"]) for out in lock[stage].get("outs", [])]

    def undo(self, stages: Collection[str]) -> None:
        """As if `stages` had never run: no outputs, nothing in dvc.lock, neither runs nor outputs to be taken from the cache.

        Where all that registers is among them MLflow's records go too, which then come from the files alone.
        """
        yaml = YAML(pure=True)
        lock = yaml.load(self.folder / "dvc.lock")
        outs = [out for stage in stages for out in lock["stages"].pop(stage).get("outs", [])]
        others = [out for entry in lock["stages"].values() for out in entry.get("outs", [])]
        for kept in self._cached(outs) - self._cached(others):  # else DVC would have nothing left to write there
            kept.unlink(missing_ok=True)
        for out in outs:
            place = self.folder / out["path"]
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        yaml.dump(lock, self.folder / "dvc.lock")
        shutil.rmtree(self.folder / ".dvc/cache/runs", ignore_errors=True)
        if "train@NPM1-published-0" in stages:  # a finished training is remembered among its checkpoints
            shutil.rmtree(self.folder / ".checkpoints", ignore_errors=True)
        if any(stage.startswith("embed") for stage in stages):
            shutil.rmtree(self.folder / ".vectors", ignore_errors=True)
        if set(REGISTER) <= set(stages):
            for pattern in RECORDS:
                for place in self.folder.glob(pattern):
                    shutil.rmtree(place) if place.is_dir() else place.unlink()

    def _cached(self, outs: Iterable[Mapping[str, str]]) -> set[Path]:
        """Where DVC's cache keeps these outputs, the files of folders each."""
        places = {self._object(out["md5"]) for out in outs}
        listed = [
            file for place in places if place.suffix == ".dir" and place.exists() for file in json.loads(place.read_text())
        ]
        return places | {self._object(file["md5"]) for file in listed}

    def _object(self, md5: str) -> Path:
        return self.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def _run_all(folder: Path) -> dict[str, float]:
    """`dvc repro`; the seconds of a processor that each stage took, as far as a look every tenth of a second tells."""
    said = folder.parent / "said"
    with said.open("w") as output:
        dvc = subprocess.Popen(["dvc", "repro"], cwd=folder, env=VARIABLES, stdout=output, stderr=subprocess.STDOUT)
    seconds: dict[str, float] = {}
    while dvc.poll() is None:
        time.sleep(0.1)
        with contextlib.suppress(psutil.Error, IndexError, ValueError):
            (stage,) = psutil.Process(dvc.pid).children()
            name = re.findall(r"^Running stage '(.*)'", said.read_text(), re.MULTILINE)[-1]
            seconds[name] = max(seconds.get(name, 0.0), spent(stage))
    if dvc.returncode:
        raise SystemExit(said.read_text())
    return {name: round(took, 2) for name, took in seconds.items()}


def spent(process: psutil.Process) -> float:
    """Seconds of a processor that a process has had: its own measure of how far it is, however busy the machine."""
    times = process.cpu_times()
    return float(times.user + times.system)
