"""Twins of a network, each wrong in one thing: what they are trained on, and what their results say of the network.

They differ from it in another seed, in labels shuffled among the patients, in images without hue or without the cell, or in
that the images and not the patients are dealt to folds. The last is the mistake this pipeline exists to avoid; it is made here
alone, to show what it would claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.auditing.check_result import AMBER, CLEAR, RED, Check
from pipeline.auditing.checks import MORE
from pipeline.auditing.permutation import null, shuffled
from pipeline.common.config import Config
from pipeline.evaluation import intervals, metrics
from pipeline.evaluation.figures import Interval
from pipeline.folds import split_table

TWINS = ("other_seed", "labels_shuffled", "greyscale", "image_split", "cell_hidden")
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)  # of R, G, B in 65536ths (ITU-R BT.601)
_IMAGES_AT_ONCE = 1024
_CELL = 0.9  # of the image's side is the disc that hides the cell across: 22 um, more than most white cells
_NEUTRAL = 128


def grey(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images `(n, px, px, 3)` without their colours: the three channels hold the luma."""
    found = np.empty_like(cells)
    for start in range(0, len(cells), _IMAGES_AT_ONCE):
        chosen = slice(start, start + _IMAGES_AT_ONCE)
        found[chosen] = (((cells[chosen].astype(np.uint32) @ _LUMA) + 0x8000) >> 16)[..., None]
    return found


