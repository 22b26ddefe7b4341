"""By how much figures move when patients are dealt into other folds and networks begin elsewhere.

`python -m bench.repeats . .worktrees/seed-*`: checkouts of one project whose results differ in `seed` and data/folds.csv alone
(docs/evaluation.md, "Other dealings"). Printed are of every result the figures of metrics.json: their mean over the checkouts,
the standard deviation between them, the lowest and the highest, and half the width of the first one's interval, which is about
other patients and not about other dealings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import yaml

METRICS = "reports/*/*/metrics.json"


def results(checkout: Path) -> dict[str, dict[str, Any]]:
    """By the path of metrics.json in the checkout: figure -> value, low, high; or a number, of patients say."""
    return {str(file.relative_to(checkout)): json.loads(file.read_text()) for file in sorted(checkout.glob(METRICS))}


def dealing(checkout: Path) -> tuple[str, str]:
    """What has to differ: the seed, and who is in which fold; and what must not: the rest of params.yaml."""
    params = yaml.safe_load((checkout / "params.yaml").read_text())
    return f"{params.pop('seed')} {(checkout / 'data/folds.csv').read_text()}", json.dumps(params)


def main() -> None:
    """Print a table a result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="+", type=Path)
    checkouts = parser.parse_args().checkouts
    dealings, others = zip(*map(dealing, checkouts), strict=True)
    if len(checkouts) < 2 or len(set(dealings)) < len(dealings) or len(set(others)) > 1:
        sys.exit("repeats: name two checkouts or more, each with a seed and folds of its own and else the same params.yaml")
    found = [results(checkout) for checkout in checkouts]
    for path in sorted(set.intersection(*map(set, found))):
        print(f"\n{path}, {len(found)} dealings\n")
        print("| figure | mean | sd | lowest | highest | half an interval |\n|---|---|---|---|---|---|")
        for figure, first in found[0][path].items():
            if not isinstance(first, dict):
                continue
            values = [of_one[path][figure]["value"] for of_one in found]
            spread = f"{statistics.mean(values):.3f} | {statistics.stdev(values):.3f} | {min(values):.3f} | {max(values):.3f}"
            print(f"| {figure} | {spread} | {(first['high'] - first['low']) / 2:.3f} |")


if __name__ == "__main__":
    main()
