"""Learn a subtype of few patients in three ways, beside the DAG: reports/transfer/<subtype>/.

From scratch; on vectors of an encoder that knows no leukaemia; and on vectors of this project's networks of the other subtypes,
which know neither the subtype nor the controls who learn and are tested here. The same people learn and are tested in each.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from pipeline.bags import patients, scoring
from pipeline.bags import recipe as bag_recipe
from pipeline.bags.scoring import Bag
from pipeline.common import console, files, made, paths, selection
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError, TrackingError
from pipeline.evaluation import plots
from pipeline.folds import image_weights, split_table
from pipeline.names import patient_names
from pipeline.networks import recipe
from pipeline.pages import rendering
from pipeline.registry import mlflow_server, transfer_run
from pipeline.transfer import curve, draws
from pipeline.transfer.draws import Draw

_CODE = (*recipe.CODE, "bags", "encoders", "transfer", "stages/transfer.py")
_TEMPLATE = "transfer_page.html.j2"
_COLUMNS = ["way", "size", "fold", "patient", "label", "logit"]


def run(config: Config, subtype: str) -> None:
    """Write the curve, the scores behind it, its page and its lineage, and bring them to MLflow.

    Raises:
        ConfigError: there is no other subtype, `transfer` names what is not there, or a search saw who is to be tested.
        DataError, LeakError: vectors or networks are missing, or a network has seen who is to be tested.
    """
    files.require_writable(paths.transferred(subtype))
    known = config.transfer
    selection.candidates(config, known.base, "cnn")
    selection.candidates(config, known.general, "bag")
    if known.base in config.down_weighted:
        raise ConfigError(
            f"transfer.base: {known.base} is one of down_weighted, by more patients than those who learn here; "
            "name a base that is not"
        )
    if config.bag_of(known.general).encoder not in config.encoders:
        raise ConfigError(
            f"transfer.general: {known.general} learns on networks made here; name one with an encoder of encoders"
        )
    others = [name for name in config.subtypes if name != subtype]
    if not others:
        raise ConfigError(f"transfer {subtype}: params.yaml's subtypes has no other, whose networks could be built upon")
    client = mlflow_server.connect()
    split, tables, cells = recipe.inputs(config, subtype)
    folds = sorted(config.folds)
    gone = image_weights.left_out(paths.existing(paths.LEFT_OUT))
    kept = {str(who): ~own.isin(gone).to_numpy() for table in tables for who, own in table.groupby("patient")["path"]}
    learnable = {who for who, images in kept.items() if images.any()}
    sizes = draws.possible(split, learnable, folds, known.patients)
    if left_out := [size for size in known.patients if size not in sizes]:
        console.say(f"transfer {subtype}: left out, for want of patients: {', '.join(map(str, left_out))}")
    drawn = [draws.draw(split, learnable, fold, size, config.split.n_folds, config.seed) for fold in folds for size in sizes]
    _require_unsearched(config, [*others, subtype], {name for one in drawn for name in one.tested["patient"]})
    for one, other in itertools.product(drawn, others):
        table = split_table.read(other)
        draws.require_unseen(one, other, table, config.split.n_folds)

    from pipeline.transfer import own_networks  # TensorFlow takes seconds and memory: after everything that can fail

    lineage = _lineage(config, subtype, [one for fold in folds for one in own_networks.describe(others, known.base, fold)])
    scored = []
    for fold in folds:
        own = [one for one in drawn if one.fold == fold]
        people = sorted({name for one in own for name in pd.concat([one.learners, one.tested])["patient"]})
        images = list(zip(tables, cells, strict=True))
        vectors = dict(own_networks.bags(config, others, known.base, fold, people, images))
        everybody = patients.read(config, subtype, config.bag_of(known.general).encoder, fold)
        general = dict(zip(everybody.split["patient"], everybody.bags, strict=True))
        for one in own:
            scored.append(_by_vectors(config, subtype, "own", one, one.learners, vectors, kept))
            scored.append(_by_vectors(config, subtype, "general", one, one.learners, general, kept))
            more = pd.concat([one.learners, one.more_controls], ignore_index=True)
            scored.append(_by_vectors(config, subtype, "general_all", one, more, general, kept))
            if known.from_scratch:
                scored.append(_from_scratch(config, subtype, one, tables, cells, gone))
    scores = pd.concat(scored, ignore_index=True)[_COLUMNS].sort_values(["way", "size", "fold", "label", "patient"])
    folder = _write(config, subtype, scores, lineage)
    for checkpoint in paths.CHECKPOINTS.glob(f"{subtype}-transfer-*"):
        checkpoint.unlink()
    table = curve.reached(scores, config.evaluate.confidence)
    metrics = curve.metrics(table)
    try:
        with mlflow_server.answering():
            transfer_run.log(client, lineage, metrics, folder)
    except TrackingError as error:
        console.warn(str(error))
    console.say(f"transfer: {folder}/index.html; MLflow: {mlflow_server.shown_address()}, experiment {subtype}")


def _require_unsearched(config: Config, subtypes: list[str], tested: set[str]) -> None:
    """Refuse networks that a search chose by patients who are tested here: their figures would be flattered."""
    for name in subtypes:
        if seen := sum(patient_names.are_among(sorted(tested), config.tuned_on(name, config.transfer.base))):
            raise ConfigError(
                f"candidates.{config.transfer.base}.networks.{name}.tuned_on: the search for it saw {seen} patients who "
                "are tested here; name a transfer.base that no search found"
            )


def _lineage(config: Config, subtype: str, networks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a transfer follows from: which networks, which encoder, data, code and settings; and the digest of all."""
    known = config.transfer
    encoder = made.values(paths.encoder(config.bag_of(known.general).encoder))
    contents = {
        "subtype": subtype,
        "control": config.control,
        "networks": networks,
        "encoder": encoder["digest"],
        "inputs": {**recipe.digests(config, subtype, _CODE), "left_out": files.sha256(paths.existing(paths.LEFT_OUT))},
        "knobs": {
            **known.model_dump(),
            "folds": sorted(config.folds),
            "n_folds": config.split.n_folds,
            "seed": config.seed,
            "learner": config.bag_of(known.general).learner.model_dump(),
            "network": config.network_of(subtype, known.base).model_dump(exclude_none=True),
            "train": config.train_of(subtype, known.base).model_dump(),
        },
    }
    return {**contents, "transfer": recipe.digest(contents)}


