"""Ask a candidate's networks about the patients of every class: reports/audit/<subtype>/<candidate>_classes.csv.

A network learned one subtype against control; that it calls another leukaemia its own is seen here and nowhere else. Of
its own two classes the patients are those of `evaluate`, whom a network had not seen; of the others everybody, by the mean
of the trained folds' networks, calibrated as the registered model is.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, LeakError, ModelError
from pipeline.evaluation import every_class, pooling, seen_by_search
from pipeline.networks import recipe

_AT_ONCE = 256  # images


def run(config: Config, subtypes: list[str], candidates: list[str]) -> None:
    """Write whom the networks of each subtype call that, a row a class.

    Raises:
        LeakError: a network was trained by another split than there is now, or a patient is in two classes.
        DataError, ModelError: names the file that is missing or does not hold what the others need.
    """
    for subtype, candidate in itertools.product(subtypes, candidates):
        called, how = _own(config, subtype, candidate)
        called |= _others(config, subtype, candidate)
        rows = [
            every_class.row(subtype, name, how.get(name, every_class.OTHERS), called[name], config.evaluate.confidence)
            for name in config.classes
        ]
        table = pd.DataFrame(rows, columns=every_class.COLUMNS)
        table.to_csv(paths.fresh(paths.other_classes(subtype, candidate)), index=False)
        others = table[table["how"] == every_class.OTHERS]
        hits, patients = int(others["called"].sum()), int(others["patients"].sum())
        told = f"other_classes {subtype} {candidate}: of {patients} patients of the other subtypes {hits} are called {subtype}"
        if hits > patients / 2:
            console.warn(f"{told}: it tells {subtype} from {config.control}, and not from them; `call` does (docs/call.md)")
        else:
            console.say(told)


def _own(config: Config, subtype: str, candidate: str) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Of control and the subtype, who of the test patients is called the subtype, and how they were asked."""
    folder = paths.report(subtype, candidate)
    patients = made.rows(folder / "patients.csv", keep_default_na=False)
    found = {name: patients.loc[patients["label"] == label, "called"] for label, name in enumerate((config.control, subtype))}
    _, leaked = seen_by_search.read(made.values(folder / "metrics.json"))
    return found, dict.fromkeys(found, every_class.SEARCHED if leaked else every_class.OWN)


def _others(config: Config, subtype: str, candidate: str) -> dict[str, pd.Series]:
    """Of the other subtypes, who of all patients is called this one."""
    split, *_ = recipe.inputs(config, subtype)
    images = {}
    for name in config.subtypes:
        if name != subtype:
            _, (_, table), (_, cells) = recipe.inputs(config, name)
            if both := set(table["patient"]) & set(split["patient"]):
                raise LeakError(f"patient {min(both)} is of {name} and in {paths.split_table(subtype)}; run `dvc repro split`")
            images[name] = table, cells
    trained = [_trained(subtype, candidate, fold) for fold in sorted(config.folds)]
    measured = paths.report(subtype, candidate) / "folds.csv"
    folds = made.rows(measured).set_index("fold").sort_index()
    if folds.index.tolist() != sorted(config.folds):
        raise DataError(f"{measured}: not of the folds in params.yaml; run `dvc repro evaluate`")

    from pipeline.machine import device  # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.networks import model

    device.prepare("float32")
    logits = {name: np.zeros(len(table)) for name, (table, _) in images.items()}
    for heat, (folder, spec) in zip(folds["temperature"].tolist(), trained, strict=True):
        try:
            network = model.build(spec)
            network.load_weights(folder / "model.weights.h5")
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"{folder}: spec and weights do not make a network ({reason}); `dvc repro` trains it again"
            ) from None
        for name, (_, cells) in images.items():
            logits[name] += _logits(network, cells) / (heat * len(trained))
    calibration = {key: float(folds[key].mean()) for key in ("intercept", "slope")}
    found = {}
    for name, (table, _) in images.items():
        patients = pooling.patient_scores(table.assign(logit=logits[name]), ["patient"], **calibration)
        found[name] = patients["score"] > config.evaluate.threshold
    return found


def _logits(network: Any, cells: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`(images,)`; called plainly, since of many networks each would be compiled for every shape of a batch."""
    parts = [network(np.asarray(cells[at : at + _AT_ONCE]), training=False) for at in range(0, len(cells), _AT_ONCE)]
    return np.concatenate([np.asarray(part, dtype=np.float64)[:, 0] for part in parts])


def _trained(subtype: str, candidate: str, fold: int) -> tuple[Path, dict[str, Any]]:
    """Folder and spec of a fold's network, if it was trained by the split that there is."""
    folder = paths.fold(subtype, candidate, fold)
    spec = made.values(folder / "spec.json")
    paths.existing(folder / "model.weights.h5")
    if spec["inputs"].get("split") != files.sha256_of_all([paths.split_table(subtype)]):
        raise LeakError(f"{folder}: trained by another split than {paths.split_table(subtype)}; `dvc repro` trains it again")
    return folder, spec
