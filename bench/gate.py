"""How often the gate promotes a candidate that is better by a known amount. `python -m bench.gate`

Two models score the same patients; their scores are calibrated (the logit is the log likelihood ratio of a binormal score) and
their errors correlated, as of two networks trained on the same images. The patient AUROC of the candidate differs from that of
the champion by what is given. Printed: the share of promotions, by the rules of params.yaml.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from pipeline.common import config
from pipeline.registry import gate

ROOT = Path(__file__).resolve().parents[1]
COHORTS = {"24 + 60": (24, 60), "12 + 30": (12, 30)}  # patients of the subtype, controls
GAINS = (-0.05, 0.0, 0.02, 0.05, 0.10)
FOLDS = 5


def scores(labels: np.ndarray, errors: np.ndarray, auroc: float) -> np.ndarray:
    """Calibrated logits `(n,)` whose AUROC is `auroc`, from standard normal `errors` `(n,)`."""
    distance = np.sqrt(2) * norm.ppf(auroc)
    return np.asarray(distance * (errors + distance * (labels - 0.5)))


def promoted(
    seed: int, patients: int, controls: int, champion: float, gain: float, correlation: float, rules: config.Gate
) -> bool:
    """Whether the gate promotes the candidate of one simulated cohort."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [controls, patients])
    common = rng.normal(size=len(labels))
    own = [np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.normal(size=len(labels)) for _ in range(2)]
    tables = [
        pd.DataFrame(
            {"patient": np.arange(len(labels)), "fold": np.arange(len(labels)) % FOLDS, "label": labels, "logit": logit}
        )
        for logit in (scores(labels, own[0], champion + gain), scores(labels, own[1], champion))
    ]
    return gate.judge(tables[0], tables[1], [], rules, seed).decision == "champion"


def main() -> None:
    """Print the table of shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--champion", type=float, default=0.85, help="its patient AUROC")
    parser.add_argument("--correlation", type=float, default=0.7, help="of the two models' errors")
    options = parser.parse_args()
    rules = config.load(ROOT / "params.yaml").register_.gate
    print(f"champion's patient AUROC {options.champion}, correlation {options.correlation}, {rules}\n")
    print("| patients | " + " | ".join(f"{gain:+.2f}" for gain in GAINS) + " |")
    print("|---|" + "---|" * len(GAINS))
    with ProcessPoolExecutor() as pool:
        for name, (patients, controls) in COHORTS.items():
            shares = []
            for gain in GAINS:
                one = partial(
                    promoted,
                    patients=patients,
                    controls=controls,
                    champion=options.champion,
                    gain=gain,
                    correlation=options.correlation,
                    rules=rules,
                )
                shares.append(np.mean(list(pool.map(one, range(options.simulations), chunksize=50))))
            print(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
