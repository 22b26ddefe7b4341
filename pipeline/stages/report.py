"""Make reports/index.html, the page a person looks at, from the files of the other stages alone.

One file: pictures and style are inside, nothing is asked of any host, and the same files give the same bytes.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, ModelError, PipelineError
from pipeline.evaluation import figures, genetics, score_table, seen_by_search
from pipeline.evaluation.figures import Interval
from pipeline.pages import contact_sheet, participants, rendering

T = TypeVar("T")

TEMPLATE = "report_page.html.j2"
_LIBRARIES = (
    "tensorflow",
    "keras",
    "scikit-learn",
    "scipy",
    "numpy",
    "pandas",
    "pillow",
    "great-expectations",
    "mlflow",
    "dvc",
)
_ON_A_SHEET = 12
_POINT_WIDTH = 0.03  # of a point in a strip plot, as a share of the axis on a phone
_MOST_LANES = 5  # above and below the middle of a row; points beyond overlap


def run(config: Config) -> None:
    """Write the page from the files of the stages before.

    Raises:
        DataError, ModelError: a file is missing, cannot be read, or does not belong to the others.
    """
    cohort = _cohort(config)
    results = [_result(config, subtype, name) for subtype in config.subtypes for name in config.candidates]
    page = rendering.template(TEMPLATE).render(
        config=config,
        folds=sorted(config.folds),
        levels=figures.LEVELS,
        all_figures=figures.ALL,
        cohort=cohort,
        subtypes=results,
        fewest=min(count for result in results for count in result["patients"].values()),
        made=_made(config),
    )
    files.write(paths.REPORT_PAGE, page)
    console.say(f"report: {paths.REPORT_PAGE}, {len(page.encode()) / 1e6:.1f} MB, opens in any browser")


def _read(path: Path, reader: Callable[[Path], T], error: type[PipelineError]) -> T:
    """`reader(path)`; what goes wrong becomes one line that names the file."""
    try:
        return reader(path)
    except FileNotFoundError:
        raise error(f"{path}: not there; run `dvc repro`, or `dvc pull` where it was run before") from None
    except (OSError, ValueError, KeyError, TypeError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise error(f"{path}: cannot be read ({reason}); delete it and run `dvc repro`") from None


def _json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def _headline(path: Path) -> tuple[dict[str, Any], bool]:
    """What metrics.json holds, figures as intervals and counts as they are; and whether the figures are leaked."""
    found, leaked = seen_by_search.read(_json(path))
    return {name: Interval(**value) if isinstance(value, dict) else value for name, value in found.items()}, leaked


def _table(path: Path) -> pd.DataFrame:
    """Read a CSV table; a patient whose name is 007 or NA keeps it."""
    return pd.read_csv(path, dtype={"patient": "str"}, keep_default_na=False)


def _cohort(config: Config) -> dict[str, Any]:
    source = _read(paths.SOURCE, _json, DataError)
    validation = _read(paths.VALIDATION / "validation.json", _json, DataError)
    splits = {subtype: _read(paths.split_table(subtype), _table, DataError) for subtype in config.subtypes}
    counts = {name: validation["classes"].get(name) for name in config.classes}
    if None in counts.values():
        raise DataError(f"{paths.VALIDATION}/validation.json: not of params.yaml's classes; run `dvc repro`")
    beside = {"Data Docs of the validation": "data_docs/index.html", "list of the quarantined files": "quarantine.csv"}
    return {
        "source": source,
        "counts": counts,
        "total": {key: sum(row[key] for row in counts.values()) for key in counts[config.control]},
        "rules": validation["rules"],
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
        "patients_per_fold": {
            subtype: [
                tuple(int(((split["fold"] == fold) & (split["label"] == label)).sum()) for label in (0, 1))
                for fold in range(config.split.n_folds)
            ]
            for subtype, split in splits.items()
        },
    }


def _result(config: Config, subtype: str, candidate: str) -> dict[str, Any]:
    """Collect all that the page says of one candidate of a subtype."""
    folder = paths.report(subtype, candidate)
    headline, leaked = _read(folder / "metrics.json", _headline, ModelError)
    names = ("patients", "by_class", "figures", "folds", "poolings")
    tables = {name: _read(folder / f"{name}.csv", _table, ModelError) for name in names}
    areas = ["image_auroc", "patient_auroc"]  # empty where a fold's test patients are of one class
    tables["folds"][areas] = tables["folds"][areas].apply(pd.to_numeric)
    patients, by_class = tables["patients"], tables["by_class"]
    if "chosen" not in tables["folds"]:
        raise ModelError(f"{folder}/folds.csv: made by an earlier version; run `dvc repro`")
    specs = {k: _read(paths.fold(subtype, candidate, k) / "spec.json", _json, ModelError) for k in sorted(config.folds)}
    tested = score_table.claimed(_read(paths.scored(subtype, candidate), pd.read_parquet, ModelError))
    if set(tested["patient"]) != set(patients["patient"]) or len(tested) != headline["images"]:
        raise ModelError(f"{folder}: not of {paths.scored(subtype, candidate)}; run `dvc repro`")
    called, label = patients["called"], patients["label"] == 1
    return {
        "name": subtype,
        "title": subtype if len(config.candidates) == 1 else f"{subtype} ({candidate})",
        "anchor": subtype if len(config.candidates) == 1 else f"{subtype}-{candidate}",
        "genetics": genetics.NAMES.get(subtype, {}),
        "figures": headline,
        "leaked": leaked,
        "seen_by_search": headline.get("patients_seen_by_search", 0),
        "px": specs[min(specs)]["knobs"]["px"],
        "by_class": _published_form(by_class),
        "patients": {False: int((~label).sum()), True: int(label.sum())},
        "right": {False: int((~label & ~called).sum()), True: int((label & called).sum())},
        "points": {value: _points(patients[label == value]) for value in (False, True)},
        "pictures": {
            name: rendering.data_uri(_read(folder / "plots" / f"{name}.png", Path.read_bytes, ModelError))
            for name in ("confusion", "roc", "pr", "reliability", "loss")
        },
        "all": _by_level(tables["figures"]),
        "folds": tables["folds"].to_dict("records"),
        "operating_point": _operating_point(tables["folds"]),
        "poolings": {row["pooling"]: _interval(row, "patient_auroc", "low", "high") for row in _rows(tables["poolings"])},
        "audit": _audit(config, subtype, candidate),
        "sheets": _sheets(config, subtype, tested),
        "knobs": _settings(specs[min(specs)]["knobs"]),
        "specs": specs,
    }


def _audit(config: Config, subtype: str, candidate: str) -> dict[str, Any]:
    """How many answers there are and how many are red; and all answers, those of the twins too where they were trained."""
    answers = [paths.audit(subtype, candidate)]
    if subtype in config.audit.networks:
        answers.append(paths.audit_networks(subtype, candidate))
    found = [_read(path, _json, ModelError) for path in answers]
    checks = [check for audit in found for check in audit["checks"]]
    answered = sum(check["answered"] for check in checks)
    red = sum(audit["red"] for audit in found)
    amber = sum(check["state"] == "amber" for check in checks)
    return {"red": red, "amber": amber, "answered": answered, "unanswered": len(checks) - answered, "checks": checks}


def _operating_point(folds: pd.DataFrame) -> dict[str, Any]:
    """The folds in which the point was chosen, those in which it is the usual threshold, and how many controls these had."""
    usual = folds[~folds["chosen"]]
    counts = sorted(set(usual["validation_controls"]))
    return {
        "chosen": folds.loc[folds["chosen"], "fold"].tolist(),
        "usual": usual["fold"].tolist(),
        "controls": " to ".join(str(count) for count in ([counts[0], counts[-1]] if len(counts) > 1 else counts)),
    }


def _made(config: Config) -> dict[str, Any]:
    """The environment that made this page, and the settings that made its figures."""
    if not paths.REQUIREMENTS.is_file():
        raise DataError(f"{paths.REQUIREMENTS}: not there; it is in git: `git checkout {paths.REQUIREMENTS}` brings it back")
    return {
        "lock": files.sha256(paths.REQUIREMENTS),
        "software": {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}},
        "settings": {
            "evaluate": _settings(config.evaluate.model_dump()),
            "audit": _settings(config.audit.model_dump()),
        },
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _settings(values: Mapping[str, Any]) -> dict[str, str]:
    """The values as text, as they stand in params.yaml."""
    return {name: json.dumps(value).strip('"') for name, value in values.items()}


def _published_form(by_class: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The table by source and class: the support, and each figure with its bounds."""
    form: dict[str, dict[str, Any]] = {}
    for row in _rows(by_class):
        of_class = {name: _interval(row, name, f"{name}_low", f"{name}_high") for name in figures.PUBLISHED}
        form.setdefault(row["source"], {})[row["class"]] = {**of_class, "support": int(row["support"])}
    return form


