"""What the page says where patients of all classes are asked about: the one answer, and every test on everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from pipeline.common import files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import ModelError
from pipeline.pages import result_tables


def call(config: Config, candidate: str) -> dict[str, Any]:
    """What the page says of the one answer of all classes, by a candidate's vectors."""
    folder = paths.call_report(candidate)
    if (why_not := folder / "calls" / paths.WHY_NOT).is_file():
        with made.reading(why_not):
            return {"candidate": candidate, "why_not": why_not.read_text(encoding="utf-8").strip()}
    with made.reading(metrics := folder / "metrics.json"):
        found, _ = result_tables.headline(made.values(metrics))
    tables = {
        name: made.rows(folder / "calls" / f"{name}.csv", keep_default_na=False)
        for name in ("patients", "confusion", "classes", "coverages", "tests")
    }
    if tables["confusion"]["class"].tolist() != config.classes:
        raise ModelError(f"{folder}: not of params.yaml's classes; run `dvc repro`")
    return {
        "candidate": candidate,
        "name": folder.parent.name,
        "title": f"the answer of all classes ({candidate})",
        "results": files.md5(paths.existing(paths.evaluated(folder.parent.name, candidate))),
        "figures": found,
        "kept": "coverage" in found,
        "confusion": {row["class"]: row for row in tables["confusion"].to_dict("records")},
        "classes": result_tables.with_intervals(tables["classes"]),
        "coverages": tables["coverages"].to_dict("records"),
        "tests": result_tables.by_test(tables["tests"]),
        "patients": tables["patients"].sort_values(["class", "patient"], key=_in_order(config)).to_dict("records"),
    }


def matrices(config: Config, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every binary test on the patients of every class, a table a candidate: of networks, and of bags by the call."""
    found = []
    for candidate in config.kinds.cnn if len(config.subtypes) > 1 else []:
        tables = [made.rows(paths.other_classes(subtype, candidate), keep_default_na=False) for subtype in config.subtypes]
        if any(set(table["class"]) != set(config.classes) for table in tables):
            first = paths.other_classes(config.subtypes[0], candidate)
            raise ModelError(f"{first}: not of params.yaml's classes; run `dvc repro`")
        found.append({"candidate": candidate, "by_call": False, "tests": result_tables.by_test(pd.concat(tables))})
    return found + [
        {"candidate": call["candidate"], "by_call": True, "tests": call["tests"]} for call in calls if "tests" in call
    ]


def _in_order(config: Config) -> Callable[[pd.Series], pd.Series]:
    """Classes in the order of params.yaml, patients by name."""
    places = {name: str(number) for number, name in enumerate(config.classes)}
    return lambda column: column.map(places) if column.name == "class" else column
