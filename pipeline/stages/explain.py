"""Say why: which cells carried a patient's score, and which pixels of a cell: reports/explained/<subtype>/<candidate>/.

Every patient is explained by the fold that never saw him or her. What is shown has passed checks that stand on the page; a map
that fails one is left out, and the page says why. No result depends on any of it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.bags import patients
from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.encoders import kept_network
from pipeline.evaluation import score_table
from pipeline.explanation import checks, deletion, planted, tested
from pipeline.explanation.cells import shares
from pipeline.explanation.checks import Check
from pipeline.explanation.tested import Patient
from pipeline.images import reading
from pipeline.pages import explained_page, rendering

_WAYS: dict[str, tuple[str, Callable[[Patient], Any]]] = {
    "left out": ("in the order of what it loses without each", lambda one: one.changes),
    "alone": ("in the order of their scores alone", lambda one: one.alone),
}


def run(config: Config, subtypes: list[str], candidates: list[str]) -> None:
    """Explain each candidate of each subtype.

    Raises:
        DataError, LeakError, ModelError: files are missing, damaged, or do not fit each other.
    """
    for subtype, candidate in itertools.product(subtypes, candidates):
        start = time.monotonic()
        people = list(tested.read(config, subtype, candidate))
        if not people:
            raise DataError(f"{paths.split_table(subtype)}: no test patient in params.yaml's folds; nothing can be explained")
        scores, shown, read = _scores(subtype, candidate, people), _shown(config, people), _reader()
        of_cells = [
            checks.cells(_areas(config, people, ranked), words, config.evaluate.confidence) for words, ranked in _WAYS.values()
        ]
        took_cells = time.monotonic() - start
        maps, why_not = _maps(config, subtype, candidate, shown, read)
        of_pixels = checks.pixels(maps, config.evaluate.confidence) if maps else []
        took = time.monotonic() - start - took_cells
        failed = [one.key for one in of_pixels if not one.passed]
        page = rendering.template(explained_page.TEMPLATE).render(
            subtype=subtype,
            candidate=candidate,
            demo=config.ingest.source == "demo",
            percent=f"{100 * config.evaluate.confidence:g} %",
            of_cells=of_cells,
            of_mean=candidate not in config.kinds.bag,
            ordered=_WAYS[order][0] if (order := _best(of_cells)) else "",
            of_pixels=of_pixels,
            why_not=why_not,
            failed=failed,
            likeness=_likeness(maps),
            patients=[
                {
                    "patient": one.patient,
                    "class": subtype if one.label else config.control,
                    "score": scores[one.patient],
                    "images": len(one.images),
                    "sheets": list(explained_page.sheets(_why(one, order, [] if failed else maps), read)),
                }
                for one in shown
            ],
        )
        target = paths.explained(subtype, candidate)
        with files.folder_in_one_step(target) as folder:
            (folder / "index.html").write_text(page, encoding="utf-8", newline="\n")
            contents: dict[str, Any] = {
                "cells": [asdict(one) for one in of_cells],
                "pixels": [asdict(one) for one in of_pixels],
            }
            contents |= {"no_maps": why_not, "weights": _weights(config, subtype, candidate)}
            (folder / "checks.json").write_text(json.dumps(contents, indent=2) + "\n")
            _table(people).to_csv(folder / "cells.csv", index=False)
        _say(f"{subtype} {candidate}", [*of_cells, *of_pixels], why_not)
        each = f"{took_cells / len(people):.2g} s a patient for cells"
        each += f", {took / len({one.patient for one in maps}):.2g} s for pixels with their checks" if maps else ""
        console.say(f"explain: {target}/index.html; {each}")


def _areas(config: Config, people: Sequence[Patient], ranked: Callable[[Patient], Any]) -> list[float]:
    """Of each patient with more than one image."""
    found = []
    for number, one in enumerate(people):
        if (count := len(one.images)) > 1:
            random = deletion.random_orders(count, config.explain.random_orders, [config.seed, number])
            order = np.argsort(-ranked(one), kind="stable").astype(np.int64)
            found.append(deletion.area(deletion.curve(one.left, order), [deletion.curve(one.left, some) for some in random]))
    return found


def _shown(config: Config, people: Sequence[Patient]) -> list[Patient]:
    """Of either class so many, from all folds alike; the subtype's come first."""
    found = []
    for label in (1, 0):
        of_folds = [[one for one in some if one.label == label] for _, some in _by_fold(people)]
        in_turn = [one for row in itertools.zip_longest(*of_folds) for one in row if one is not None]
        found += in_turn[: config.explain.patients]
    return found


