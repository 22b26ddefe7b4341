"""What the page says of a subtype: its candidates, their figures and audits, and how they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from pipeline.common import files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, ModelError
from pipeline.evaluation import floors, genetics, paired, score_table
from pipeline.evaluation.figures import Interval
from pipeline.pages import charts, contact_sheet, projections, rendering, result_tables, strip_plot

T = TypeVar("T")
_ON_A_SHEET = 12


def collect(config: Config, subtype: str) -> dict[str, Any]:
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
    with made.reading(metrics := folder / "metrics.json"):
        headline, leaked = result_tables.headline(made.values(metrics))
    has_images = "image_accuracy" in headline
    names = ("patients", "figures", "folds", "poolings", *(["by_class"] if has_images else []))
    tables = {name: made.rows(folder / f"{name}.csv", keep_default_na=False) for name in names}
    areas = [name for name in ("image_auroc", "patient_auroc") if name in tables["folds"]]
    tables["folds"][areas] = tables["folds"][areas].apply(pd.to_numeric)  # empty where a fold's patients are of one class
    patients = tables["patients"]
    if "chosen" not in tables["folds"]:
        raise ModelError(f"{folder}/folds.csv: made by an earlier version; run `dvc repro`")
    specs = {k: dict(made.values(paths.fold(subtype, candidate, k) / "spec.json")) for k in sorted(config.folds)}
    tested = score_table.claimed(made.table(paths.scored(subtype, candidate)))
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
        "results": files.md5(paths.existing(paths.evaluated(subtype, candidate))),
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
        "knobs": rendering.settings(specs[min(specs)]["knobs"]),
        "specs": specs,
    }


def _charts(folder: Path, levels: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Who was called what, and the curves; `levels` are the test images, if they are scored, and the test patients."""
    history = folder / "curves" / "history.csv"
    return {
        "called": {level: result_tables.called(rows) for level, rows in levels.items()},
        "curves": _drawn(
            folder / "curves" / "bands.csv", lambda bands: {curve: charts.curves(bands, curve) for curve in ("roc", "pr")}
        ),
        "chance": {"roc": [charts.diagonal()], "pr": [charts.flat(rows["label"].mean()) for rows in levels.values()]},
        "reliability": _drawn(folder / "reliability.csv", lambda bins: charts.reliability(bins, levels["patient"])),
        "losses": _drawn(history, charts.losses) if history.is_file() else None,
    }


def _drawn(file: Path, chart: Callable[[pd.DataFrame], T]) -> T:
    """The chart of a table; where that is of another form, it is the file's fault."""
    with made.reading(file):
        return chart(made.rows(file))


def _audit(config: Config, subtype: str, candidate: str) -> result_tables.Audit:
    """All answers, those of the twins too where they were trained."""
    answers = [paths.audit(subtype, candidate)]
    if subtype in config.audit.networks:
        answers.append(paths.audit_networks(subtype, candidate))
    checks = [check for path in answers for check in made.values(path)["checks"]]
    return result_tables.audit(checks, config.evaluate.confidence)


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
    pixels = made.array(cells)
    positions = pd.Index(made.table(rows)["path"]).get_indexer(pd.Index(chosen))
    if (positions < 0).any() or positions.max() >= len(pixels):
        raise DataError(f"{cells}: does not hold all test images of {class_name}; run `dvc repro`")
    sheet = contact_sheet.compose(np.asarray(pixels[positions]), captions)
    return rendering.data_uri(contact_sheet.webp(sheet), "webp")
