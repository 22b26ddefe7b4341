"""How often the gate promotes, where it is known who is better. `python -m bench.gate`

Two models score the same patients, their errors correlated, as of two networks trained on the same images. Spread: by how much
more the subtype's patients differ among each other than controls do. That networks of other folds shift and stretch their
scores in other ways changes nothing, since only the order within a fold counts. The gate is `pipeline.registry.gate` with the
rules of params.yaml, and fewer exchanges.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.common import config
from pipeline.common.params_judging import Gate
from pipeline.registry import exchanges, gate

ROOT = Path(__file__).resolve().parents[1]
COUNTS = ((4, 6), (10, 10), (12, 30), (20, 20), (24, 60))  # patients of the subtype, controls
DRAWS = 2000
CANDIDATES = 10
AT_ONCE = 100  # cohorts of a cell, judged by the same exchanges

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """Cohorts of one kind."""

    patients: int
    controls: int
    auroc: float = 0.85  # the champion's, of patients
    gain: float = 0.0  # by how much the candidate's is higher
    spread: float = 1.0
    correlation: float = 0.7
    stretched: float = 1.0  # the candidate's logits, after everything

    @property
    def folds(self) -> int:
        """One hold-out where there are few patients, else five folds."""
        return 1 if self.patients < 10 else 5


def cohorts(cell: Cell, rng: np.random.Generator, gains: list[float], many: int) -> tuple[Ints, Ints, Floats]:
    """Labels and folds `(n,)` of the patients, and the logits `(models, many, n)` of models whose AUROC is so much higher."""
    labels = np.repeat([0, 1], [cell.controls, cell.patients])
    folds = np.concatenate([np.arange(cell.controls), np.arange(cell.patients)]) % cell.folds
    common, sd = rng.normal(size=(many, len(labels))), np.where(labels == 1, cell.spread, 1.0)
    scored = []
    for gain in gains:
        own = np.sqrt(cell.correlation) * common + np.sqrt(1 - cell.correlation) * rng.normal(size=common.shape)
        distance = np.sqrt(1 + cell.spread**2) * norm.ppf(cell.auroc + gain)
        scored.append(distance * (sd * own + distance * (labels - 0.5)))
    return labels, folds, np.stack(scored)


def promoted(seed: int, cell: Cell, rules: Gate, compared_before: int = 0, itself: bool = False) -> Bools:
    """Whether each candidate of `AT_ONCE` cohorts is; with `itself` it is the champion, its logits stretched and shifted."""
    labels, folds, (champion, other) = cohorts(cell, np.random.default_rng(seed), [0.0, cell.gain], AT_ONCE)
    candidate = (champion + 0.7 if itself else other) * cell.stretched
    return passes(labels, folds, candidate, champion, rules, seed, compared_before)


def passes(
    labels: Ints, folds: Ints, candidate: Floats, champion: Floats, rules: Gate, seed: int, compared_before: int
) -> Bools:
    """Which of the candidates `(many, n)` the gate lets through."""
    found = exchanges.compare(places_of(folds, candidate, champion), labels, folds, rules.draws, seed)
    allowed = gate.level(rules.max_false_promotions, compared_before)
    figures = ({"gain": gain, "chance": chance} for gain, chance in zip(found.gain, found.chance, strict=True))
    return np.array([gate.passes(of_one, rules, allowed) for of_one in figures])


def one_after_the_other(seed: int, cell: Cell, rules: Gate) -> tuple[Bools, Floats, Floats]:
    """Of ten no better candidates whether any is promoted; the measured AUROC of the last champion, and the highest of all."""
    labels, folds, scored = cohorts(cell, np.random.default_rng(seed), [0.0] * (CANDIDATES + 1), AT_ONCE)
    champion, crowned = scored[0], np.zeros(AT_ONCE)
    for number, candidate in enumerate(scored[1:]):
        better = passes(labels, folds, candidate, champion, rules, seed, number)
        champion, crowned = np.where(better[:, None], candidate, champion), crowned + better
    measured = [exchanges.compare(places_of(folds, one, one), labels, folds, 1, 0).aurocs[:, 0] for one in (champion, *scored)]
    return crowned > 0, measured[0], np.max(measured, axis=0)


def places_of(folds: Ints, candidate: Floats, champion: Floats) -> Floats:
    """As `exchanges.compare` takes them."""
    return np.stack([exchanges.places(logits, folds) for logits in (candidate, champion)], axis=-2)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    rules = config.load(ROOT / "params.yaml").register_.gate.model_copy(update={"draws": DRAWS, "fewest_patients": 4})
    total = rules.max_false_promotions
    with ProcessPoolExecutor(options.processes) as pool:

        def share(cell: Cell, before: int = 0, itself: bool = False) -> float:
            one = partial(promoted, cell=cell, rules=rules, compared_before=before, itself=itself)
            return float(np.mean(list(pool.map(one, range(options.simulations // AT_ONCE)))))

        kinds = {
            "alike": {},
            "errors correlated .3": {"correlation": 0.3},
            "spread 1:3": {"spread": 3.0},
            "spread 1:3, errors .3": {"spread": 3.0, "correlation": 0.3},
        }
        print(f"No better candidate, promoted at the first comparison (stated: {gate.level(total, 0):.3f})\n")
        print("| patients | AUROC | " + " | ".join(kinds) + " |\n|---|---|" + "---|" * len(kinds))
        for patients, controls in COUNTS:
            for auroc in (0.75, 0.9, 0.97):
                cells = [Cell(patients, controls, auroc, **kind) for kind in kinds.values()]
                print(
                    f"| {patients} + {controls} | {auroc} | " + " | ".join(f"{share(c):.3f}" for c in cells) + " |", flush=True
                )
        print("\n| 24 + 60 | promoted |\n|---|---|")
        whole = Cell(24, 60)
        for factor in (1.2, 4.0, 0.25):
            again = share(replace(whole, stretched=factor), itself=True)
            print(f"| the champion's own logits, shifted, times {factor} | {again:.3f} |")
        for auroc, gain, factor in ((0.9, -0.05, 0.25), (0.9, -0.05, 1.0), (0.9, 0.05, 4.0), (0.9, 0.05, 1.0)):
            cell = replace(whole, auroc=auroc, gain=gain, stretched=factor)
            print(f"| {auroc + gain:.2f} against {auroc:.2f}, its logits times {factor} | {share(cell):.3f} |", flush=True)
        print(
            "\n| AUROC .85 and more by | " + " | ".join(f"{gain:+.2f}" for gain in (0.02, 0.05, 0.1)) + " |\n|---|---|---|---|"
        )
        for patients, controls in COUNTS:
            for spread, before in ((1.0, 0), (3.0, 0), (1.0, 9)):
                cells = [Cell(patients, controls, gain=gain, spread=spread) for gain in (0.02, 0.05, 0.1)]
                what = (
                    f"{patients} + {controls}, spread 1:{spread:g}, {before} compared before ({gate.level(total, before):.4f})"
                )
                print(f"| {what} | " + " | ".join(f"{share(cell, before):.3f}" for cell in cells) + " |", flush=True)
        print(f"\n| {CANDIDATES} no better candidates, true AUROC | any promoted | champion reports | highest of all |")
        print("|---|---|---|---|")
        for cell in (Cell(24, 60, 0.9), Cell(24, 60, 0.9, spread=3.0), Cell(20, 20, 0.9), Cell(10, 10, 0.75), Cell(4, 6, 0.75)):
            one = partial(one_after_the_other, cell=cell, rules=rules)
            found = np.mean(list(pool.map(one, range(options.simulations // AT_ONCE))), axis=(0, 2))
            what = f"{cell.patients} + {cell.controls}, spread 1:{cell.spread:g}, {cell.auroc}"
            print(f"| {what} | {found[0]:.3f} | {found[1]:.3f} | {found[2]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