def _by_level(table: pd.DataFrame) -> dict[tuple[str, str, str], Interval]:
    """The figures of figures.csv by level, name, and "usual", "operating point" or "", which says at what threshold."""
    found = {}
    for row in _rows(table):
        where = row["threshold"] if row["threshold"] in ("", "operating point") else "usual"
        found[row["level"], row["figure"], where] = _interval(row, *figures.SIDES)
    return found


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]


def _interval(row: Mapping[str, Any], *columns: str) -> Interval:
    """The interval whose value and bounds stand in three columns of a row, empty where they are not known."""
    return Interval(*(math.nan if row[column] == "" else float(row[column]) for column in columns))


def _points(patients: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows by rising score, each with the lane of its point in the strip plot."""
    rows = patients.sort_values(["score", "patient"])
    return _rows(rows.assign(lane=lanes(rows["score"].tolist())))


def lanes(scores: Sequence[float]) -> list[int]:
    """How many lanes above or (negative) below the middle each of the ascending scores is drawn, so that none hides."""
    order = sorted(range(-_MOST_LANES, _MOST_LANES + 1), key=lambda lane: (abs(lane), -lane))
    free_from = dict.fromkeys(order, -math.inf)
    chosen = []
    for score in scores:
        lane = next((lane for lane in order if free_from[lane] <= score), min(order, key=free_from.__getitem__))
        free_from[lane] = score + _POINT_WIDTH
        chosen.append(lane)
    return chosen


def _sheets(config: Config, subtype: str, tested: pd.DataFrame) -> list[dict[str, Any]]:
    """The surest right and wrong calls of either class: a picture of each, or none where there is no such image."""
    names = (config.control, subtype)
    sheets = []
    for called in (True, False):
        ranked = tested[tested["called"] == called].sort_values(["logit", "path"], ascending=[not called, True])
        for label in (called, not called):
            chosen = ranked[ranked["label"] == int(label)]
            shown = chosen.head(_ON_A_SHEET)
            captions = [
                f"{patient} {rendering.score(score)}" for patient, score in zip(shown["patient"], shown["score"], strict=True)
            ]
            sheets.append(
                {
                    "right": label == called,
                    "truth": names[label],
                    "called": names[called],
                    "images": len(chosen),
                    "captions": captions,
                    "picture": _sheet(names[label], shown["path"].tolist(), captions) if captions else "",
                }
            )
    return sheets


def _sheet(class_name: str, chosen: list[str], captions: list[str]) -> str:
    cells, rows = paths.cells(class_name), paths.cell_rows(class_name)
    pixels = _read(cells, lambda path: np.load(path, mmap_mode="r"), DataError)
    positions = pd.Index(_read(rows, pd.read_parquet, DataError)["path"]).get_indexer(pd.Index(chosen))
    if (positions < 0).any() or positions.max() >= len(pixels):
        raise DataError(f"{cells}: does not hold all test images of {class_name}; run `dvc repro`")
    return rendering.data_uri(contact_sheet.png(contact_sheet.compose(np.asarray(pixels[positions]), captions)))
