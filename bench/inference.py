"""How fast the registered model scores, beside its networks alone. `python -m bench.inference [subtype ...]`

Images a second, measured in alternation in one process, for the champions at MLFLOW_TRACKING_URI (those of `make demo` when it
is not set), on drawn cells:

    predictor   what MLflow loads: bytes of TIFF files in, a table of scores out
    networks    the forward pass of every fold, Keras' `predict_on_batch`, on resized pixels that lie ready
    bare        the same, compiled and on tensors that lie ready: the bound
    decoding    the files decoded and resized, nothing else, by one thread

A ratio's lower bound is the fifth percentile over the rounds, each of which measures all ways once.
"""

from __future__ import annotations

import argparse
import io
import logging
import platform
from importlib.metadata import version
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from PIL import Image

from bench.training import Way, measure
from pipeline.common import config
from pipeline.demo import cohort
from pipeline.images import decoding
from pipeline.registry import mlflow_server


def tiffs(class_name: str, control: str, count: int) -> list[bytes]:
    """Files of one drawn patient."""
    (patient,) = cohort.draw_patients(control, {class_name: 1}, (count, count), (0.8, 0.8), 7)
    found = []
    for cell in cohort.draw_cells(patient, control, 7):
        buffer = io.BytesIO()
        Image.fromarray(cell.pixels).save(buffer, "TIFF")
        found.append(buffer.getvalue())
    return found


def ways(subtype: str, files: list[bytes]) -> dict[str, Way]:
    """Each scores all files once."""
    import tensorflow as tf

    loaded = mlflow.pyfunc.load_model(f"models:/{subtype}@champion")
    folds = loaded.unwrap_python_model()._folds
    frame = pd.DataFrame({"image": pd.Series(files, dtype=object)})

    def decode(px: int) -> Any:
        return np.stack([decoding.resize(decoding.decode(file), px) for file in files])

    ready = [(network, decode(px)) for network, px, _ in folds]
    compiled = [(tf.function(network), tf.constant(pixels)) for network, pixels in ready]
    return {
        "predictor": lambda: loaded.predict(frame),
        "networks": lambda: [network.predict_on_batch(pixels) for network, pixels in ready],
        "bare": lambda: [np.asarray(run(pixels, training=False)) for run, pixels in compiled],
        "decoding": lambda: decode(folds[0][1]),
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("subtypes", nargs="*", help="all of params.yaml when left out")
    options = parser.parse_args()
    settings = config.load()
    mlflow_server.connect()
    from pipeline.machine import device

    machine = device.prepare("auto")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    tools = f"TensorFlow {version('tensorflow')}, Python {platform.python_version()}"
    print(f"{machine.name}, {machine.threads} threads, {tools}; {options.images} images, {options.rounds} rounds\n")
    print("| network | predictor | networks | bare | decoding | predictor / bare | predictor / networks |\n" + "|---" * 7 + "|")
    for subtype in options.subtypes or settings.subtypes:
        table = measure(ways(subtype, tiffs(subtype, settings.control, options.images)), options.images, options.rounds)
        ratios = [table["predictor"] / table[other] for other in ("bare", "networks")]
        shown = [f"{ratio.median():.2f} ({ratio.quantile(0.05):.2f})" for ratio in ratios]
        print("| " + " | ".join([subtype, *(f"{speed:.0f}" for speed in table.median()), *shown]) + " |", flush=True)


if __name__ == "__main__":
    main()
