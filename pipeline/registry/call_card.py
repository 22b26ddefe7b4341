"""The card of a registered call: what it answers, of what it was made, how good it is and what it cannot do, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.evaluation.figures import Interval

_SHOWN = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "top_2": "right class among the two likeliest",
    "coverage": "sets that hold the class",
    "single_share": "sets of one class",
}


def markdown(
    settings: Mapping[str, Any], curated: Mapping[str, Any], found: Mapping[str, Any], confidence: float, digest: str
) -> str:
    """The card, from the model's settings, which images it did not learn from (as its spec says) and metrics.json."""
    parts = [_title(settings), _data(settings, curated), _results(settings, found, confidence), _limits(digest)]
    return "\n\n".join(parts) + "\n"


def _title(settings: Mapping[str, Any]) -> str:
    return (
        f"**One answer for a patient: {', '.join(settings['classes'])}**, from single-cell images. **For research only, not "
        "for diagnosis.**\n\n### Answer\n\nA probability for every class, made for as many patients of each; and the set of "
        "classes that cannot be ruled out: several mean that it cannot say, none that the patient is like none of them."
    )


def _data(settings: Mapping[str, Any], curated: Mapping[str, Any]) -> str:
    cohort = settings["cohort"]
    drawn = (
        ": synthetic cells, drawn from a seed. The results say nothing about leukaemia" if cohort["source"] == "demo" else ""
    )
    gone = f" After review {curated['left_out']:,} images were left out of what it learned from." if curated else ""
    return (
        f"### Data\n\nCohort `{cohort['cohort']}` (source {cohort['source']}, {cohort['files']:,} files, sha256 "
        f"`{cohort['sha256'][:12]}`){drawn}.{gone}"
    )


def _results(settings: Mapping[str, Any], found: Mapping[str, Any], confidence: float) -> str:
    rows = [f"| {words} | {Interval(**found[key]):.2f} |" for key, words in _SHOWN.items() if key in found]
    sets = "No sets are given: too few patients are known for the coverage asked for."
    if "coverage" in found:
        sets = (
            f"The sets aim at a coverage of {settings['coverage']:g}, class by class, and hold {found['mean_set_size']:.2f} of "
            f"{len(settings['classes'])} classes on average."
        )
    told = f"{found['patients']} patients, each called by what had not seen him or her; {confidence:.0%} intervals."
    return "\n".join(["### Results", "", told, "", "| figure | value |", "|---|---|", *rows, "", sets])


def _limits(digest: str) -> str:
    return (
        "### Limits\n\n- It knows these classes alone: any other disease, or a reactive change, may be called one of them.\n"
        "- Coverage holds for patients like those here; another hospital, microscope or staining was not tested.\n\n"
        f"### Digests\n\nSHA-256 of the whole `{digest[:12]}`. Full in the tags."
    )
