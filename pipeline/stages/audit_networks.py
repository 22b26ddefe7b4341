"""Train four twins of every network of a subtype, to see what else could make it good: reports/audit/<subtype>_networks.json.

The twins differ from the network in one thing each: another seed, labels shuffled among the patients, images without hue,
or the images and not the patients dealt to folds. The last is the mistake this pipeline exists to avoid; it is made here
alone, to show what it would claim, and nothing of the twins is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.auditing import check_result
from pipeline.auditing.check_result import Check
from pipeline.auditing.permutation import null, shuffled
from pipeline.common import console, paths
from pipeline.common.config import Config
from pipeline.evaluation import intervals, metrics
from pipeline.folds import dealing
from pipeline.networks import recipe

TWINS = ("other_seed", "labels_shuffled", "greyscale", "image_split")
_CODE = (*recipe.CODE, "stages/audit_networks.py")
_SCORED = ["fold", "patient", "label", "logit"]
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)  # of R, G, B in 65536ths (ITU-R BT.601)
_IMAGES_AT_ONCE = 1024


def run(config: Config, subtypes: list[str]) -> None:
    """Train the twins of each subtype's networks, or go on with them after a kill; write and show what they reach.

    Raises:
        DataError, ModelError: names the file that is missing or does not hold what the others need.
    """
    for subtype in subtypes:
        split, tables, parts = recipe.inputs(config, subtype)
        images = pd.concat([table.assign(label=label) for label, table in enumerate(tables)], ignore_index=True)
        cells = np.concatenate(parts)
        network = _network(config, subtype)
        found = []
        for twin in TWINS:
            scored = _scores(config, subtype, twin, split, images, grey(cells) if twin == "greyscale" else cells)
            found.append(_CHECKS[twin](config, scored, network))
        about = {"subtype": subtype, "folds": sorted(config.train.folds), "network": _reached(network)}
        check_result.write(paths.audit_networks(subtype), about, found)
        check_result.show(f"{subtype}: what its twins reach", found)
        for checkpoint in paths.CHECKPOINTS.glob(f"{subtype}-twin-*"):
            checkpoint.unlink()


def grey(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images `(n, px, px, 3)` without their colours: the three channels hold the luma."""
    found = np.empty_like(cells)
    for start in range(0, len(cells), _IMAGES_AT_ONCE):
        chosen = slice(start, start + _IMAGES_AT_ONCE)
        found[chosen] = (((cells[chosen].astype(np.uint32) @ _LUMA) + 0x8000) >> 16)[..., None]
    return found


def dealt(config: Config, twin: str, split: pd.DataFrame, images: pd.DataFrame, fold: int) -> pd.DataFrame:
    """`images` (patient, label) of one twin and fold, with a column role; of the twin with shuffled labels, its labels."""
    rng = np.random.default_rng([config.seed, TWINS.index(twin)])  # the same in every fold
    if twin == "image_split":
        order = images.assign(draw=rng.random(len(images))).groupby("patient")["draw"].rank(method="first") - 1
        turn = images["patient"].map({patient: n for n, patient in enumerate(sorted(set(images["patient"])))})
        folds = (order + turn).astype(int) % config.split.n_folds
        return images.assign(role=[dealing.role(of, fold, config.split.n_folds) for of in folds])
    if twin == "labels_shuffled":
        labels = pd.Series(shuffled(split["label"], split["fold"], rng), index=split["patient"])
        images = images.assign(label=images["patient"].map(labels))
    return images.assign(role=images["patient"].map(dealing.roles(split, fold, config.split.n_folds)))


def _scores(
    config: Config, subtype: str, twin: str, split: pd.DataFrame, images: pd.DataFrame, cells: NDArray[np.uint8]
) -> pd.DataFrame:
    """The test images of all trained folds, scored by the twins: fold, patient, label, logit."""
    return pd.concat(
        [
            _trained(config, f"{subtype}-twin-{twin}", subtype, fold, dealt(config, twin, split, images, fold), cells)
            for fold in sorted(config.train.folds)
        ],
        ignore_index=True,
    )


def _trained(
    config: Config, name: str, subtype: str, fold: int, images: pd.DataFrame, cells: NDArray[np.uint8]
) -> pd.DataFrame:
    """One twin, trained as `train` trains."""
    pools = recipe.pools(config, (cells, cells), (images, images))
    normalisation = recipe.normalisation(pools["train"])

    # TensorFlow takes seconds and memory: after everything that can fail
    from pipeline.networks import batch_norm, device, model, training_loop

    machine = device.prepare(config.train.precision)
    spec = recipe.spec(config, subtype, fold, normalisation, asdict(machine), _CODE)
    seed = recipe.seed(config.seed, name, fold)
    console.say(f"train {name} fold {fold}")
    model.seed_everything(seed)
    network = model.build(spec, batch_norm.layer(machine))
    training_loop.fit(
        network,
        pools["train"],
        pools["val"],
        config.train_of(subtype),
        config.train.models[subtype].learning_rate,
        seed,
        machine.xla,
        paths.CHECKPOINTS / f"{name}-fold-{fold}-{spec['training'][:16]}.npz",
        lambda _row: None,
    )
    tested = [
        images.iloc[pool.rows].assign(fold=fold, logit=training_loop.pool_logits(network, pool)) for pool in pools["test"]
    ]
    return pd.concat(tested, ignore_index=True)[_SCORED]