def hidden(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images `(n, px, px, 3)` with the same grey disc over the cell in each, so that its size and outline are hidden too."""
    px = cells.shape[1]
    off = np.arange(px) - (px - 1) / 2
    found = cells.copy()
    found[:, np.hypot(off[:, None], off[None, :]) < _CELL * px / 2] = _NEUTRAL
    return found


_PLACES = 20  # among which a published dealing's folds are laid out
IMAGES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {"greyscale": grey, "cell_hidden": hidden}


def dealt(config: Config, twin: str, split: pd.DataFrame, images: pd.DataFrame, fold: int) -> pd.DataFrame:
    """`images` (patient, label) of one twin and fold, with a column role; of the twin with shuffled labels, its labels."""
    rng = np.random.default_rng([config.seed, TWINS.index(twin)])  # the same in every fold
    if twin == "image_split":
        order = images.assign(draw=rng.random(len(images))).groupby("patient")["draw"].rank(method="first") - 1
        turn = images["patient"].map({patient: n for n, patient in enumerate(sorted(set(images["patient"])))})
        places = _places(config, split)
        folds = places[(order + turn).astype(int) % len(places)]
        return images.assign(role=[split_table.role(of, fold, config.split.n_folds) for of in folds])
    if twin == "labels_shuffled":
        labels = pd.Series(shuffled(split["label"], split["fold"], rng), index=split["patient"])
        images = images.assign(label=images["patient"].map(labels))
    return images.assign(role=images["patient"].map(split_table.roles(split, fold, config.split.n_folds)))


def _places(config: Config, split: pd.DataFrame) -> NDArray[np.int64]:
    """The folds to which images are dealt in turn: each once, or as often as a published dealing makes them large."""
    folds = np.arange(config.split.n_folds)
    if config.split.file is None:
        return folds
    shares = split.groupby("fold")["images"].sum().reindex(folds) / split["images"].sum()
    return np.repeat(folds, np.maximum(1, np.round(_PLACES * shares.to_numpy())).astype(int))


def reached(scored: pd.DataFrame) -> dict[str, float]:
    """AUROC of images and of patients, over the pairs of one fold; `scored` has fold, patient, label, logit."""
    patients = metrics.patient_scores(scored)
    return {
        "image_auroc": metrics.within_fold_auroc(scored["label"], scored["logit"], scored["fold"]),
        "patient_auroc": metrics.within_fold_auroc(patients["label"], patients["logit"], patients["fold"]),
    }


_KNOWN = "the training knows the test patients in some way: look for one person under two names, and for pictures in two folds"


def _other_seed(_config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    twin, own = reached(scored), reached(network)
    return Check(
        "other_seed",
        "How much does the result hang on chance in the training: first weights, order and augmentation of the images?",
        f"with another seed patient AUROC {twin['patient_auroc']:.3f} instead of {own['patient_auroc']:.3f}, image AUROC "
        f"{twin['image_auroc']:.3f} instead of {own['image_auroc']:.3f}",
        twin,
        "never red: the intervals take the trained networks as given, and this is what they leave out",
        CLEAR,
        "",
    )


def _labels_shuffled(config: Config, scored: pd.DataFrame, _network: pd.DataFrame) -> Check:
    patients, found = metrics.patient_scores(scored), reached(scored)
    rng = np.random.default_rng(config.seed)
    drawn = [
        metrics.within_fold_auroc(shuffled(patients["label"], patients["fold"], rng), patients["logit"], patients["fold"])
        for _ in range(config.audit.permutations)
    ]
    chance = null(found["patient_auroc"], np.array(drawn))
    state = RED if chance.p_value < config.audit.significance else CLEAR
    state = AMBER if chance.least_p >= config.audit.significance else state
    return Check(
        "labels_shuffled",
        "Does the whole procedure find a difference where there is none, the labels shuffled among the patients?",
        f"patient AUROC {found['patient_auroc']:.3f}; by chance {chance.low:.3f} to {chance.high:.3f} "
        f"(p {chance.p_value:.3f}); image AUROC {found['image_auroc']:.3f}",
        {**found, "permuted": asdict(chance)},
        f"red when it is above what chance explains (p below {config.audit.significance:g}); amber when 1 would not be",
        state,
        {RED: _KNOWN, AMBER: MORE, CLEAR: ""}[state],
    )


def _greyscale(config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    bounds, gain, found, colours = _beside(config, scored, network)
    state = CLEAR if bounds.low > 0.5 else RED if gain.low > 0 else AMBER
    return Check(
        "greyscale",
        "Is there anything but hue: does a network that sees brightness alone still tell subtype from control?",
        f"patient AUROC {bounds:.3f}, with colours {colours['patient_auroc']:.3f}, higher by {gain:.3f}; image AUROC "
        f"{found['image_auroc']:.3f}, with colours {colours['image_auroc']:.3f}",
        {"image_auroc": found["image_auroc"], "patient_auroc": asdict(bounds), "gain": asdict(gain)},
        "red when the lower bound of its patient AUROC is not above .5 and colours are surely better; amber when neither is; "
        "grey images still show the light and how strong the staining is, which this does not clear",
        state,
        {RED: "the result may rest on hue, thus on the kind of staining: see colour_only", AMBER: MORE, CLEAR: ""}[state],
    )


def _cell_hidden(config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    bounds, gain, found, cells = _beside(config, scored, network)
    state = CLEAR if gain.low > 0 else RED if bounds.low > 0.5 else AMBER
    return Check(
        "cell_hidden",
        "Does a network that sees only what lies around the cell tell subtype from control?",
        f"patient AUROC {bounds:.3f}, with the cell {cells['patient_auroc']:.3f}, higher by {gain:.3f}; image AUROC "
        f"{found['image_auroc']:.3f}, with the cell {cells['image_auroc']:.3f}",
        {"image_auroc": found["image_auroc"], "patient_auroc": asdict(bounds), "gain": asdict(gain)},
        "red when the lower bound of its patient AUROC is above .5 and the network with the cell is not surely better; amber "
        "when neither is sure",
        state,
        {
            RED: "the surroundings tell the classes apart: the staining, the light, other cells; see colour_only",
            AMBER: MORE,
            CLEAR: "",
        }[state],
    )


def _beside(
    config: Config, scored: pd.DataFrame, network: pd.DataFrame
) -> tuple[Interval, Interval, dict[str, float], dict[str, float]]:
    """A twin's patient AUROC, by how much the network's is higher on the same patients, and what either reaches."""
    patients, confidence = metrics.patient_scores(scored), config.evaluate.confidence
    gain = intervals.gain(metrics.patient_scores(network), patients, confidence)
    return intervals.patient_auroc(patients, confidence), gain, reached(scored), reached(network)


def _image_split(_config: Config, scored: pd.DataFrame, network: pd.DataFrame) -> Check:
    flattered, honest = reached(scored), reached(network)
    leak = flattered["image_auroc"] - honest["image_auroc"]
    return Check(
        "image_split",
        "By how much would a split by image, a patient's images in training and in test, flatter the result?",
        f"leak {leak:+.3f}: image AUROC {flattered['image_auroc']:.3f} instead of {honest['image_auroc']:.3f}",
        {**flattered, "leak": leak},
        "never red: it is what is avoided here, and how far figures of studies that split by image may be off",
        CLEAR,
        "",
    )


CHECKS: dict[str, Callable[[Config, pd.DataFrame, pd.DataFrame], Check]] = {
    "other_seed": _other_seed,
    "labels_shuffled": _labels_shuffled,
    "greyscale": _greyscale,
    "image_split": _image_split,
    "cell_hidden": _cell_hidden,
}
