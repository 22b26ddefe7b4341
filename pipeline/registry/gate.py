"""Whether a candidate takes the champion's place. No file is read and MLflow is not asked here.

Both models are judged by their own out-of-fold scores of the patients whom both have scored, so that neither is measured on a
patient it has learned from; and by the order into which they put the patients of a fold, so that no scale decides. A table of
scores has one row per patient, whatever made the score: patient (keys that mean the same person in both tables, of which one in
common is enough), fold, label, logit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from scipy.stats import t

from pipeline.common.params_judging import Gate
from pipeline.evaluation import intervals
from pipeline.registry import exchanges

Decision = Literal["champion", "challenger", "not comparable"]
NOT_COMPARABLE: Final = "not comparable"
_CONFIDENCE = 0.95  # of the bounds that are shown
SCORES = ["patient", "fold", "label", "logit"]


@dataclass(frozen=True)
class Verdict:
    """What becomes of a candidate, in one sentence why, and the figures behind it (none where nothing was compared)."""

    decision: Decision
    reason: str
    figures: dict[str, float]

    @property
    def alias(self) -> Literal["champion", "challenger"]:
        """The name the candidate carries from now on: what cannot be compared is no champion."""
        return "champion" if self.decision == "champion" else "challenger"


def way_out(model: str, version: str) -> str:
    """What a person can do where nothing can be compared, since no later candidate of these settings can be either."""
    return (
        f"{model}: the champion stays, and `predict` uses it; to use v{version} instead: "
        f'`python -m pipeline promote {model} {version} --because "..."`'
    )


def level(rate: float, compared_before: int, side_by_side: int = 1) -> float:
    """The chance that a candidate no better than the champion is given, so that all that ever come have `rate` together.

    The chances rate / ((n + 1)(n + 2)) of a first, a second ... comparison (n = 0, 1 ...) add up to `rate` however many there
    are; candidates that come side by side share theirs alike.
    """
    return rate / ((compared_before + 1) * (compared_before + side_by_side + 1))


def judge(
    candidate: pd.DataFrame,
    champion: pd.DataFrame | None,
    missed: Sequence[str],
    rules: Gate,
    seed: int,
    compared_before: int = 0,
    side_by_side: int = 1,
) -> Verdict:
    """The verdict over `candidate`.

    Args:
        candidate: its scores.
        champion: the champion's scores; None where there is no champion, or only the candidate itself.
        missed: a sentence for every floor the candidate does not reach.
        rules: `register.gate` of params.yaml.
        seed: of the exchanges.
        compared_before: how many others were held against a champion on these patients before.
        side_by_side: how many are held against it now.
    """
    if missed:
        return Verdict("challenger", "; ".join(missed), {})
    if champion is None:
        return Verdict("champion", f"no champion yet, and all floors are reached{on_few(candidate, rules)}", {})
    if champion.empty:
        return Verdict(NOT_COMPARABLE, "the champion was registered without its scores", {})
    folds, its_folds = candidate["fold"].nunique(), champion["fold"].nunique()
    if folds != its_folds:
        return Verdict(NOT_COMPARABLE, f"its scores are of {_of(folds)}, the champion's of {its_folds}", {})
    both = shared(candidate, champion)
    counts = {"controls": int((both["label"] == 0).sum()), "subtype's patients": int((both["label"] == 1).sum())}
    if min(counts.values()) < rules.fewest_patients:
        few = " and ".join(f"{count} {who}" for who, count in counts.items())
        return Verdict(NOT_COMPARABLE, f"both have scored {few} out of fold, {rules.fewest_patients} of each are needed", {})
    if set(both.loc[both["label"] == 0, "fold"]).isdisjoint(both.loc[both["label"] == 1, "fold"]):
        return Verdict(NOT_COMPARABLE, "of the patients whom both have scored, no fold has tested some of either class", {})
    allowed = level(rules.max_false_promotions, compared_before, side_by_side)
    figures = {**compare(both, rules.draws, seed), "allowed": allowed}
    said = (
        f"patient AUROC {figures['patient_auroc']:.3f}, the champion's {figures['champion_patient_auroc']:.3f} on "
        f"{len(both)} shared patients; better by {figures['gain']:.4f} ({figures['gain_low']:.4f} to "
        f"{figures['gain_high']:.4f}), which one that is no better reaches with probability {figures['chance']:.4f}"
    )
    if passes(figures, rules, allowed):
        return Verdict("champion", said, figures)
    needed = f"needed: {rules.min_gain:g} or more, with at most {allowed:.4f}"
    if figures["champion_patient_auroc"] == 1:
        needed = "nobody can be better than the champion on these patients"
    return Verdict("challenger", f"{said}; {needed}", figures)


def passes(figures: Mapping[str, float], rules: Gate, allowed: float) -> bool:
    """Whether a candidate with these `figures` of `compare` is better than chance `allowed` explains."""
    return figures["gain"] > 0 and figures["gain"] >= rules.min_gain and figures["chance"] <= allowed


def on_few(scores: pd.DataFrame, rules: Gate) -> str:
    """Behind a verdict of champion, where fewer patients of a class were tested than a comparison takes; else empty."""
    patients = int((scores["label"] == 1).sum())
    controls = len(scores) - patients
    if min(controls, patients) >= rules.fewest_patients:
        return ""
    tested = f"{controls} control{'s' * (controls != 1)} and {patients} patient{'s' * (patients != 1)} of the subtype"
    return f", but only {tested} were tested: too few to rely on it (register.gate.fewest_patients is {rules.fewest_patients})"


def shared(candidate: pd.DataFrame, champion: pd.DataFrame) -> pd.DataFrame:
    """The patients whom both have scored: patient, label, and fold and logit of either.

    A patient's keys are words of one text; who has a key in common is the same person.
    """
    ours, theirs = (table.reset_index(drop=True) for table in (candidate, champion))
    words, its_words = (
        table.assign(row=table.index, key=table["patient"].astype("str").str.split()).explode("key") for table in (ours, theirs)
    )
    pairs = words.merge(its_words[["key", "label", "row"]], on=["key", "label"], suffixes=("", "_champion"))
    pairs = pairs.drop_duplicates("row").drop_duplicates("row_champion")
    its = theirs.loc[pairs["row_champion"], ["fold", "logit"]].reset_index(drop=True).add_suffix("_champion")
    return ours.loc[pairs["row"]].reset_index(drop=True).join(its).sort_values("patient", ignore_index=True)


def compare(both: pd.DataFrame, draws: int, seed: int) -> dict[str, float]:
    """The candidate against the champion on the same patients, `both` as `shared` makes it.

    `gain` is by how much the candidate's patient AUROC within folds is higher, and `chance` how often one that is no better has
    as high a gain (`exchanges.compare`). The bounds are for people to look at and decide nothing.
    """
    y, fold = both["label"].to_numpy(np.int64), both["fold"].to_numpy()
    places = np.stack(
        [exchanges.places(*(both[name + of].to_numpy() for name in ("logit", "fold"))) for of in ("", "_champion")]
    )
    found = exchanges.compare(places, y, fold, draws, seed)
    gain = float(found.gain)
    reach = _reach(float(found.spread), int(min((y == 0).sum(), (y == 1).sum())), bool((places[0] == places[1]).all()))
    return {
        "gain": gain,
        "gain_low": max(gain - reach, -1.0),
        "gain_high": min(gain + reach, 1.0),
        "chance": float(found.chance),
        "patient_auroc": float(found.aurocs[0]),
        "champion_patient_auroc": float(found.aurocs[1]),
        "shared_controls": float((y == 0).sum()),
        "shared_patients": float((y == 1).sum()),
    }


def _reach(spread: float, fewest: int, alike: bool) -> float:
    """By how much the gain may be off either way, in 95 of 100 cohorts: by its spread under exchanges, Student's t.

    Where no exchange moves it, by the share of patients who may yet differ when none of the `fewest` of a class does; by
    nothing where both orders are `alike`.
    """
    if not spread:
        return 0.0 if alike else intervals.proportion(0, fewest, _CONFIDENCE).high
    return float(t.ppf((1 + _CONFIDENCE) / 2, max(fewest - 1, 1))) * spread


def _of(folds: int) -> str:
    return f"{folds} fold" if folds == 1 else f"{folds} folds"