def _scores(subtype: str, candidate: str, people: Sequence[Patient]) -> dict[str, float]:
    """Of test patients, as the report shows them."""
    rows = made.table(paths.scored(subtype, candidate))
    found = score_table.patients(score_table.as_calibrated(rows[rows["split"] == "test"]))
    scores = dict(zip(found["patient"], found["score"], strict=True))
    if missing := {one.patient for one in people} - set(scores):
        raise DataError(f"{paths.scored(subtype, candidate)}: has no score of patient {min(missing)}; run `dvc repro evaluate`")
    return scores


def _best(of_cells: Sequence[Check]) -> str | None:
    """The first way whose order of cells passed."""
    return next((way for way, check in zip(_WAYS, of_cells, strict=True) if check.passed), None)


def _why(one: Patient, way: str | None, maps: Sequence[Any]) -> explained_page.Why:
    """What is shown of a patient: cells by the way whose order passed, if any, and maps of the most suspicious."""
    parts = shares(np.nan_to_num(one.changes))
    order = [] if way is None else np.argsort(-_WAYS[way][1](one), kind="stable").tolist()
    own = {found.image: found.heat for found in maps if found.patient == one.patient and found.suspicious}
    return explained_page.Why({one.images[row]: float(parts[row]) for row in order}, own)


def _likeness(maps: Sequence[Any]) -> list[tuple[str, float]]:
    """After each layer that was made random, the mean over patients of all folds."""
    known = [found.likeness for found in maps if found.likeness]
    return [(layer, float(np.mean([of_map[layer] for of_map in known]))) for layer in (known[0] if known else [])]


def _weights(config: Config, subtype: str, candidate: str) -> dict[str, str]:
    """The SHA-256 of what each fold learned, by which `predict` tells whether it asks the model that was checked here."""
    folders = [paths.fold(subtype, candidate, fold) for fold in sorted(config.folds)]
    name = "coefficients.npz" if candidate in config.kinds.bag else "model.weights.h5"
    return {folder.name: files.sha256(paths.existing(folder / name)) for folder in folders}


def _reader() -> Callable[[str], Any]:
    """Of images by their path, as `validate` saw them."""
    table = made.table(paths.MANIFEST, columns=["path", "sha256"])
    digests = dict(zip(table["path"], table["sha256"], strict=True))
    return lambda path: reading.pixels(paths.RAW / path, digests.get(path, ""))


def _maps(
    config: Config, subtype: str, candidate: str, shown: Sequence[Patient], read: Callable[[str], Any]
) -> tuple[list[Any], str]:
    """The maps of all folds; or none, and why."""
    encoder = config.bag_of(candidate).encoder if candidate in config.kinds.bag else None
    if encoder and not (_vectors(config, subtype, encoder, shown[0].fold) / kept_network.WEIGHTS).is_file():
        return [], f"the vectors of the encoder {encoder} are made elsewhere: it cannot be asked about other pixels"
    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.explanation import maps, scorers

    places = planted.places(config, [path for one in shown for path in one.images])
    found = []
    for fold, some in _by_fold(shown):
        folder = paths.fold(subtype, candidate, fold)
        console.say(f"explain: {folder}: maps of {len(some)} patients")
        if encoder:
            scorer: scorers.Scorer = scorers.bags(folder, _vectors(config, subtype, encoder, fold))
        else:
            scorer = scorers.network(folder)
        found += maps.look(scorer, some, config.explain, read, places, config.seed)
    return found, ""


def _vectors(config: Config, subtype: str, encoder: str, fold: int) -> Path:
    """Where a fold's vectors lie, and the encoder's own files."""
    return paths.encoder(patients.places(config, subtype, encoder, fold)[0]).parent


def _by_fold(people: Sequence[Patient]) -> Iterator[tuple[int, list[Patient]]]:
    for fold in sorted({one.fold for one in people}):
        yield fold, [one for one in people if one.fold == fold]


def _table(people: Sequence[Patient]) -> pd.DataFrame:
    """A row an image of every test patient: what goes with it, its share of what speaks the same way, its score alone."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "patient": one.patient,
                    "label": one.label,
                    "fold": one.fold,
                    "path": one.images,
                    "change": one.changes,
                    "share": shares(np.nan_to_num(one.changes)),
                    "alone": one.alone,
                }
            )
            for one in people
        ],
        ignore_index=True,
    )


def _say(name: str, found: Sequence[Check], why_not: str) -> None:
    rows = [[one.question, one.words, "passed" if one.passed else "failed"] for one in found]
    console.table(f"{name}: what its explanations must pass", ["question", "found", ""], rows)
    if why_not:
        console.say(f"no maps of pixels: {why_not}")
