"""How often `python -m flows compare` calls a result worse, where it is known whether one is. `python -m bench.compared`

Three results changed, each of two states that score the same patients, their errors correlated .7, as of networks trained on
the same images. In the first row nothing is worse; in the others the first result is. Rules of params.yaml, fewer exchanges.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.common import config
from pipeline.pages import two_states
from pipeline.pages.two_states import Result

ROOT = Path(__file__).resolve().parents[1]
RESULTS, CORRELATION, DRAWS = 3, 0.7, 1000
BEFORE, AFTER = 0.9, (0.9, 0.75, 0.6)  # AUROC


def draw(auroc: float, shared: NDArray[np.float64], generator: np.random.Generator) -> Result:
    """A result whose patients, every other one of the subtype, have `shared` errors and errors of their own."""
    number = np.arange(len(shared))
    own = generator.normal(size=len(shared))
    error = np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own
    logit = error + np.sqrt(2) * norm.ppf(auroc) * (number % 2 - 0.5)
    score = 1 / (1 + np.exp(-logit))
    columns = {"fold": number // 2 % 5, "patient": [f"{one}" for one in number], "label": number % 2, "logit": logit}
    return Result({}, False, pd.DataFrame({**columns, "score": score, "called": score > 0.5}))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=48, help="controls included")
    parser.add_argument("--comparisons", type=int, default=200, help="a row")
    chosen = parser.parse_args()
    settings = config.load(ROOT / "params.yaml")
    rules, confidence = settings.register_.gate.model_copy(update={"draws": DRAWS}), settings.evaluate.confidence
    print(f"of {chosen.comparisons} comparisons of {chosen.patients} patients, {RESULTS} results changed: any called worse")
    for after in AFTER:
        named = 0
        for seed in range(chosen.comparisons):
            generator = np.random.default_rng(seed)
            shared = generator.normal(size=(RESULTS, chosen.patients))
            first, second = (
                {f"{k}": draw(now if k == 0 else BEFORE, shared[k], generator) for k in range(RESULTS)}
                for now in (BEFORE, after)
            )
            named += any(one.worse for one in two_states.compare(first, second, rules, confidence, seed))
        print(f"AUROC {BEFORE:.2f} to {after:.2f}: {named / chosen.comparisons:.3f}", flush=True)


if __name__ == "__main__":
    main()
