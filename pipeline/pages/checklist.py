"""The 27 items of TRIPOD+AI, each answered from the run's own files or left to the authors, by name.

tripod_ai.yaml has the items in this project's words (Collins et al. 2024, BMJ 385:e078378, has the full text): `item`, `part`,
`asks`, and of the following one at least: `answer`, a function below, with `see`, the place on the page; `authors`, what they
write. Functions take what the page is made of and return plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

TABLE = Path(__file__).with_name("tripod_ai.yaml")
FIRST = "first"  # in `see`: the first candidate's section, or with -<part> a fold of it

Page = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """An item: what it asks, what the files answer, where it stands on the page, what is left to the authors."""

    item: str
    part: str
    asks: str
    answer: str
    see: str
    authors: str


def items(page: Page, table: Path = TABLE) -> list[Item]:
    """All items, answered.

    Raises:
        ValueError: an item has neither an answer nor a word on what the authors write, or an answer nobody knows.
    """
    found = []
    for row in YAML(typ="safe", pure=True).load(table):
        name, authors = row.get("answer", ""), row.get("authors", "")
        if not name and not authors:
            raise ValueError(f"{table.name}: item {row['item']} is neither answered nor left to the authors")
        if name and (name not in ANSWERS or not row.get("see")):
            raise ValueError(f"{table.name}: item {row['item']}: no answer {name}, or no place to see")
        see = row.get("see", "").replace(FIRST, page["subtypes"][0]["candidates"][0]["anchor"], 1)
        answer = ANSWERS[name](page) if name else ""
        found.append(Item(str(row["item"]), row["part"], row["asks"], answer, see, authors))
    return found


def _title(page: Page) -> str:
    names = ", ".join(subtype["name"] for subtype in page["subtypes"])
    return f"Classifiers of single-cell images, developed and evaluated on one cohort: {names}, each against {page['control']}"


def _source(page: Page) -> str:
    source = page["cohort"]["source"]
    of = "a synthetic cohort" if page["demo"] else f"cohort {source.get('cohort', '')}"
    return f"{of}, {source['files']:,} files, SHA-256 {source['sha256'][:12]}; development and evaluation are parts of it"


def _eligible(page: Page) -> str:
    total = page["cohort"]["total"]
    return f"{total['patients_delivered']} patients delivered, {total['patients']} with usable images"


def _preparation(page: Page) -> str:
    total = page["cohort"]["total"]
    unusable = f"{total['quarantined']} of {total['files']:,} files quarantined"
    return f"{page['cohort']['rules_in_words']}; {unusable}"


def _outcome(page: Page) -> str:
    compared = next((rule for rule in page["cohort"]["rules"] if rule["name"] == "class_as_listed"), None)
    listed = compared is not None and compared["state"] != "nothing to judge"
    beside = "and the metadata of the cohort says the same" if listed else "the metadata of the cohort does not say it"
    return f"{page['control']} or one of {', '.join(page['config'].subtypes)}: the folder a patient was delivered in; {beside}"


def _predictors(page: Page) -> str:
    return f"The pixels of each image, a field of {page['config'].image_um:g} µm; age, sex and blood counts are not used"


def _sample_size(page: Page) -> str:
    smallest = min(page["subtypes"], key=lambda subtype: subtype["size"]["n"])["size"]
    return f"As delivered, not planned; the smallest comparison has {smallest['m']} + {smallest['n']} test patients"


def _missing(page: Page) -> str:
    unknown: dict[str, int] = {}
    for people in page["cohort"]["people"].values():
        for what, count in people.unknown.items():
            unknown[what] = unknown.get(what, 0) + count
    total = page["cohort"]["total"]["patients"]
    counts = ", ".join(f"{what} of {count}" for what, count in unknown.items())
    return f"Not known, of {total} patients: {counts}; no value is filled in, and none is needed for a score"


def _partitions(page: Page) -> str:
    config, protocol = page["config"], page["protocol"]
    if protocol and protocol["form"] == "role":
        return f"Whole patients, by {protocol['file']}: who trains, who validates (stops training, calibrates) and who tests"
    trained = ", ".join(map(str, page["folds"]))
    by = f", by {protocol['file']}" if protocol else ""
    dealt = f"{config.split.n_folds} folds of whole patients{by}"
    return f"{dealt}; tested: {trained}; the next fold stops training and calibrates images"


def _standardised(page: Page) -> str:
    return "What is learned from (colours by a network, vectors by a learner) less its mean in training, by its deviation"


def _model(page: Page) -> str:
    kinds = sorted({page["config"].candidates[name].kind for name in page["config"].candidates})
    return f"Candidates of kind {', '.join(kinds)}; layers, settings and each training's digests are listed"


def _measures(page: Page) -> str:
    named = ", ".join(figure.words for figure in page["all_figures"].values())
    return f"{named}; ROC, precision-recall, reliability and decision curves; {page['percent']} intervals over patients"


def _recalibration(page: Page) -> str:
    first = page["subtypes"][0]["candidates"][0]
    lines = ", ".join(f"{row['intercept']:.2f} + {row['slope']:.2f} x" for row in first["folds"])
    heats = ", ".join(f"{row['temperature']:.2f}" for row in first["folds"])
    images = f"of images a temperature a fold, by its validation patients ({heats}); " if first["has_images"] else ""
    return f"{first['title']}: {images}of patients a line a fold, by those of other folds ({lines})"


def _predictions(page: Page) -> str:
    return f"A patient's score is the probability at the images' calibrated mean logit; called above {page['threshold']:g}"


def _imbalance(page: Page) -> str:
    return "Both classes weigh the same in training; so scores are for as many of either, and moved where a share matters"


def _fairness(page: Page) -> str:
    return "Nothing was done in training; results are shown by sex, age and number of images, with intervals"


def _output(page: Page) -> str:
    aim = page["config"].evaluate.target_specificity
    return f"A probability; a call above {page['threshold']:g}, fixed beforehand, or to aim at a specificity of {aim:g}"


def _same_cohort(page: Page) -> str:
    return "None by design: one cohort, one dealing of its patients; no other cohort was tested"


def _code(page: Page) -> str:
    return f"requirements.lock, SHA-256 {page['made']['lock'][:12]}; the digest of the code is listed with each training"


def _characteristics(page: Page) -> str:
    ages = {name: people.age for name, people in page["cohort"]["people"].items()}
    medians = ", ".join(f"{name} {age[0]:g}" if age else f"{name} not known" for name, age in ages.items())
    return f"Median age: {medians}"


def _by_fold(page: Page) -> str:
    return "Age, sex and what is missing, by class and fold"


def _analysed(page: Page) -> str:
    counted = (f"{subtype['name']} {subtype['size']['m']} + {subtype['size']['n']}" for subtype in page["subtypes"])
    return f"Test patients, control + subtype: {', '.join(counted)}"


def _specification(page: Page) -> str:
    return "Weights, settings and code of every fold are files of this run, registered in MLflow with their digests"


def _performance(page: Page) -> str:
    found = (f"{c['title']}: {c['sentence']}" for s in page["subtypes"] for c in s["candidates"])
    return "; ".join(found)


def _limitations(page: Page) -> str:
    red = sum(c["audit"].counts["red"] for s in page["subtypes"] for c in s["candidates"])
    return f"Said of every result; {red} of the audit's answers are red"


def _poor_input(page: Page) -> str:
    return "Files that cannot be used are quarantined with a reason; served models refuse them and tell images unlike training"


ANSWERS: dict[str, Callable[[Page], str]] = {
    "title": _title,
    "source": _source,
    "eligible": _eligible,
    "preparation": _preparation,
    "outcome": _outcome,
    "predictors": _predictors,
    "sample_size": _sample_size,
    "missing": _missing,
    "partitions": _partitions,
    "standardised": _standardised,
    "model": _model,
    "measures": _measures,
    "recalibration": _recalibration,
    "predictions": _predictions,
    "imbalance": _imbalance,
    "fairness": _fairness,
    "output": _output,
    "same_cohort": _same_cohort,
    "code": _code,
    "characteristics": _characteristics,
    "by_fold": _by_fold,
    "analysed": _analysed,
    "specification": _specification,
    "performance": _performance,
    "limitations": _limitations,
    "poor_input": _poor_input,
}
