"""Whether a candidate takes the champion's place. No file is read and MLflow is not asked here.

Both models are judged by their own out-of-fold scores of the patients whom both have scored, so that neither is measured on a
patient it has learned from. A table of scores has one row per patient: patient (a key that means the same person in both
tables), fold, label, logit (calibrated).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.common.config import Gate
from pipeline.evaluation import metrics
from pipeline.evaluation.pooling import probabilities

Decision = Literal["champion", "challenger", "not comparable"]
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


def judge(candidate: pd.DataFrame, champion: pd.DataFrame | None, missed: Sequence[str], rules: Gate, seed: int) -> Verdict:
    """The verdict over `candidate`.

    Args:
        candidate: its scores.
        champion: the champion's scores; None where there is no champion, or only the candidate itself.
        missed: a sentence for every floor the candidate does not reach.
        rules: `register.gate` of params.yaml.
        seed: of the bootstrap.
    """
    if missed:
        return Verdict("challenger", "; ".join(missed), {})
    if champion is None:
        return Verdict("champion", "no champion yet, and all floors are reached", {})
    if champion.empty:
        return Verdict("not comparable", "the champion was registered without its scores", {})
    folds, its_folds = candidate["fold"].nunique(), champion["fold"].nunique()
    if folds != its_folds:
        return Verdict("not comparable", f"its scores are of {_of(folds)}, the champion's of {its_folds}", {})
    both = candidate.merge(champion, on=["patient", "label"], suffixes=("", "_champion"))
    counts = {"controls": int((both["label"] == 0).sum()), "subtype's patients": int((both["label"] == 1).sum())}
    if min(counts.values()) < rules.fewest_patients:
        shared = " and ".join(f"{count} {who}" for who, count in counts.items())
        return Verdict(
            "not comparable", f"both have scored {shared} out of fold, {rules.fewest_patients} of each are needed", {}
        )
    figures = compare(both, rules.draws, seed)
    said = (
        f"Brier score better by {figures['gain']:.4f} ({figures['gain_low']:.4f} to {figures['gain_high']:.4f}) than the "
        f"champion's on {len(both)} shared patients, worse with probability {figures['probability_worse']:.3f}; patient AUROC "
        f"{figures['patient_auroc']:.3f}, the champion's {figures['champion_patient_auroc']:.3f}"
    )
    better = figures["gain"] > 0 and figures["gain"] >= rules.min_gain
    if better and figures["probability_worse"] <= rules.max_probability_worse:
        return Verdict("champion", said, figures)
    return Verdict(
        "challenger", f"{said}; needed: {rules.min_gain:g} or more, and at most {rules.max_probability_worse:g}", figures
    )


def compare(both: pd.DataFrame, draws: int, seed: int) -> dict[str, float]:
    """The candidate against the champion on the same patients; `both` has patient, label, and fold and logit of either.

    `gain` is by how much the candidate's Brier score is lower, the mean of the two classes; its bounds hold 95 % of the draws
    of a bootstrap over patients within each class, and `probability_worse` is the share of draws without a gain.
    """
    y = both["label"].to_numpy()
    lower = _squared_error(both["logit_champion"], y) - _squared_error(both["logit"], y)
    rng = np.random.default_rng(seed)
    drawn = np.mean([_means(lower[y == label], draws, rng) for label in (0, 1)], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "gain": float(np.mean([lower[y == label].mean() for label in (0, 1)])),
        "gain_low": float(low),
        "gain_high": float(high),
        "probability_worse": float((drawn <= 0).mean()),
        "patient_auroc": metrics.within_fold_auroc(y, both["logit"], both["fold"]),
        "champion_patient_auroc": metrics.within_fold_auroc(y, both["logit_champion"], both["fold_champion"]),
        "shared_controls": float((y == 0).sum()),
        "shared_patients": float((y == 1).sum()),
    }


def _squared_error(logits: pd.Series, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray((probabilities(logits) - labels) ** 2, dtype=np.float64)


def _means(values: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means `(draws,)` of `values` `(n,)` resampled, n - 1 at a time, which makes their spread right (`resampling`)."""
    n = len(values)
    return np.asarray(rng.multinomial(n - 1, np.full(n, 1 / n), size=draws) @ values / (n - 1))


def _of(folds: int) -> str:
    return f"{folds} fold" if folds == 1 else f"{folds} folds"
