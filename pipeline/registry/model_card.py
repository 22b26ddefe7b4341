"""A registered model's card: what it is for, what it was made of, how good it is and what it cannot do, as Markdown.

At most 5,000 characters, which is what MLflow's databases hold of a version's description. No file is read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation import figures, genetics, published_figures, seen_by_search
from pipeline.evaluation.figures import Interval

LONGEST = 5000
_COHORT, _DATASET = "AML-Cytomorphology_MLL_Helmholtz", "gchan357/human-aml-cytomorphology-dataset"
_CITATION = (
    "Hehr M, Sadafi A, Matek C, Lienemann P, Pohlkamp C, Haferlach T, Spiekermann K, Marr C (2023): A morphological dataset "
    f"of white blood cells from patients with four different genetic AML entities and non-malignant controls ({_COHORT}), "
    "version 1. The Cancer Imaging Archive. https://doi.org/10.7937/6PPE-4020 (the licence of the data stands on that page)"
)

_NOT_TRIED = "- Another hospital, microscope or staining was not tested, and scores may fail there without a sign."
_TRIED = "- Of other hospitals, microscopes and stainings those below were tried; in any other, scores may fail without a sign."
_ELSEWHERE = "\n### Elsewhere\n\n"
_OF_COHORT = "external."  # tag of a version: what it reached there, a line


@dataclass(frozen=True)
class Facts:
    """What the card is written from."""

    subtype: str
    control: str
    um: float
    px: int | None  # side of what the networks see; None: vectors were made elsewhere
    sides_px: Sequence[int]  # sides of the images they were made from
    source: Mapping[str, Any]  # data/source.json
    folds: Sequence[int]  # trained
    n_folds: int
    figures: Mapping[str, Any]  # metrics.json
    by_class: pd.DataFrame  # by_class.csv
    confidence: float
    operating_point: float
    operating_point_chosen: Sequence[str]  # folds in which it was chosen; in the others it is the usual threshold
    digest: str
    weights_sha256: Mapping[str, str]
    tuned_on: Mapping[str, Any] | None  # how many patients a search saw, and their digest
    leaked: bool  # whether it saw the test patients
    protocol: str | None = None  # the file of a published dealing
    curated: Sequence[Mapping[str, Any]] = ()  # of each fold: how many training images were left out, how many counted less
    encoder: Mapping[str, Any] | None = None  # behind a model that scores patients alone


def markdown(facts: Facts) -> str:
    """The card, as Markdown."""
    parts = [_title(facts), _use(facts), _data(facts), _results(facts), _limits(facts), _digests(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def elsewhere_tag(cohort: str) -> str:
    """The tag that holds what a version reached on another cohort."""
    return f"{_OF_COHORT}{cohort}"


def with_elsewhere(card: str, tags: Mapping[str, str]) -> str:
    """A card that says what the version reached on other cohorts, by its tags, where there is room; if said before, anew."""
    lines = [f"- {key.removeprefix(_OF_COHORT)}: {line}" for key, line in sorted(tags.items()) if key.startswith(_OF_COHORT)]
    alone = card.partition(_ELSEWHERE)[0]
    text = "".join([alone.replace(_NOT_TRIED, _TRIED), _ELSEWHERE, *(f"{line}\n" for line in lines)])
    return text if lines and len(text) <= LONGEST else alone


def _title(facts: Facts) -> str:
    named = "; ".join(f"{key}: {value}" for key, value in genetics.NAMES.get(facts.subtype, {}).items())
    return (
        f"**{facts.subtype} against {facts.control}**, from images of single white blood cells. "
        f"**For research only, not for diagnosis.**{f' {named}.' if named else ''}"
    )


def _use(facts: Facts) -> str:
    sides = " or ".join(str(side) for side in facts.sides_px)
    return (
        "### Intended use\n\n"
        "To rank and compare patients, or cells of a patient, in research. In: colour images (TIFF, PNG, JPEG) of 8 bits a "
        f"channel, one cell each, {facts.um:g} x {facts.um:g} um ({sides} px; {_seen(facts)}). Another field "
        f"of view is refused. Out: {_answer(facts)}, called {facts.subtype} above {facts.operating_point:.3f}, the operating "
        "point."
    )


def _seen(facts: Facts) -> str:
    if facts.encoder is None:
        return f"the networks see {facts.px} px"
    return f"the encoder sees {facts.px} px" if facts.px else "their vectors are made elsewhere: the model cannot make them"


def _answer(facts: Facts) -> str:
    if facts.encoder is None:
        of_patients = "the probability at the calibrated mean of the images' logits"
        return f"a score per image; with patients, a score per patient ({of_patients})"
    return (
        f"a score per patient alone, from the vectors of all images by the encoder {facts.encoder['name']} "
        f"(`{facts.encoder['digest'][:12]}`, which travels with the model where it is a network); there is no score, and no "
        "figure, of an image"
    )


def _data(facts: Facts) -> str:
    source, trained = facts.source, ", ".join(str(k) for k in facts.folds)
    demo = source["source"] == "demo"
    cited = source["cohort"].startswith(_COHORT) or source.get("dataset") == _DATASET
    return (
        "### Data\n\n"
        f"Cohort `{source['cohort']}` (source {source['source']}, {source['files']:,} files, sha256 `{source['sha256'][:12]}`)"
        f"{': synthetic cells, drawn from a seed. The results say nothing about leukaemia' if demo else ''}. "
        f"Folds trained: {trained} of {facts.n_folds}, dealt by patient{f', by `{facts.protocol}`' if facts.protocol else ''}."
        + _curated(facts)
        + (f"\n\nData: {_CITATION}." if cited and not demo else "")
    )


def _curated(facts: Facts) -> str:
    left_out, less = ([own[key] for own in facts.curated if own] for key in ("left_out", "down_weighted"))
    said = f" After review up to {max(left_out):,} images were left out of a fold's training." if any(left_out) else ""
    return said + (f" Up to {max(less):,} were shown the less often, the healthier they look." if any(less) else "")


def _results(facts: Facts) -> str:
    plain, leaked = seen_by_search.read(facts.figures)
    intervals = {key: Interval(**figure) for key, figure in plain.items() if isinstance(figure, dict)}
    flattered = "leaked " if leaked else ""
    rows = [
        f"| {flattered}{figures.words(key)} | {interval.value:.3f} | {interval.bounds('.3f')} |"
        for key, interval in intervals.items()
    ]
    return "\n".join(
        [
            "### Results",
            "",
            *_searched(facts),
            f"Of {facts.figures['patients']:,} test patients ({facts.figures['images']:,} images), each scored by the one "
            "network that had not seen the patient; they estimate the procedure, not the mean of the folds.",
            "",
            f"| figure | value | {facts.confidence:.0%} interval over patients |",
            "|---|---|---|",
            *rows,
            *_beside_published(facts),
        ]
    )


def _searched(facts: Facts) -> list[str]:
    if facts.tuned_on is None:
        return []
    seen = f"The network was found by a search that saw {facts.tuned_on['patients']:,} patients of this cohort"
    if facts.leaked:
        return [f"**{seen}, the test patients among them: the figures below are flattered, and none is claimed.**", ""]
    left_out = facts.figures.get("patients_seen_by_search", 0)
    return [f"{seen}; none of them is in the figures below{f' ({left_out} test patients left out)' if left_out else ''}.", ""]


def _beside_published(facts: Facts) -> list[str]:
    of_subtype = facts.by_class[facts.by_class["class"] == "subtype"]
    rows = {row["source"]: row for row in of_subtype.to_dict("records")}
    if facts.subtype not in published_figures.FIGURES or not {"balanced", "published"} <= set(rows):
        return []
    ours, theirs = rows["balanced"], rows["published"]
    n = published_figures.IMAGES_PER_CLASS
    lines = [
        f"| {name} | {figures.unflat(ours, name):.2f} | {theirs[name]:.2f} |" for name in ("accuracy", *figures.OF_A_CLASS)
    ]
    return [
        "",
        f"Of images, in the published form ({n} + {n} images, of the subtype; whether patients were kept apart there is not "
        "stated):",
        "",
        "| figure | here | published |",
        "|---|---|---|",
        *lines,
    ]


def _limits(facts: Facts) -> str:
    aml = genetics.all_known([facts.subtype])
    return "\n".join(
        [
            "### Limits",
            "",
            f"- One question, {facts.subtype} against {'healthy donors' if aml else 'the controls'}. Tests of several subtypes "
            f"may all fire on any {'leukaemia' if aml else 'disease'}; the highest score is not a diagnosis. Other "
            f"{'leukaemias' if aml else 'diseases'} and reactive changes were never asked about.",
            _NOT_TRIED,
            "- Labels are weak: they belong to the patient, and "
            f"{'smears of leukaemia hold normal cells too' if aml else 'not every cell need show what the patient has'}.",
            "- Controls differ from patients in age and sex, perhaps in the day of staining: see the report's audit.",
            f"- {_operating_point(facts)}",
        ]
    )


def _operating_point(facts: Facts) -> str:
    few = "too few controls of other folds to choose one for a specificity"
    if not facts.operating_point_chosen:
        return f"The operating point is the usual threshold, {facts.operating_point:g}: there were {few}."
    own = "each chosen on the controls of the other folds"
    if len(facts.operating_point_chosen) < len(facts.folds):
        own = f"chosen on controls of other folds in {', '.join(facts.operating_point_chosen)}; in the others there were {few}"
    return f"The operating point is the mean, on the logit scale, of the folds' thresholds, {own}."


def _digests(facts: Facts) -> str:
    weights = "; ".join(f"{name} `{digest[:12]}`" for name, digest in facts.weights_sha256.items())
    return f"### Digests\n\nSHA-256 of the weights: {weights}; of the whole candidate `{facts.digest[:12]}`. Full in the tags."
