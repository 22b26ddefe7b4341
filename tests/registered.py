"""A project in which two subtypes are registered: small networks with random weights, and drawn cells as the cohort."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_params
from PIL import Image

from pipeline.common import config, files
from pipeline.demo import cohort
from pipeline.images import decoding, manifest
from pipeline.machine import device
from pipeline.names import image_paths
from pipeline.stages import register

UM, PX = 24.9, 16
TEMPERATURES = {0: 1.5, 1: 0.7}
THRESHOLDS = {0: 0.4, 1: 0.55}
TRAINED = ("PML_RARA", "NPM1", "CBFB_MYH11")
PATIENTS = {"control": "AAA", "PML_RARA": "BBB", "NPM1": "CCC", "CBFB_MYH11": "DDD"}
REGISTERED = ["PML_RARA", "NPM1"]  # the third is trained and has no model in MLflow
INTERVAL = {"value": 0.8, "low": 0.6, "high": 0.9}
LAYERS = [
    {"kind": "conv", "filters": 4, "kernel_px": 3, "batch_norm_momentum": 0.9, "pool": True},
    {"kind": "dense", "units": 8},
]


def cells(class_name: str, count: int, seed: int = 20) -> list[bytes]:
    """TIFF files of one drawn patient."""
    (patient,) = cohort.draw_patients("control", {class_name: 1}, (count, count), (0.8, 0.8), seed)
    return [tiff(cell.pixels) for cell in cohort.draw_cells(patient, "control", seed)]


def tiff(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF")
    return buffer.getvalue()


def build(folder: Path) -> None:
    """What the earlier stages leave, as far as `register` reads it; and then `register` itself."""
    write_params(folder / "params.yaml", {"subtypes": list(TRAINED), "folds": list(TEMPERATURES)})
    rows = [
        _manifest_row(f"{name}/{PATIENTS[name]}/image_{number}.tif", data)
        for name in ("control", *TRAINED)
        for number, data in enumerate(cells(name, 12))
    ]
    (folder / "data").mkdir(exist_ok=True)
    manifest.build(rows).to_parquet(folder / "data/manifest.parquet", index=False)
    source = {"source": "demo", "cohort": "demo", "files": 48, "bytes": 1, "sha256": "0" * 64, "metadata": ""}
    (folder / "data/source.json").write_text(json.dumps(source))
    device.prepare("float32")
    for number, subtype in enumerate(TRAINED):
        for fold in TEMPERATURES:
            train(folder / "models" / subtype / "published" / f"fold-{fold}", subtype, fold, seed=10 * number + fold)
        _report(folder / "reports" / subtype / "published", subtype)
        evaluated(folder, subtype)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        here.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")  # MLflow remembers databases by address
        register.run(config.load(), REGISTERED, ["published"])


def evaluated(folder: Path, subtype: str) -> None:
    """What `evaluate` leaves for those that depend on its results."""
    path = folder / "data/evaluated" / subtype / "published.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(files.sha256_below(folder / "reports" / subtype / "published")))


def _manifest_row(path: str, data: bytes) -> dict[str, object]:
    numbers = decoding.statistics(decoding.decode(data))
    class_name, patient, _ = image_paths.place(path)
    row: dict[str, object] = {"path": path, "class": class_name, "patient": patient, "width": 144, "height": 144, "mode": "RGB"}
    row |= {"sha256": "", "pixels_sha256": numbers.sha256, "phash": numbers.phash, "look_alike": "", "error": ""}
    return row | dict(zip(manifest.NUMBERS, (*numbers.mean, *numbers.std, numbers.sharpness), strict=True))


def train(folder: Path, subtype: str, fold: int, seed: int) -> None:
    from pipeline.networks import model

    folder.mkdir(parents=True)
    spec = {
        "subtype": subtype,
        "control": "control",
        "fold": fold,
        "px": PX,
        "um": UM,
        "normalisation": {"mean": [200.0, 185.0, 198.0], "std": [43.0, 51.0, 36.0]},
        "precision": "float32",
        "layers": LAYERS,
        "knobs": {"px": PX},
        "machine": {"kind": "cpu"},
        "inputs": dict.fromkeys(("cells", "split", "code"), "0" * 64),
        "training": f"{subtype}-{fold}",
    }
    model.seed_everything(seed)
    network = model.build(spec)
    network.save_weights(folder / "model.weights.h5")
    (folder / "spec.json").write_text(json.dumps(spec))
    history = {"epoch": [0], "loss": [0.7], "val_loss": [0.7], "kept": [1]}
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)


def _report(folder: Path, subtype: str) -> None:
    (folder / "plots").mkdir(parents=True)
    names = ("image_accuracy", "image_auroc", "patient_auroc", "patient_sensitivity", "patient_specificity")
    (folder / "metrics.json").write_text(json.dumps({**dict.fromkeys(names, INTERVAL), "images": 24, "patients": 2}))
    scored = {"patient": [PATIENTS["control"], PATIENTS[subtype]], "fold": [0, 1], "label": [0, 1], "logit": [-1.0, 1.0]}
    pd.DataFrame(scored).to_csv(folder / "patients.csv", index=False)
    folds = pd.DataFrame({"temperature": TEMPERATURES, "threshold": THRESHOLDS, "chosen": {0: True, 1: False}})
    folds.rename_axis("fold").to_csv(folder / "folds.csv")
    figures = ("precision", "recall", "f1", "accuracy")
    bounds = {f"{name}_{side}": value for name in figures for side, value in (("low", 0.7), ("high", 0.9))}
    rows = [{"source": source, "class": "subtype", **dict.fromkeys(figures, 0.8)} for source in ("balanced", "published")]
    pd.DataFrame([{**rows[0], **bounds}, rows[1]]).to_csv(folder / "by_class.csv", index=False)