def _network(config: Config, subtype: str) -> pd.DataFrame:
    """The same of the networks themselves."""

    def tested() -> Iterator[pd.DataFrame]:
        for fold in sorted(config.train.folds):
            scored = pd.read_parquet(paths.existing(paths.fold(subtype, fold) / "predictions.parquet"))
            yield scored[scored["split"] == "test"].assign(fold=fold)

    return pd.concat(tested(), ignore_index=True)[_SCORED]


def _reached(scored: pd.DataFrame) -> dict[str, float]:
    patients = metrics.patient_scores(scored)
    return {
        "image_auroc": metrics.within_fold_auroc(scored["label"], scored["logit"], scored["fold"]),
        "patient_auroc": metrics.within_fold_auroc(patients["label"], patients["logit"], patients["fold"]),
    }


def _other_seed(_config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    twin, own = _reached(scored), _reached(network)
    return Check(
        "other_seed",
        "How much does the result hang on chance in the training: first weights, order and augmentation of the images?",
        f"with another seed patient AUROC {twin['patient_auroc']:.3f} instead of {own['patient_auroc']:.3f}, image AUROC "
        f"{twin['image_auroc']:.3f} instead of {own['image_auroc']:.3f}",
        twin,
        "never red: the intervals take the trained networks as given, and this is what they leave out",
        False,
        "train with several seeds before two models are compared",
        True,
    )


def _labels_shuffled(config: Config, scored: pd.DataFrame, _network: pd.DataFrame) -> Check:
    patients, reached = metrics.patient_scores(scored), _reached(scored)
    rng = np.random.default_rng(config.seed)
    drawn = [
        metrics.within_fold_auroc(shuffled(patients["label"], patients["fold"], rng), patients["logit"], patients["fold"])
        for _ in range(config.audit.permutations)
    ]
    chance = null(reached["patient_auroc"], np.array(drawn))
    return Check(
        "labels_shuffled",
        "Does the whole procedure find a difference where there is none, the labels shuffled among the patients?",
        f"patient AUROC {reached['patient_auroc']:.3f}; by chance {chance.low:.3f} to {chance.high:.3f} "
        f"(p {chance.p_value:.3f}); image AUROC {reached['image_auroc']:.3f}",
        {**reached, "permuted": asdict(chance)},
        f"red when it is above what chance explains (p below {config.audit.significance:g})",
        chance.p_value < config.audit.significance,
        "the test patients are known to the training in some way: look for one person under two names, and for pictures in two "
        "folds",
        True,
    )


def _greyscale(config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    bounds = intervals.patient_auroc(metrics.patient_scores(scored), config.evaluate.confidence)
    reached, colours = _reached(scored), _reached(network)
    return Check(
        "greyscale",
        "Is there anything but hue: does a network that sees brightness alone still tell subtype from control?",
        f"patient AUROC {bounds.value:.3f} ({bounds.low:.3f} to {bounds.high:.3f}), "
        f"with colours {colours['patient_auroc']:.3f}; image AUROC {reached['image_auroc']:.3f}, "
        f"with colours {colours['image_auroc']:.3f}",
        {"image_auroc": reached["image_auroc"], "patient_auroc": asdict(bounds)},
        "red when the lower bound of its patient AUROC is not above .5; grey images still show the light and how strong the "
        "staining is, which this does not clear",
        not bounds.low > 0.5,
        "the result may rest on hue, thus on the kind of staining: see colour_only; train all folds (train.folds) or add "
        "patients first, where there are few",
        True,
    )


def _image_split(_config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    flattered, honest = _reached(scored), _reached(network)
    leak = flattered["image_auroc"] - honest["image_auroc"]
    return Check(
        "image_split",
        "By how much would a split by image, a patient's images in training and in test, flatter the result?",
        f"leak {leak:+.3f}: image AUROC {flattered['image_auroc']:.3f} instead of {honest['image_auroc']:.3f}",
        {**flattered, "leak": leak},
        "never red: it is what is avoided here, and how far figures of studies that split by image may be off",
        False,
        "never split by image",
        True,
    )


_CHECKS: dict[str, Any] = {
    "other_seed": _other_seed,
    "labels_shuffled": _labels_shuffled,
    "greyscale": _greyscale,
    "image_split": _image_split,
}
