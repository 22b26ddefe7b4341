"""Two states of a project set beside each other: which results got worse, by more than chance explains, over the same patients.

A state is a folder as a checkout has it: reports/<subtype>/<candidate>/metrics.json, and patients.csv beside it where the
patients' out-of-fold scores are to be had. No patient is named in what comes of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from pipeline.common import paths
from pipeline.common.errors import ModelError
from pipeline.common.params_judging import Gate
from pipeline.evaluation import figures, paired, seen_by_search
from pipeline.evaluation.figures import Interval
from pipeline.names import patient_names
from pipeline.registry import gate

TESTS = 3  # of a result: order of the patients, Brier score, calls
_ONE_SIDED = 2


@dataclass(frozen=True)
class Result:
    """One candidate's out-of-fold result in one state: its figures, whether they may be claimed, and its patients, if known."""

    metrics: Mapping[str, Any]
    leaked: bool
    patients: pd.DataFrame | None


@dataclass(frozen=True)
class Compared:
    """What became of a result: the figures of all its patients in either state; over shared patients, what got worse.

    `before` and `after` are None where a state has no such result. `shared` is None where nothing could be paired, and `why`
    says why. Differences are after less before.
    """

    name: str
    before: Result | None
    after: Result | None
    why: str = ""
    shared: pd.DataFrame | None = None
    same: bool = False  # the same scores of the same patients
    auroc: Interval | None = None
    brier: Interval | None = None
    right_before: int = 0  # patients called right in this state alone
    right_after: int = 0
    worse: list[str] = field(default_factory=list)
    better: list[str] = field(default_factory=list)


def read(folder: Path) -> dict[str, Result]:
    """Every result of a state, by subtype and candidate.

    Raises:
        ModelError: a file is damaged.
    """
    found = {}
    for file in sorted((folder / paths.REPORTS).glob("*/*/metrics.json")):
        name = f"{file.parent.parent.name} {file.parent.name}"
        try:
            metrics, leaked = seen_by_search.read(json.loads(file.read_text()))
            table = file.with_name("patients.csv")
            known = pd.read_csv(table, dtype={"patient": "str"}, keep_default_na=False) if table.is_file() else None
            found[name] = Result(metrics, leaked, None if known is None else _keyed(known))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{folder}: the files of {name} are damaged ({str(error).splitlines()[0]})") from None
    return found


def _keyed(table: pd.DataFrame) -> pd.DataFrame:
    """The patients by their identity, however they are spelled, as one word."""
    identities = [patient_names.identity(name).replace(" ", "_") for name in table["patient"]]
    typed = {"label": int, "logit": float, "score": float}
    return table.assign(patient=identities, called=table["called"].astype(str) == "True").astype(typed)


def compare(
    before: Mapping[str, Result], after: Mapping[str, Result], rules: Gate, confidence: float, seed: int
) -> list[Compared]:
    """Every result of either state.

    All tests together call something worse that is not with a probability of 1 - `confidence` at most (Bonferroni, over the
    results whose scores changed). Each is one-sided: exchanges (the order of a fold's patients), Student's t (Brier score),
    McNemar (calls).
    """
    names = list(dict.fromkeys([*before, *after]))
    tested = [name for name in names if not _why_not(before.get(name), after.get(name))]
    changed = sum(not _are_same(before.get(name), after.get(name)) for name in tested)  # the others cannot be called worse
    level = (1 - confidence) / max(TESTS * changed, 1)
    return [_compare(name, before.get(name), after.get(name), rules, level, confidence, seed) for name in names]


def _why_not(before: Result | None, after: Result | None) -> str:
    """Why not; empty if so."""
    if before is None or after is None:
        return "only one of the two has it"
    if before.leaked or after.leaked:
        return "a search saw the patients, so nothing is claimed of them"
    if before.patients is None or after.patients is None:
        return "no scores of patients to pair"
    both = gate.shared(after.patients[gate.SCORES], before.patients[gate.SCORES])
    return "" if set(both["label"]) == {0, 1} else f"{len(both)} patients are in both, not of both classes"


def _are_same(before: Result | None, after: Result | None) -> bool:
    if before is None or after is None or before.patients is None or after.patients is None:
        return False
    columns = [*gate.SCORES, "score", "called"]
    was, now = (table[columns].sort_values("patient", ignore_index=True) for table in (before.patients, after.patients))
    return bool(was.equals(now))


def _compare(
    name: str, before: Result | None, after: Result | None, rules: Gate, level: float, confidence: float, seed: int
) -> Compared:
    if (why := _why_not(before, after)) or before is None or after is None:
        worse, better = _unpaired(before, after)
        return Compared(name, before, after, why, worse=worse, better=better)
    assert before.patients is not None
    assert after.patients is not None
    ours, theirs = before.patients[gate.SCORES], after.patients[gate.SCORES]
    draws = max(rules.draws, int(2 / level))
    gain = gate.compare(gate.shared(theirs, ours), draws, seed)
    loss = gate.compare(gate.shared(ours, theirs), draws, seed)
    strict = paired.compare(after.patients, before.patients, 1 - _ONE_SIDED * level)
    change = paired.compare(after.patients, before.patients, confidence)
    calls = {"worse": change.wrong_alone, "better": change.right_alone}
    differ = sum(calls.values())
    chances = {side: binomtest(count, differ, alternative="greater").pvalue if differ else 1.0 for side, count in calls.items()}
    found: dict[str, list[str]] = {"worse": [], "better": []}
    for side, order, brier in (
        ("worse", loss["chance"], strict.brier.low > 0),
        ("better", gain["chance"], strict.brier.high < 0),
    ):
        said = {"patient AUROC": order <= level, "Brier score": brier, "calls": chances[side] <= level}
        found[side] = [words for words, so in said.items() if so]
    return Compared(
        name,
        before,
        after,
        shared=after.patients.merge(before.patients, on=["patient", "label"], suffixes=("", "_before")),
        same=_are_same(before, after),
        auroc=Interval(gain["gain"], gain["gain_low"], gain["gain_high"]),
        brier=change.brier,
        right_before=change.wrong_alone,
        right_after=change.right_alone,
        worse=found["worse"],
        better=found["better"],
    )


def _unpaired(before: Result | None, after: Result | None) -> tuple[list[str], list[str]]:
    """By metrics.json alone: a figure is worse, or better, that lies beyond the bounds that it had."""
    if before is None or after is None:
        return ([] if after else ["gone"]), []
    if after.leaked or before.leaked:
        return (["nothing is claimed any more: a search saw its patients"] if not before.leaked else []), []
    worse, better = list[str](), list[str]()
    for key, figure in after.metrics.items():
        was = before.metrics.get(key)
        known = figures.ALL.get(key.partition("_")[2]) or figures.ALL.get(key)
        if not (known and isinstance(figure, dict) and isinstance(was, dict)):
            continue
        lower, higher = figure["value"] < was["low"], figure["value"] > was["high"]
        if lower or higher:
            (worse if higher == known.loss else better).append(key.replace("_", " ").replace("auroc", "AUROC"))
    return worse, better


def histogram(scores: pd.Series) -> str:
    """How many patients have which score, from 0 to 1 in ten steps, as letters of rising height."""
    counts, _ = np.histogram(scores, bins=10, range=(0, 1))
    heights = np.ceil(counts / max(counts.max(), 1) * 8).astype(int)
    return "".join("·▁▂▃▄▅▆▇█"[height] for height in heights)
