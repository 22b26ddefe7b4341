"""Whether a call's model takes the champion's place. No file is read and MLflow is not asked here.

A table of scores is as that of `gate`, with the place of the patient's class as `label`, and as `logit` the logarithm of the
probability that he or she was given, out of fold, for that class: what says how good a call is without any threshold.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.common.params_judging import Gate
from pipeline.registry import gate
from pipeline.registry.gate import Verdict


def judge(
    candidate: pd.DataFrame,
    champion: pd.DataFrame | None,
    missed: list[str],
    rules: Gate,
    seed: int,
    compared_before: int = 0,
    side_by_side: int = 1,
) -> Verdict:
    """The verdict over `candidate` by its scores and the champion's, None where there is none; the rest as in `gate.judge`."""
    if missed:
        return Verdict("challenger", "; ".join(missed), {})
    if champion is None:
        return Verdict("champion", "no champion yet, and it calls better than chance", {})
    both = gate.shared(candidate, champion)
    counts = both["label"].value_counts().reindex(candidate["label"].unique(), fill_value=0)
    if counts.min() < rules.fewest_patients:
        few = f"of one class both have called {counts.min()} patients, {rules.fewest_patients} of each are needed"
        return Verdict("not comparable", few, {})
    allowed = gate.level(rules.max_false_promotions, compared_before, side_by_side)
    figures = {**compare(both, rules.draws, seed), "allowed": allowed}
    said = (
        f"log loss over {len(both)} shared patients lower by {figures['gain']:.4f} than the champion's, which one that is no "
        f"better reaches with probability {figures['chance']:.4f}"
    )
    if gate.passes(figures, rules, allowed):
        return Verdict("champion", said, figures)
    return Verdict("challenger", f"{said}; needed: {rules.min_gain:g} or more, with at most {allowed:.4f}", figures)


def compare(both: pd.DataFrame, draws: int, seed: int) -> dict[str, float]:
    """By how much the mean over the classes of their log losses is lower (`gain`), and how often exchanges reach as much.

    Were the candidate no better, a patient's two probabilities might as well be exchanged; `chance` is the share of `draws`
    such exchanges, by a coin for each patient, that have as high a gain.
    """
    counts = both["label"].map(both["label"].value_counts())
    shares = ((both["logit"] - both["logit_champion"]) / counts / both["label"].nunique()).to_numpy(np.float64)
    signs = 2.0 * np.random.default_rng(seed).integers(2, size=(draws, len(shares))) - 1
    gain = float(shares.sum())
    reached = int((signs @ shares >= gain - 1e-9).sum())  # sums are rounded
    return {"gain": gain, "chance": (1 + reached) / (1 + draws) if gain > 0 else 1.0}
