"""Make reports/index.html, the page a person looks at, from the files of the other stages alone.

One file: pictures and style are inside, nothing is asked of any host, and the same files give the same bytes. So it names no
commit, and no version of MLflow's, which `register` gives later: where that has written its page of verdicts beside this one,
the line on these very results is shown from there (`registry/verdicts_page`).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, ModelError, PipelineError
from pipeline.evaluation import figures, floors, genetics, paired, score_table, seen_by_search
from pipeline.evaluation.figures import Interval
from pipeline.pages import (
    characteristics,
    charts,
    checklist,
    contact_sheet,
    participants,
    projections,
    protocol,
    rendering,
    result_tables,
    strip_plot,
)

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


def run(config: Config) -> None:
    """Write the page from the files of the stages before.

    Raises:
        DataError, ModelError: a file is missing, cannot be read, or does not belong to the others.
    """
    subtypes = [_subtype(config, subtype) for subtype in config.subtypes]
    calls = [_call(config, candidate) for candidate in config.call.candidates]
    content: dict[str, Any] = {
        "config": config,
        "control": config.control,
        "aml": genetics.all_known(config.subtypes),
        "threshold": config.evaluate.threshold,
        "percent": f"{100 * config.evaluate.confidence:g} %",
        "folds": sorted(config.folds),
        "levels": figures.LEVELS,
        "all_figures": figures.ALL,
        "subtypes": subtypes,
        "cohort": _cohort(config),
        "protocol": _protocol(config, subtypes, calls),
        "rules": result_tables.rules(c["audit"] for subtype in subtypes for c in subtype["candidates"]),
        "made": _made(config),
        "calls": calls,
        "matrices": _matrices(config, calls),
    }
    content["title"] = _title(config)
    content["published"] = any("published" in known["by_class"] for subtype in subtypes for known in subtype["candidates"])
    content["demo"] = content["cohort"]["source"]["source"] == "demo"
    page = rendering.template(TEMPLATE).render(**content, checklist=checklist.items(content))
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


def _protocol(config: Config, subtypes: list[dict[str, Any]], calls: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The published dealing, where there is one."""
    if config.split.file is None:
        return None
    dealing = _read(paths.PROTOCOL, _json, DataError)
    if dealing["file"] != config.split.file:
        raise DataError(f"{paths.PROTOCOL}: is of {dealing['file']}, split.file names {config.split.file}; run `dvc repro`")
    return protocol.describe(dealing, subtypes, calls, config.evaluate.confidence)


