"""Twins of a network, each wrong in one thing: what they are trained on, and what their results say of the network.

They differ from it in another seed, in labels shuffled among the patients, in images without hue, or in that the images and
not the patients are dealt to folds. The last is the mistake this pipeline exists to avoid; it is made here alone, to show
what it would claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.auditing.check_result import Check
from pipeline.auditing.permutation import null, shuffled
from pipeline.common.config import Config
from pipeline.evaluation import intervals, metrics
from pipeline.folds import dealing

TWINS = ("other_seed", "labels_shuffled", "greyscale", "image_split")
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)  # of R, G, B in 65536ths (ITU-R BT.601)
_IMAGES_AT_ONCE = 1024


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


def reached(scored: pd.DataFrame) -> dict[str, float]:
    """AUROC of images and of patients, over the pairs of one fold; `scored` has fold, patient, label, logit."""
    patients = metrics.patient_scores(scored)
    return {
        "image_auroc": metrics.within_fold_auroc(scored["label"], scored["logit"], scored["fold"]),
        "patient_auroc": metrics.within_fold_auroc(patients["label"], patients["logit"], patients["fold"]),
    }


def _other_seed(_config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    twin, own = reached(scored), reached(network)
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
    patients, found = metrics.patient_scores(scored), reached(scored)
    rng = np.random.default_rng(config.seed)
    drawn = [
        metrics.within_fold_auroc(shuffled(patients["label"], patients["fold"], rng), patients["logit"], patients["fold"])
        for _ in range(config.audit.permutations)
    ]
    chance = null(found["patient_auroc"], np.array(drawn))
    return Check(
        "labels_shuffled",
        "Does the whole procedure find a difference where there is none, the labels shuffled among the patients?",
        f"patient AUROC {found['patient_auroc']:.3f}; by chance {chance.low:.3f} to {chance.high:.3f} "
        f"(p {chance.p_value:.3f}); image AUROC {found['image_auroc']:.3f}",
        {**found, "permuted": asdict(chance)},
        f"red when it is above what chance explains (p below {config.audit.significance:g})",
        chance.p_value < config.audit.significance,
        "the test patients are known to the training in some way: look for one person under two names, and for pictures in two "
        "folds",
        True,
    )


def _greyscale(config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    bounds = intervals.patient_auroc(metrics.patient_scores(scored), config.evaluate.confidence)
    found, colours = reached(scored), reached(network)
    return Check(
        "greyscale",
        "Is there anything but hue: does a network that sees brightness alone still tell subtype from control?",
        f"patient AUROC {bounds:.3f}, with colours {colours['patient_auroc']:.3f}; image AUROC {found['image_auroc']:.3f}, "
        f"with colours {colours['image_auroc']:.3f}",
        {"image_auroc": found["image_auroc"], "patient_auroc": asdict(bounds)},
        "red when the lower bound of its patient AUROC is not above .5; grey images still show the light and how strong the "
        "staining is, which this does not clear",
        not bounds.low > 0.5,
        "the result may rest on hue, thus on the kind of staining: see colour_only; train all folds (folds) or add "
        "patients first, where there are few",
        True,
    )


def _image_split(_config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    flattered, honest = reached(scored), reached(network)
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


CHECKS: dict[str, Callable[[Config, pd.DataFrame, pd.DataFrame], Check]] = {
    "other_seed": _other_seed,
    "labels_shuffled": _labels_shuffled,
    "greyscale": _greyscale,
    "image_split": _image_split,
}
