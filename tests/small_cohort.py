"""A cohort of two classes that takes milliseconds to validate, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from conftest import ROOT
from test_decoding import PX, cell, tiff

from pipeline.cohort import patients
from pipeline.common import config

CLASSES = ["control", "NPM1"]


def settings(*subtypes: str, share: float = 0.02, images: int = 2, min_patients: int = 2, **more: object) -> config.Config:
    usual = config.load(ROOT / "params.yaml")
    limits = usual.validate_.model_copy(
        update={
            "max_quarantined_share": share,
            "min_images_per_patient": images,
            "min_patients_per_class": min_patients,
            **more,
        }
    )
    return usual.model_copy(update={"control": "control", "subtypes": list(subtypes), "image_px": PX, "validate_": limits})


def put(path: str, data: bytes) -> None:
    file = Path("data/raw", path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    if not Path("data/patients.csv").exists():
        patients.table([], None).to_csv("data/patients.csv", index=False)
        Path("data/not_copied.csv").write_text("path,reason\n")
        Path("data/source.json").write_text('{"cohort": "a small one"}')


def sound_cohort(backwards: bool = False) -> None:
    """Two classes of three patients with four images each."""
    paths = [f"{name}/{name[0].upper()}A{p}/image_{n}.tif" for name in CLASSES for p in "ABC" for n in (1, 2, 10, 11)]
    seeds = {path: seed for seed, path in enumerate(paths)}
    for path in reversed(paths) if backwards else paths:
        put(path, tiff(cell(seeds[path])))


def quarantine() -> dict[str, str]:
    table = pd.read_csv("reports/validation/quarantine.csv", keep_default_na=False)
    return dict(zip(table["path"], table["reason"], strict=True))


def report() -> dict:
    return json.loads(Path("reports/validation/validation.json").read_text())


def rule(name: str) -> dict:
    return next(rule for rule in report()["rules"] if rule["name"] == name)