def _by_vectors(
    config: Config,
    subtype: str,
    way: str,
    one: Draw,
    learners: pd.DataFrame,
    bags: dict[str, Bag],
    kept: dict[str, NDArray[np.bool_]],
) -> pd.DataFrame:
    candidate = config.transfer.general
    seed = bag_recipe.seed(config.seed, f"{subtype} transfer {one.size}", one.fold)
    known = [bags[patient][kept[patient]] for patient in learners["patient"]]
    with threadpool_limits(1):  # their number may change the last digits
        coefficients = bag_recipe.fit(config, candidate, known, learners["label"].to_numpy(np.int64), seed)
        logits = scoring.logits(
            config.bag_of(candidate).learner.name, coefficients, [bags[patient] for patient in one.tested["patient"]]
        )
    return _scored(way, one, one.tested.assign(logit=logits))


def _from_scratch(
    config: Config, subtype: str, one: Draw, tables: list[pd.DataFrame], cells: list[Any], gone: frozenset[str]
) -> pd.DataFrame:
    """The network of the base, trained on the learners alone; the mean of a patient's logits."""
    from pipeline.networks import training

    base, stop = config.transfer.base, draws.stoppers(one)
    roles = {patient: "val" if patient in stop else "train" for patient in one.learners["patient"]}
    roles |= dict.fromkeys(one.tested["patient"], "test")
    images = []
    for label, table in enumerate(tables):
        role = table["patient"].map(roles)
        images.append(table.assign(role=role.mask((role == "train") & table["path"].isin(gone)), label=label))
    prepared = training.prepare(config, subtype, base, one.fold, cells, images, _CODE)
    name = f"{subtype}-transfer-{one.size}-fold-{one.fold}"
    console.say(f"train {name} on {len(one.learners) - len(stop)} patients")
    seed = recipe.seed(config.seed, f"{subtype} transfer {one.size}", one.fold)
    files.require_writable(paths.CHECKPOINTS)
    trained = training.train(prepared, seed, paths.CHECKPOINTS / prepared.checkpoint(name), lambda _row: None)
    means = trained.scored("test").groupby(["patient", "label"])["logit"].mean().reset_index()
    return _scored("scratch", one, means)


def _scored(way: str, one: Draw, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(way=way, size=one.size, fold=one.fold)[_COLUMNS]


def _write(config: Config, subtype: str, scores: pd.DataFrame, lineage: dict[str, Any]) -> Path:
    """All files of the folder at once, and a table on the terminal."""
    confidence = config.evaluate.confidence
    table, compared = curve.reached(scores, confidence), curve.comparisons(scores, confidence)
    words = {way: text for way, text in curve.WAYS.items() if way in set(table["way"])}
    picture = plots.png(plots.learning_curves(table, words, subtype))
    page = rendering.template(_TEMPLATE).render(
        subtype=subtype,
        control=config.control,
        demo=config.ingest.source == "demo",
        percent=f"{100 * confidence:g} %",
        words=words,
        rows=[curve.shown(table, size, words) for size in sorted(set(table["size"]))],
        tested=table.iloc[0][["controls", "patients"]].tolist(),
        folds=sorted(config.folds),
        compared=compared,
        lineage=lineage,
        picture=rendering.data_uri(picture),
    )
    target = paths.transferred(subtype)
    with files.folder_in_one_step(target) as folder:
        table.to_csv(folder / "curve.csv", index=False)
        scores.to_csv(folder / "scores.csv", index=False)
        (folder / "lineage.json").write_text(json.dumps(lineage, indent=2) + "\n")
        (folder / "curve.png").write_bytes(picture)
        (folder / "index.html").write_text(page, encoding="utf-8")
    console.table(
        f"transfer to {subtype}: patient AUROC",
        ["patients", *words.values()],
        [[str(row["size"]), *(f"{figure:.2f}" for figure in row["figures"])] for row in
         (curve.shown(table, size, words) for size in sorted(set(table["size"])))],
    )  # fmt: skip
    for one in compared:
        if one.verdict != "not told apart":
            console.say(f"{one.size} patients: {curve.WAYS[one.way]}, against {curve.WAYS[one.other]}: {one.verdict}")
    return target
