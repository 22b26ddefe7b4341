"""What else than the look of the cells could explain a frozen model's result on another hospital's patients. No file is read.

The questions are those that can be asked without the model's training: simple features of these patients, whose regressions are
fitted and tested on these patients in turn, and groups of them. Nothing of the model is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.auditing import checks, groups
from pipeline.auditing.baselines import COLOURS, Baseline, describe_people
from pipeline.auditing.check_result import AMBER, Check
from pipeline.auditing.checks import BASELINES, Question
from pipeline.common.params_judging import Audit
from pipeline.evaluation import intervals

_FOLDS = 5
_SHARPNESS = Question(
    "sharpness_only",
    "Does the sharpness of the images alone tell subtype from control?",
    "find out whether subtype and control were photographed differently (focus, scanner, compression), and test the model on "
    "patients of both classes who were not",
)
_SIDE = Question(
    "size_only",
    "Does the size of the image files in pixels alone tell subtype from control?",
    "find out why the classes' images differ in size, and cut both alike",
)
_MORE = "ask for more patients from there: with so few, nothing is said either way"
_SEXES = {"f": "women", "m": "men"}


def check(images: pd.DataFrame, patients: pd.DataFrame, settings: Audit, confidence: float, seed: int) -> list[Check]:
    """All answers.

    Args:
        images: usable, a row an image: patient, width, the numbers of a manifest.
        patients: a row a patient: patient, label, score, logit, called, images, sex, age (text, "" where unknown).
        settings: how answers are judged.
        confidence: of intervals.
        seed: of the dealing and of permutations.
    """
    dealt = patients.assign(fold=_dealt(patients["label"], seed))
    described, known = describe_people(dealt, settings.min_known_share)
    cells = images.drop(columns=["images", "label", "fold"], errors="ignore").merge(
        dealt[["patient", "label", "fold"]], on="patient"
    )
    asked: list[tuple[Question, pd.DataFrame, Sequence[str]]] = [
        (BASELINES["colour"], cells, COLOURS),
        (_SHARPNESS, cells, ["sharpness"]),
        (_SIDE, cells, ["width"]),
        (BASELINES["count"], dealt, ["images"]),
        (BASELINES["people"], described, known),
    ]
    found = [_baseline(question, rows, list(features), dealt, settings, confidence, seed) for question, rows, features in asked]
    numbers = {"age": "age", "images": "number of images"}
    found.append(_group("sex", "sex", dealt, dealt["sex"].map(_SEXES).fillna(groups.UNKNOWN), dealt["sex"], settings))
    for column, what in numbers.items():
        values = pd.to_numeric(dealt[column], errors="coerce")
        found.append(_group(column, what, dealt, groups.thirds(values), values, settings))
    return found


def _dealt(labels: pd.Series, seed: int) -> pd.Series:
    """A fold for every patient, each class dealt alike, by the seed alone."""
    rng, folds = np.random.default_rng(seed), pd.Series(0, index=labels.index)
    for label in sorted(labels.unique()):
        of_class = labels.index[labels == label]
        folds[of_class] = rng.permutation(np.arange(len(of_class)) % _FOLDS)
    return folds


def _baseline(
    question: Question,
    rows: pd.DataFrame,
    features: list[str],
    dealt: pd.DataFrame,
    settings: Audit,
    confidence: float,
    seed: int,
) -> Check:
    if not features:
        return checks.not_known(question, f"of {settings.min_known_share:.0%} of the patients of either class")
    if dealt["label"].value_counts().min() < _FOLDS:
        return checks.too_few(question, f"fewer than {_FOLDS} patients of a class")
    baseline = Baseline(rows, features, range(_FOLDS), _FOLDS)
    if not baseline.varies():
        return checks.same_of_all(question)
    auroc = {"patient_auroc": baseline.patient_auroc()}
    chance = baseline.null(settings.permutations, seed)
    gain = intervals.gain(dealt, baseline.patient_scores(), confidence)
    network = intervals.patient_auroc(dealt, confidence)
    return _advised(checks.baseline(question, features, auroc, chance, network, gain, settings.significance))


def _group(column: str, what: str, rows: pd.DataFrame, of: pd.Series, order: pd.Series, settings: Audit) -> Check:
    results = groups.results(rows.assign(fold=0), of, order, settings.fewest_patients)
    return _advised(checks.by_group(f"by_{column}", what, results, settings.fewest_patients, settings.significance))


def _advised(found: Check) -> Check:
    return replace(found, advice=_MORE) if found.state == AMBER else found
