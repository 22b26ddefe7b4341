"""The questions of the audit, and when an answer is red. No file is read here.

Red is what was found, amber what the patients are too few to tell; where something is not known of them, or is the same of
all, there is nothing to judge. The advice is that for the state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.auditing import groups
from pipeline.auditing.check_result import AMBER, CLEAR, NOTHING, RED, Check
from pipeline.auditing.permutation import Null, null, shuffled
from pipeline.evaluation import metrics
from pipeline.evaluation.figures import Interval
from pipeline.folds.split_table import role

EXAMPLES = 5
MORE = "test more patients, in all folds (folds) if fewer are trained: with so few, nothing is said either way"
_ADD = "add it to the cohort's metadata"
_CELL_TRUTH = "Does the score follow the cell, or does it only recognise the patient?"
_LEAK = "red when there is any"


@dataclass(frozen=True)
class Question:
    """What a baseline asks."""

    name: str
    question: str
    advice: str


BASELINES = {
    "colour": Question(
        "colour_only",
        "Do the colours of the images alone (staining, light), without the shape of any cell, tell subtype from control?",
        "find out whether subtype and control were stained or photographed differently (day, laboratory, scanner), and test "
        "the model on patients of both classes who were not",
    ),
    "count": Question(
        "image_count_only",
        "Does the number of images a patient has alone tell subtype from control?",
        "find out why one class has more images: who chose the cells, and whether they were chosen alike in both classes",
    ),
    "people": Question(
        "metadata_only",
        "Do age and sex alone tell subtype from control?",
        "compare the classes among patients of the same age and sex, or add controls who match; see also the results by group",
    ),
}


def people_apart(split: pd.DataFrame, scored: pd.DataFrame, classes: pd.DataFrame, n_folds: int) -> Check:
    """Whether every patient has one class, one fold and the role that follows from it.

    `split` has columns patient, fold; `scored` (what the networks scored: fold, patient, split); `classes` (patient, class).
    """
    found = [
        (patient, f"in the classes {', '.join(sorted(of_patient))}")
        for patient, of_patient in classes.drop_duplicates().groupby("patient")["class"]
        if len(of_patient) > 1
    ]
    found += [(patient, "more than once in the split") for patient in split.loc[split["patient"].duplicated(), "patient"]]
    for k in sorted(scored["fold"].unique().tolist()):
        of_fold = scored[scored["fold"] == k]
        dealt = {
            (patient, role(fold, k, n_folds)) for patient, fold in split[["patient", "fold"]].itertuples(index=False, name=None)
        }
        used = set(of_fold[["patient", "split"]].itertuples(index=False, name=None))
        missed = {(patient, where) for patient, where in dealt - used if where != "train"}
        found += [(patient, f"scored as {where} by the model of fold {k}, dealt otherwise") for patient, where in used - dealt]
        found += [(patient, f"dealt as {where} to the model of fold {k}, not scored as that") for patient, where in missed]
    patients = len({patient for patient, _ in found})
    return Check(
        "patients_apart",
        "Was every patient tested by a model that had not seen him or her?",
        f"{_count(patients, 'patient')} in more than one class, fold or role",
        _examples(patients, [f"{patient}: {what}" for patient, what in sorted(found)]),
        _LEAK,
        *_red_if(
            bool(found),
            "run `dvc repro`, which deals and trains anew; a patient of two classes is to be excluded in data/exclude.csv",
        ),
    )


def pictures_apart(name: str, how: str, shared: pd.DataFrame) -> Check:
    """Whether a picture is in two folds; `shared` has columns path, other."""
    return Check(
        name,
        f"Is {how} picture in two folds, so that a model was tested on what it had seen?",
        f"{_count(len(shared), 'image')} in two folds",
        _examples(
            len(shared), [f"{path} and {other}" for path, other in shared[["path", "other"]].itertuples(index=False, name=None)]
        ),
        _LEAK,
        *_red_if(bool(len(shared)), "exclude one of the images or patients in data/exclude.csv, then `dvc repro`"),
    )


def baseline(
    asked: Question,
    features: Sequence[str],
    auroc: dict[str, float],
    chance: Null,
    network: Interval,
    gain: Interval,
    significance: float,
) -> Check:
    """Whether a baseline explains the result; `auroc` has its patient_auroc, and others that are only shown.

    `network` is the interval of the network's patient AUROC, `gain` that of its lead over the baseline's on the same patients.
    """
    reached = auroc["patient_auroc"]
    better, beyond_chance = gain.low > 0, chance.p_value < significance
    state = CLEAR if better else RED if beyond_chance else AMBER
    return Check(
        asked.name,
        asked.question,
        f"patient AUROC {reached:.3f}; by chance {chance.low:.3f} to {chance.high:.3f} (p {chance.p_value:.3f}); "
        f"the model {network:.3f}, higher by {gain:.3f}",
        {"features": list(features), **auroc, "permuted": asdict(chance), "gain": asdict(gain)},
        f"red when this beats chance (p below {significance:g}) and the model is not surely better on the same patients, so "
        "that it may explain the result; amber when neither is sure",
        state,
        {RED: asked.advice, AMBER: MORE, CLEAR: ""}[state],
    )


def same_of_all(asked: Question) -> Check:
    """The check of a baseline whose features are the same of all patients, so that they can tell nobody apart."""
    return Check(asked.name, asked.question, "nothing to tell by: the same of all patients", None, "not asked", NOTHING, "")


def too_few(asked: Question, what: str) -> Check:
    """The check of a baseline that cannot be fitted on so few patients."""
    return Check(asked.name, asked.question, f"not asked: {what}", None, "not asked", NOTHING, "")


def matched(pairs: int, patients: int, auroc: Interval, network: Interval, years: int, fewest: int) -> Check:
    """Whether the network tells the classes apart among patients of the same sex and age, not only by these."""
    few = patients < fewest
    lost = auroc.high < network.value
    state = CLEAR if auroc.low > 0.5 and not few else RED if lost and not few and not auroc.low > 0.5 else AMBER
    return Check(
        "same_sex_and_age",
        f"Does the model tell subtype from control among patients of the same sex, at most {years} years apart?",
        f"patient AUROC {auroc:.3f} over {_count(pairs, 'pair')} of one fold, {_count(patients, 'patient')} of the subtype; "
        f"of all patients {network:.3f}"
        if pairs
        else "no pair of one fold has the same sex and such ages",
        {"pairs": pairs, "subtype_patients": patients, "patient_auroc": asdict(auroc)},
        "red when its interval does not lie above .5 and lies below the AUROC of all patients: these made the difference; "
        f"amber when neither is sure, or there are fewer than {fewest} such patients (Janes & Pepe 2009, Biometrika 96:371)",
        state,
        {RED: "add controls of the patients' age and sex; until then the result may be of these", AMBER: MORE, CLEAR: ""}[
            state
        ],
    )


def matched_unknown(years: int, what: str) -> Check:
    """The check of `matched` where sex and age are not known."""
    question = f"Does the model tell subtype from control among patients of the same sex, at most {years} years apart?"
    return _unanswered("same_sex_and_age", question, what, _ADD)


def search_apart(tested: int, seen: int, leaked: bool) -> Check:
    """Whether the search for the network saw the patients whom it is tested on."""
    found = "no search was made here for this model" if not seen else f"it saw {seen} of {_count(tested, 'test patient')}"
    if seen:
        found += "; no figure is claimed" if leaked else ", who are left out of the figures"
    return Check(
        "search_apart",
        "Was the model chosen without looking at the patients it is tested on?",
        found,
        {"tested": tested, "seen_by_search": seen},
        "red when a search made here saw all test patients of a class, so that none is left to measure on",
        *_red_if(
            leaked, "test on other patients: another cohort, or the outer fold of a search that saw its training patients alone"
        ),
    )


def not_known(asked: Question, what: str) -> Check:
    """The check of a baseline that could not be asked, because its features are not known."""
    return _unanswered(asked.name, asked.question, what, _ADD)


def by_group(name: str, what: str, rows: list[dict[str, Any]], fewest: int, significance: float) -> Check:
    """Whether a group of patients is called right more rarely than the others; `rows` as of `groups.results`."""
    question = f"Is the model right equally often whatever the patient's {what}?"
    advice = "look at that group's patients and images; add patients of the group, or say of whom the model may be used"
    rule = (
        "red when in a group the share of patients called right, of either class, differs from the others' by more than chance "
        f"explains (Fisher's exact test, p below {significance:g} after Bonferroni's correction; groups of {fewest} or more); "
        "amber when no difference, however large, could have been"
    )
    if {row["group"] for row in rows} <= {groups.UNKNOWN}:
        return _unanswered(name, question, "of any patient", _ADD)
    if len({row["group"] for row in rows} - {groups.UNKNOWN}) < 2:
        return Check(
            name, question, "nothing: they are all of one group", {"groups": rows, "difference": None}, rule, NOTHING, ""
        )
    clearest = groups.difference(rows, fewest)
    found = "too few patients to compare"
    if clearest:
        found = f"largest difference: {clearest['rate']} of {clearest['group']}, p {clearest['p_value']:.3f}"
    state = AMBER if clearest is None or clearest["least_p"] >= significance else CLEAR
    state = RED if clearest is not None and clearest["p_value"] < significance else state
    return Check(
        name,
        question,
        found,
        {"groups": rows, "difference": clearest},
        rule,
        state,
        {RED: advice, AMBER: MORE, CLEAR: ""}[state],
    )


def truth(images: pd.DataFrame, permutations: int, seed: int, significance: float, fewest: int) -> Check:
    """Whether the score follows the cell or only the patient, where the truth of every cell is known.

    `images` has a row per test image: patient, label, logit, called and diseased (whether it shows a leukaemic cell).
    """
    rule = (
        "red when, among the images of one patient, leukaemic cells do not score above normal ones by more than chance "
        f"explains (cells shuffled within the patient, p not below {significance:g}); amber with fewer than {fewest} patients "
        "who show both"
    )
    advice = "the model may know the patient by the staining: compare with colour_only, and augment the colours more strongly"
    own = images[images["label"] == 1]
    within = metrics.within_fold_auroc(own["diseased"], own["logit"], own["patient"])
    if math.isnan(within):  # no patient has both
        return _unanswered("cell_truth", _CELL_TRUTH, "what each image shows", "nothing: only of a drawn cohort is it known")
    rng = np.random.default_rng(seed)
    diseased, patients = own["diseased"].to_numpy(), own["patient"].to_numpy()
    drawn = [metrics.within_fold_auroc(shuffled(diseased, patients, rng), own["logit"], patients) for _ in range(permutations)]
    chance = null(within, np.array(drawn))
    both = int((own.groupby("patient")["diseased"].nunique() == 2).sum())
    state = CLEAR if chance.p_value < significance else AMBER if both < fewest else RED
    shares = {
        "leukaemic_called": own.loc[own["diseased"], "called"],
        "normal_called": own.loc[~own["diseased"], "called"],
        "control_called": images.loc[images["label"] == 0, "called"],
    }
    called = {name: {"images": len(calls), "called": int(calls.sum())} for name, calls in shares.items()}
    value = {
        "image_auroc": metrics.auroc(own["diseased"], own["logit"]),
        "image_auroc_within_patient": within,
        "permuted": asdict(chance),
    }
    shown = ", ".join(
        f"{what} {row['called'] / row['images']:.0%}"
        for what, row in zip(("leukaemic cells", "their normal cells", "controls' cells"), called.values(), strict=True)
        if row["images"]
    )
    return Check(
        "cell_truth",
        _CELL_TRUTH,
        f"AUROC of a leukaemic cell among the subtype's images {value['image_auroc']:.3f}, of one patient {within:.3f} "
        f"(p {chance.p_value:.3f}); called the subtype: {shown}",
        value | called,
        rule,
        state,
        {RED: advice, AMBER: MORE, CLEAR: ""}[state],
    )


def truth_of_no_image() -> Check:
    """The check of `truth` where the learner scores patients alone."""
    return _unanswered(
        "cell_truth", _CELL_TRUTH, "of single images: this learner scores patients alone", "ask a learner of cells"
    )


def _unanswered(name: str, question: str, what: str, advice: str) -> Check:
    return Check(name, question, f"not known {what}", None, "not asked", NOTHING, advice)


def _red_if(red: bool, advice: str) -> tuple[str, str]:
    """State and advice of a question that the patients are never too few for."""
    return (RED, advice) if red else (CLEAR, "")


def _examples(count: int, found: Sequence[str]) -> dict[str, Any]:
    return {"count": count, "examples": list(found[:EXAMPLES])}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
