"""What the page says of the cohort: its source, its patients, what was checked, and how they were dealt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pipeline.common import made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.pages import characteristics, participants, protocol, result_tables


def collect(config: Config) -> dict[str, Any]:
    """All that the page says of the patients and images that there are, before any network."""
    source = dict(made.values(paths.SOURCE))
    validation = made.values(paths.VALIDATION / "validation.json")
    splits = {subtype: made.rows(paths.split_table(subtype), keep_default_na=False) for subtype in config.subtypes}
    counts = {name: validation["classes"].get(name) for name in config.classes}
    if None in counts.values():
        raise DataError(f"{paths.VALIDATION}/validation.json: not of params.yaml's classes; run `dvc repro`")
    beside = {"Data Docs of the validation": "data_docs/index.html", "list of the quarantined files": "quarantine.csv"}
    people = _people(config, splits)
    return {
        "source": source,
        "counts": counts,
        "total": {key: sum(row[key] for row in counts.values()) for key in counts[config.control]},
        "rules": validation["rules"],
        "rules_in_words": result_tables.rules_in_words([rule["state"] for rule in validation["rules"]]),
        "links": {
            text: (paths.VALIDATION / name).relative_to(paths.REPORTS).as_posix()
            for text, name in beside.items()
            if (paths.VALIDATION / name).is_file()
        },
        "steps": {
            subtype: participants.steps(
                [counts[config.control], counts[subtype]],
                split,
                sorted(config.folds),
                config.split.n_folds,
                config.train.images_per_class,
            )
            for subtype, split in splits.items()
        },
        "people": {name: characteristics.describe(own) for name, own in people.items()},
        "people_by_fold": {name: characteristics.by_fold(own, config.split.n_folds) for name, own in people.items()},
    }


def dealing(config: Config, subtypes: list[dict[str, Any]], calls: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The published dealing, where there is one."""
    if config.split.file is None:
        return None
    dealing = made.values(paths.PROTOCOL)
    if dealing["file"] != config.split.file:
        raise DataError(f"{paths.PROTOCOL}: is of {dealing['file']}, split.file names {config.split.file}; run `dvc repro`")
    return protocol.describe(dealing, subtypes, calls, config.evaluate.confidence)


def _people(config: Config, splits: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The dealt patients of each class, with their fold and what patients.csv says of them."""
    listed = made.rows(paths.PATIENTS, dtype="str", keep_default_na=False)
    dealt = {config.control: _of_label(splits[config.subtypes[0]], 0)}
    dealt |= {subtype: _of_label(split, 1) for subtype, split in splits.items()}
    people = {}
    for name, members in dealt.items():
        people[name] = members.merge(listed[listed["class"] == name], on="patient", how="left")
        if people[name]["class"].isna().any():
            stranger = people[name].loc[people[name]["class"].isna(), "patient"].min()
            raise DataError(f"{paths.PATIENTS}: does not have patient {stranger} of the split; run `dvc repro`")
    return people


def _of_label(split: pd.DataFrame, label: int) -> pd.DataFrame:
    chosen: pd.DataFrame = split[split["label"] == label]
    return chosen
