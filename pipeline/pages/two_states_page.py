"""The Markdown of two states set beside each other: what got worse in its first line, a table, and pictures.

Where Markdown is shown its pictures often cannot be reached, as in a comment on a pull request: letters draw what matters too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.evaluation.figures import Interval
from pipeline.pages.two_states import TESTS, Compared, Result, histogram

_SHOWN = {"patient_auroc": "AUROC", "patient_sensitivity": "sensitivity", "patient_specificity": "specificity"}
_WORTH_A_WORD = 0.01
_OF_CALLS = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


def markdown(compared: Sequence[Compared], names: tuple[str, str], notes: Sequence[str], confidence: float) -> str:
    """The page; `names` say what the two states are, `notes` what could not be had of them."""
    changed = [one for one in compared if not one.same]
    paired = [one for one in changed if one.shared is not None]
    parts = [_headline(compared), f"{names[1]} beside {names[0]}.", *notes]
    if same := [one.name for one in compared if one.same]:
        parts.append(f"The same patients have the same scores in: {', '.join(same)}.")
    if changed:
        parts.append(_figures(changed))
    if paired:
        parts += [_pairs(paired), _how(confidence, len(paired)), *map(_pictures, paired)]
    if alone := [one for one in changed if one.shared is None]:
        said = "\n".join(f"- {one.name}: {one.why}" for one in alone)
        parts.append(f"By metrics.json alone, called worse or better where a figure lies beyond the bounds it had:\n\n{said}")
    return "\n\n".join(parts) + "\n"


def picture(name: str) -> str:
    """The file of a result's picture, beside the page."""
    return f"{name.replace(' ', '-')}.png"


def _headline(compared: Sequence[Compared]) -> str:
    worse = [f"{one.name} ({', '.join(one.worse)})" for one in compared if one.worse]
    better = [f"{one.name} ({', '.join(one.better)})" for one in compared if one.better]
    few = [f"{one.name} ({lower})" for one in compared if not one.worse and (lower := _lower(one))]
    none = f"**Nothing is worse by more than chance explains, of {len(compared)} results.**"
    said = [f"**Worse: {'; '.join(worse)}.**" if worse else none]
    said += [f"Lower, but too few patients to tell it from chance: {'; '.join(few)}."] if few else []
    said += [f"Better: {'; '.join(better)}."] if better else []
    return " ".join(said)


def _lower(one: Compared) -> str:
    """What is worse over the shared patients by as much as is worth a word."""
    found = []
    if one.auroc and one.auroc.value <= -_WORTH_A_WORD:
        found.append(f"patient AUROC {one.auroc.value:+.3f}")
    if one.brier and one.brier.value >= _WORTH_A_WORD:
        found.append(f"Brier score {one.brier.value:+.3f}")
    return ", ".join(found)


def _figures(compared: Sequence[Compared]) -> str:
    rows = ["| result | patients | figures | |", "|---|---|---|---|"]
    for one in compared:
        verdict = "worse" if one.worse else "better" if one.better else "new" if one.before is None else ""
        rows.append(f"| {one.name} | {_both(one, _patients)} | {'<br>'.join(_changes(one))} | {verdict} |")
    return "\n".join(rows)


def _changes(one: Compared) -> list[str]:
    known = [result.metrics for result in (one.before, one.after) if result]
    shown = {**_SHOWN, **_OF_CALLS}
    return [
        f"{words} {_both(one, lambda result, key=key: _value(result.metrics.get(key)))}"
        for key, words in shown.items()
        if any(key in metrics for metrics in known)
    ]


def _both(one: Compared, said: Any) -> str:
    was, now = (said(result) if result else "–" for result in (one.before, one.after))
    return was if was == now else f"{was} → {now}"


def _patients(result: Result) -> str:
    return str(result.metrics.get("patients", "–"))


def _value(figure: Any) -> str:
    return f"{figure['value']:.3f}" if isinstance(figure, dict) else "–"


def _pairs(paired: Sequence[Compared]) -> str:
    rows = ["| over the same patients | shared | AUROC | Brier score (lower is better) | right before only, now only |"]
    rows.append("|---|---|---|---|---|")
    for one in paired:
        assert one.shared is not None
        of = f"{len(one.shared)} of {_both(one, lambda result: str(len(result.patients)))}"
        change = [_signed(one.auroc), _signed(one.brier), f"{one.right_before}, {one.right_after}"]
        rows.append(f"| {one.name} | {of} | {' | '.join(change)} |")
    return "\n".join(rows)


def _signed(change: Interval | None) -> str:
    if change is None or math.isnan(change.value):
        return "–"
    bounds = f" ({change.low:+.3f} to {change.high:+.3f})" if change.known else ""
    return f"{change.value:+.3f}{bounds}"


def _how(confidence: float, results: int) -> str:
    return (
        f"Out of fold, each patient against himself or herself; {confidence:.0%} intervals. Of {TESTS * results} tests (order "
        "of a fold's patients by exchanges, Brier score by Student's t, calls by McNemar; one-sided, Bonferroni) any says "
        f"“worse” in {1 - confidence:.0%} at most of comparisons where nothing is. A loss too small for so few patients is not "
        "told apart from chance: look at the figures too."
    )


def _pictures(one: Compared) -> str:
    assert one.shared is not None
    lines = [f"<details><summary>{one.name}: scores of the shared patients, 0 to 1</summary>", "", "```"]
    for label, who in ((0, "control"), (1, one.name.split()[0])):
        own = one.shared[one.shared["label"] == label]
        lines += [f"{who:14} before  {histogram(own['score_before'])}", f"{'':14} now     {histogram(own['score'])}"]
    return "\n".join([*lines, "```", "", f"![{one.name}]({picture(one.name)})", "", "</details>"])