def _people(config: Config, splits: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The dealt patients of each class, with their fold and what patients.csv says of them."""
    listed = _read(paths.PATIENTS, lambda path: pd.read_csv(path, dtype="str", keep_default_na=False), DataError)
    dealt = {config.control: _of_label(splits[config.subtypes[0]], 0)}
    dealt |= {subtype: _of_label(split, 1) for subtype, split in splits.items()}
    people = {}
    for name, members in dealt.items():
        people[name] = members.merge(listed[listed["class"] == name], on="patient", how="left")
        if people[name]["class"].isna().any():
            stranger = people[name].loc[people[name]["class"].isna(), "patient"].min()
            raise DataError(f"{paths.PATIENTS}: does not have patient {stranger} of the split; run `dvc repro`")
    return people


def _subtype(config: Config, subtype: str) -> dict[str, Any]:
    """All that the page says of a subtype: its candidates, how they differ, and what so many patients can show."""
    candidates = [_result(config, subtype, name) for name in config.candidates]
    first, confidence = candidates[0], config.evaluate.confidence
    return {
        "name": subtype,
        "genetics": genetics.NAMES.get(subtype, {}),
        "candidates": candidates,
        "differences": [
            paired.compare(candidate["table"], first["table"], confidence)
            if not (candidate is first or candidate["leaked"] or first["leaked"])
            else None
            for candidate in candidates
        ],
        "size": projections.size(first["patients"], config.report.sample_size, confidence),
    }


def _result(config: Config, subtype: str, candidate: str) -> dict[str, Any]:
    """Collect all that the page says of one candidate of a subtype; it may have no figures of images."""
    folder = paths.report(subtype, candidate)
    headline, leaked = _read(folder / "metrics.json", _headline, ModelError)
    has_images = "image_accuracy" in headline
    names = ("patients", "figures", "folds", "poolings", *(["by_class"] if has_images else []))
    tables = {name: _read(folder / f"{name}.csv", _table, ModelError) for name in names}
    areas = [name for name in ("image_auroc", "patient_auroc") if name in tables["folds"]]
    tables["folds"][areas] = tables["folds"][areas].apply(pd.to_numeric)  # empty where a fold's patients are of one class
    patients = tables["patients"]
    if "chosen" not in tables["folds"]:
        raise ModelError(f"{folder}/folds.csv: made by an earlier version; run `dvc repro`")
    specs = {k: _read(paths.fold(subtype, candidate, k) / "spec.json", _json, ModelError) for k in sorted(config.folds)}
    tested = score_table.claimed(_read(paths.scored(subtype, candidate), pd.read_parquet, ModelError))
    if set(tested["patient"]) != set(patients["patient"]) or (has_images and len(tested) != headline["images"]):
        raise ModelError(f"{folder}: not of {paths.scored(subtype, candidate)}; run `dvc repro`")
    alone = len(config.candidates) == 1
    called, label = patients["called"], patients["label"] == 1
    counts = {False: int((~label).sum()), True: int(label.sum())}
    right = {False: int((~label & ~called).sum()), True: int((label & called).sum())}
    reached = {key: figure.value for key, figure in headline.items() if isinstance(figure, Interval)}
    return {
        "name": subtype,
        "candidate": candidate,
        "title": subtype if alone else f"{subtype} ({candidate})",
        "anchor": subtype if alone else f"{subtype}-{candidate}",
        "figures": headline,
        "has_images": has_images,
        "leaked": leaked,
        "results": _read(paths.evaluated(subtype, candidate), files.md5, ModelError),
        "seen_by_search": headline.get("patients_seen_by_search", 0),
        "by_class": result_tables.by_class(tables["by_class"]) if has_images else {},
        "patients": counts,
        "right": right,
        "sentence": result_tables.sentence(counts, right, "healthy" if genetics.all_known(config.subtypes) else config.control),
        "missed": [] if leaked else floors.missed(reached, config.register_.floors.of_kind(config.candidates[candidate].kind)),
        "table": patients[["patient", "label", "score", "called"]],
        "points": {value: strip_plot.points(patients[patients["label"] == value]) for value in (False, True)},
        **_charts(folder, {"image": tested, "patient": patients} if has_images else {"patient": patients}),
        "all": result_tables.by_level(tables["figures"]),
        "folds": tables["folds"].to_dict("records"),
        "operating_point": result_tables.operating_point(tables["folds"]),
        "poolings": result_tables.poolings(tables["poolings"]),
        "usefulness": projections.worth(patients, config.report, config.evaluate.confidence),
        "audit": _audit(config, subtype, candidate),
        "sheets": _sheets(config, subtype, tested) if has_images else [],
        "knobs": _settings(specs[min(specs)]["knobs"]),
        "specs": specs,
    }


def _charts(folder: Path, levels: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Who was called what, and the curves; `levels` are the test images, if they are scored, and the test patients."""

    def curves(file: Path) -> dict[str, Any]:
        bands = pd.read_csv(file)
        return {curve: charts.curves(bands, curve) for curve in ("roc", "pr")}

    def reliability(file: Path) -> dict[str, Any]:
        return charts.reliability(pd.read_csv(file), levels["patient"])

    def losses(file: Path) -> dict[str, Any]:
        return charts.losses(pd.read_csv(file))

    history = folder / "curves" / "history.csv"
    return {
        "called": {level: result_tables.called(rows) for level, rows in levels.items()},
        "curves": _read(folder / "curves" / "bands.csv", curves, ModelError),
        "chance": {"roc": [charts.diagonal()], "pr": [charts.flat(rows["label"].mean()) for rows in levels.values()]},
        "reliability": _read(folder / "reliability.csv", reliability, ModelError),
        "losses": _read(history, losses, ModelError) if history.is_file() else None,
    }


def _call(config: Config, candidate: str) -> dict[str, Any]:
    """What the page says of the one answer of all classes, by a candidate's vectors."""
    folder = paths.call_report(candidate)
    if (why_not := folder / "calls" / paths.WHY_NOT).is_file():
        return {"candidate": candidate, "why_not": _read(why_not, Path.read_text, ModelError).strip()}
    found, _ = _read(folder / "metrics.json", _headline, ModelError)
    tables = {
        name: _read(folder / "calls" / f"{name}.csv", _table, ModelError)
        for name in ("patients", "confusion", "classes", "coverages", "tests")
    }
    if tables["confusion"]["class"].tolist() != config.classes:
        raise ModelError(f"{folder}: not of params.yaml's classes; run `dvc repro`")
    return {
        "candidate": candidate,
        "name": folder.parent.name,
        "title": f"the answer of all classes ({candidate})",
        "results": _read(paths.evaluated(folder.parent.name, candidate), files.md5, ModelError),
        "figures": found,
        "kept": "coverage" in found,
        "confusion": {row["class"]: row for row in tables["confusion"].to_dict("records")},
        "classes": result_tables.with_intervals(tables["classes"]),
        "coverages": tables["coverages"].to_dict("records"),
        "tests": result_tables.by_test(tables["tests"]),
        "patients": tables["patients"].sort_values(["class", "patient"], key=_in_order(config)).to_dict("records"),
    }


def _matrices(config: Config, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every binary test on the patients of every class, a table a candidate: of networks, and of bags by the call."""
    found = []
    for candidate in config.kinds.cnn if len(config.subtypes) > 1 else []:
        tables = [_read(paths.other_classes(subtype, candidate), _table, ModelError) for subtype in config.subtypes]
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


def _audit(config: Config, subtype: str, candidate: str) -> result_tables.Audit:
    """All answers, those of the twins too where they were trained."""
    answers = [paths.audit(subtype, candidate)]
    if subtype in config.audit.networks:
        answers.append(paths.audit_networks(subtype, candidate))
    checks = [check for path in answers for check in _read(path, _json, ModelError)["checks"]]
    return result_tables.audit(checks, config.evaluate.confidence)


def _title(config: Config) -> str:
    if genetics.all_known(config.subtypes):
        return "Genetic AML subtypes from single-cell images"
    return f"{', '.join(config.subtypes)} told from {config.control} by single-cell images"


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
            "report": _settings(config.report.model_dump()),
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
    sheet = contact_sheet.compose(np.asarray(pixels[positions]), captions)
    return rendering.data_uri(contact_sheet.webp(sheet), "webp")


def _of_label(split: pd.DataFrame, label: int) -> pd.DataFrame:
    chosen: pd.DataFrame = split[split["label"] == label]
    return chosen
