"""Which images of a patient a person had best look at, ranked within the patient: a row an image.

Columns path, class, patient, fold; logit (how leukaemic it looks, out of fold; of a control by the subtype it looks most like,
which is `resembles`), unfocused and empty (robust standard deviations below the patient's median, of sharpness and of
contrast), distance (to images of other patients, by the first principal components of the vectors); then, by question, the rank
within the patient from 1: the most suspicious first, 0 where the question is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bags import instances, recipe, scoring
from pipeline.bags.patients import Patients
from pipeline.bags.scoring import Bag, Floats
from pipeline.common.config import Config
from pipeline.curation import suspicion

# Question -> what it asks, in the order in which an image is shown for the first of them alone.
QUESTIONS = {
    "healthy": "looks like a healthy donor's cell",
    "leukaemic": "looks leukaemic, and is a control's",
    "artefact": "out of focus, or little on it",
    "unlike": "unlike the images of other patients",
}
_COMPONENTS = 64
_LEARNERS = 20_000  # images by which the components are found, at most
_AT_ONCE = 1024  # images, whose distances lie in memory together
_MAD = 1.4826  # of a normal distribution the standard deviation in median absolute deviations


def logits(config: Config, subtype: str, everybody: Patients) -> list[Floats]:
    """Of every patient's images, by the regression of the patient's fold, which has learned on the other folds."""
    settings, labels = config.suspect, everybody.labels
    folds, found = everybody.split["fold"].to_numpy(), [np.empty(0)] * len(labels)
    for fold in np.unique(folds):
        rows, others = (np.flatnonzero(chosen).tolist() for chosen in (folds != fold, folds == fold))
        seed = recipe.seed(config.seed, subtype, int(fold))
        suspicion.require_enough(labels[rows], f"curate: {subtype} without fold {fold}")
        learned = suspicion.learn([everybody.bags[row] for row in rows], labels[rows], settings, seed)
        for row in others:
            found[row] = scoring.image_logits(learned, everybody.bags[row])
    return found


def table(config: Config, of_subtypes: Mapping[str, Patients], manifest: pd.DataFrame) -> pd.DataFrame:
    """The ranked images of everybody in the splits; `manifest` has path, sharpness, std_r, std_g and std_b."""
    parts, bags = [], list[Bag]()
    of_controls = dict[str, pd.Series]()
    for subtype, everybody in of_subtypes.items():
        found = logits(config, subtype, everybody)
        control, rows = (np.flatnonzero(everybody.labels == label).tolist() for label in (0, 1))
        paths = [path for row in control for path in everybody.images[row]]
        of_controls[subtype] = pd.Series(np.concatenate([found[row] for row in control]), index=paths)
        parts.append(_rows(everybody, rows, subtype).assign(logit=np.concatenate([found[row] for row in rows]), resembles=""))
        bags += [everybody.bags[row] for row in rows]
    everybody = next(iter(of_subtypes.values()))
    rows = np.flatnonzero(everybody.labels == 0).tolist()
    own = _rows(everybody, rows, config.control)
    logit = pd.DataFrame(of_controls).loc[own["path"]].to_numpy()  # by path: a subtype has its own order of controls
    most = np.array(list(of_controls), dtype=object)[logit.argmax(axis=1)]
    parts.insert(0, own.assign(logit=logit.max(axis=1), resembles=most))
    bags[:0] = [everybody.bags[row] for row in rows]
    images = pd.concat(parts, ignore_index=True).merge(manifest, on="path", validate="one_to_one")
    contrast = images[["std_r", "std_g", "std_b"]].mean(axis=1)
    images["unfocused"] = _below(np.log1p(images["sharpness"]), images["patient"])
    images["empty"] = _below(contrast, images["patient"])
    images["distance"] = distances(bags, config.curate.neighbours, config.suspect.images_per_patient)
    columns = ["path", "class", "patient", "fold", "logit", "resembles", "unfocused", "empty", "distance"]
    return _ranked(images[columns], config.control)


def _rows(everybody: Patients, rows: Sequence[int], name: str) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame({"path": list(everybody.images[row])}).assign(
                **{"class": name, "patient": everybody.split["patient"].iloc[row], "fold": everybody.split["fold"].iloc[row]}
            )
            for row in rows
        ]
    )


def _below(values: pd.Series, patients: pd.Series) -> pd.Series:
    """How far each value lies below its patient's median, in robust standard deviations over all of them."""
    off = values.groupby(patients).transform("median") - values
    return off / (_MAD * float(off.abs().median()) or 1.0)


def distances(bags: Sequence[Bag], neighbours: int, images_per_patient: int) -> Floats:
    """Of every image of every bag, one after the other, that to the so-manieth nearest image of other bags `(images,)`.

    By the first principal components, and beside at most so many images of a bag, evenly over their order.
    """
    shown = [np.asarray(instances.evenly(bag, images_per_patient), dtype=np.float32) for bag in bags]
    centre, components = _components(np.concatenate(shown))
    others = np.concatenate([(bag - centre) @ components for bag in shown])
    whose = np.repeat(np.arange(len(bags)), [len(bag) for bag in shown])
    lengths = (others**2).sum(axis=1)
    found = []
    for number, bag in enumerate(bags):
        strangers = whose != number
        nearest = min(neighbours, int(strangers.sum())) - 1
        for start in range(0, len(bag), _AT_ONCE):
            own = (np.asarray(bag[start : start + _AT_ONCE], dtype=np.float32) - centre) @ components
            squares = lengths[strangers] - 2 * own @ others[strangers].T
            kth = np.partition(squares, nearest, axis=1)[:, nearest] + (own**2).sum(axis=1)
            found.append(np.sqrt(np.maximum(kth, 0)).astype(np.float64))
    return np.concatenate(found)


def _components(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre `(dimension,)` and first principal components `(dimension, components)`."""
    some = vectors[:: -(-len(vectors) // _LEARNERS)]
    centre = some.mean(axis=0, dtype=np.float64)
    around = some - centre.astype(np.float32)
    _, axes = np.linalg.eigh((around.T @ around).astype(np.float64))
    return centre.astype(np.float32), axes[:, ::-1][:, :_COMPONENTS].astype(np.float32)


def _ranked(images: pd.DataFrame, control: str) -> pd.DataFrame:
    of_control = images["class"] == control
    scores = {
        "healthy": (-images["logit"], ~of_control),
        "leukaemic": (images["logit"], of_control),
        "artefact": (images[["unfocused", "empty"]].max(axis=1), pd.Series(True, images.index)),
        "unlike": (images["distance"], pd.Series(True, images.index)),
    }
    for question, (score, asked) in scores.items():
        ranks = score.groupby(images["patient"]).rank(method="first", ascending=False)
        images = images.assign(**{question: ranks.where(asked, 0).astype("int64")})
    return images


def shown(images: pd.DataFrame, most: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Question by question, the images that are shown for it: of a patient at most so many, each for its first question."""
    left = images
    for question in QUESTIONS:
        chosen = left[(left[question] > 0) & (left[question] <= most)].sort_values(["class", "patient", question])
        left = left.drop(chosen.index)
        yield question, chosen


def flagged(images: pd.DataFrame, share: float) -> pd.Series:
    """Whether an image is among that share of its patient's that look most like a healthy donor's (at least one)."""
    most = (images.groupby("patient")["path"].transform("size") * share).round().clip(lower=1)
    return (images["healthy"] > 0) & (images["healthy"] <= most)
