"""Show the figures of reports/*/*/metrics.json in one table: what `dvc metrics show` has, in a form for people.

Beside the DAG; it changes nothing.
"""

from __future__ import annotations

from typing import Any

from pipeline.common import console, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import ModelError
from pipeline.evaluation import seen_by_search

_SHOWN = ("patient_auroc", "patient_sensitivity", "patient_specificity", "image_accuracy")


def run(config: Config) -> None:
    """Print a line a candidate that was evaluated: each figure with its interval.

    Raises:
        DataError: a file cannot be read.
        ModelError: nothing was evaluated yet.
    """
    rows, missing = [], []
    for subtype in config.subtypes:
        for candidate in config.candidates:
            file = paths.report(subtype, candidate) / "metrics.json"
            if not file.is_file():
                missing.append(f"{subtype} {candidate}")
                continue
            figures, leaked = seen_by_search.read(made.values(file))
            tested = figures.get("patients", "–")
            rows.append(
                [f"{subtype}\n{candidate}", tested, *("leaked" if leaked else _shown(figures.get(key)) for key in _SHOWN)]
            )
    if not rows:
        raise ModelError(f"{paths.REPORTS}: no metrics.json of params.yaml's subtypes and candidates; run `dvc repro`")
    columns = ["", "n", *(key.removeprefix("patient_").replace("_", " ").replace("auroc", "AUROC") for key in _SHOWN)]
    console.table(
        f"of n test patients, out of fold; {100 * config.evaluate.confidence:g} % intervals over patients", columns, rows
    )
    if missing:
        console.say(f"not evaluated yet: {', '.join(missing)}")


def _shown(figure: Any) -> str:
    if not isinstance(figure, dict):
        return "–"
    value, low, high = (f"{figure[key]:.2f}".removeprefix("0") for key in ("value", "low", "high"))
    return f"{value}\n({low}–{high})"
