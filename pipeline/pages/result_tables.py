"""The tables that `evaluate` and `audit` write, in the form in which the page shows them. No file is read here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation import figures, intervals, seen_by_search
from pipeline.evaluation.figures import Interval

STATES = ("red", "amber", "clear", "nothing to judge")  # of an answer of the audit, the worst first


@dataclass(frozen=True)
class Audit:
    """All answers, each with its `state`; how many of each state; what colours alone reach (NaN: not asked)."""

    checks: list[dict[str, Any]]
    counts: dict[str, int]
    colours: float


def headline(metrics: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """What metrics.json holds, figures as intervals and counts as they are; and whether the figures are leaked."""
    found, leaked = seen_by_search.read(metrics)
    return {name: Interval(**value) if isinstance(value, dict) else value for name, value in found.items()}, leaked


def audit(checks: Iterable[Mapping[str, Any]], confidence: float) -> Audit:
    """The answers of one candidate, with the bounds of every group's rates."""
    found = []
    for check in checks:
        groups = [_with_bounds(row, confidence) for row in (check["value"] or {}).get("groups", [])]
        found.append({**check, "state": state(check), "groups": groups})
    counted = Counter(check["state"] for check in found)
    colours = next(
        (check["value"].get("patient_auroc") for check in found if check["name"] == "colour_only" and check["value"]), None
    )
    return Audit(found, {name: counted[name] for name in STATES}, math.nan if colours is None else float(colours))


def state(check: Mapping[str, Any]) -> str:
    """One of `STATES`: what the check says itself, else what its answer amounts to."""
    return str(check.get("state") or ("red" if check["red"] else "clear" if check["answered"] else "nothing to judge"))


def rules_in_words(states: Sequence[str]) -> str:
    """How many of the cohort's rules hold, by what became of each; a warning stopped nothing and is called so."""
    asked = [state for state in states if state != "nothing to judge"]
    broken, warned = asked.count("FAIL"), asked.count("warn")
    held = len(asked) - broken - warned
    said = f"{held} of {len(asked)} rules {'holds' if held == 1 else 'hold'}" if broken or warned else f"All {held} rules hold"
    if broken:
        said += f", {broken} {'is' if broken == 1 else 'are'} broken"
    if warned:
        said += f", {warned} {'is a warning' if warned == 1 else 'are warnings'}"
    return said + (f"; {nothing} had nothing to judge" if (nothing := len(states) - len(asked)) else "")


def rules(audits: Iterable[Audit]) -> dict[str, list[str]]:
    """The rules of all candidates' audits, each once, with the questions that were answered by it."""
    found: dict[str, list[str]] = {}
    for check in (check for audit in audits for check in audit.checks if check["answered"]):
        questions = found.setdefault(check["rule"], [])
        if check["question"] not in questions:
            questions.append(check["question"])
    return found


def _with_bounds(row: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    rates = {
        side: intervals.proportion(row[side]["right"], row[side]["patients"], confidence) for side in ("control", "subtype")
    }
    return {**row, "rates": rates}


def sentence(patients: Mapping[bool, int], right: Mapping[bool, int], controls: str) -> str:
    """How many of the subtype's patients (True) and of the `controls` (False) were called right, as a person would say it."""
    wrong = patients[False] - right[False]
    return f"{right[True]} of {patients[True]} found, {wrong} of {patients[False]} {controls} called wrongly"


def called(rows: pd.DataFrame) -> dict[tuple[bool, bool], int]:
    """How many rows (images, patients) of the subtype (True) and of the control were called the subtype (True) and not."""
    counted = Counter(zip(rows["label"] == 1, rows["called"].astype(bool), strict=True))
    return {(label, call): counted[label, call] for label in (False, True) for call in (False, True)}


def by_class(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The published form by source and class: the support, and each figure with its bounds."""
    form: dict[str, dict[str, Any]] = {}
    for row in rows(table):
        of_class = {name: interval(row, name, f"{name}_low", f"{name}_high") for name in figures.PUBLISHED}
        form.setdefault(row["source"], {})[row["class"]] = {**of_class, "support": int(row["support"])}
    return form


def by_level(table: pd.DataFrame) -> dict[tuple[str, str, str], Interval]:
    """The figures of figures.csv by level, name, and "usual", "operating point" or "", which says at what threshold."""
    found = {}
    for row in rows(table):
        where = row["threshold"] if row["threshold"] in ("", "operating point") else "usual"
        found[row["level"], row["figure"], where] = interval(row, *figures.SIDES)
    return found


def operating_point(folds: pd.DataFrame) -> dict[str, Any]:
    """The folds in which the point was chosen, those in which it is the usual threshold, and how many controls these had."""
    usual = folds[~folds["chosen"]]
    counts = sorted(set(usual["validation_controls"]))
    return {
        "chosen": folds.loc[folds["chosen"], "fold"].tolist(),
        "usual": usual["fold"].tolist(),
        "controls": " to ".join(str(count) for count in ([counts[0], counts[-1]] if len(counts) > 1 else counts)),
    }


def poolings(table: pd.DataFrame) -> dict[str, Interval]:
    """The patient AUROC by the way of pooling."""
    return {row["pooling"]: interval(row, "patient_auroc", "low", "high") for row in rows(table)}


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, with text for names."""
    return [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]


def interval(row: Mapping[str, Any], *columns: str) -> Interval:
    """The interval whose value and bounds stand in three columns of a row, empty where they are not known."""
    return Interval(*(math.nan if row[column] == "" else float(row[column]) for column in columns))


def with_intervals(classes: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows of a call's classes.csv by class, with the shares called and covered as figures."""
    found = {}
    for row in classes.to_dict("records"):
        shares = {
            f"{key}_share": Interval(row[key] / row["patients"], row[f"{key}_low"], row[f"{key}_high"])
            for key in ("called", "covered")
        }
        found[str(row["class"])] = {str(key): value for key, value in row.items()} | shares
    return found


def by_test(tests: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of a call's tests.csv, by test and class, with the share called as a figure."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in tests.to_dict("records"):
        rate = Interval(row["share"], row["low"], row["high"])
        found.setdefault(row["test"], {})[row["class"]] = {str(key): value for key, value in row.items()} | {"rate": rate}
    return found
