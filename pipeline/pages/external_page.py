"""A registered version on another hospital's patients, beside what it was at home, filled into external_page.html.j2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.auditing.check_result import Check
from pipeline.common.config import Config
from pipeline.evaluation import every_class, figures, genetics, recalibration
from pipeline.evaluation.elsewhere import Found
from pipeline.evaluation.figures import Interval
from pipeline.images import manifest
from pipeline.pages import charts, rendering, strip_plot
from pipeline.registry import training_range

TEMPLATE = "external_page.html.j2"
ELSEWHERE = "another hospital's"  # how the model's own two classes are asked
_SHOWN_AS = {recalibration.AS_REGISTERED: "control", recalibration.INTERCEPT: "soft", recalibration.BOTH: "subtype"}  # colours


@dataclass(frozen=True)
class Tried:
    """All that is known of a version on a cohort."""

    about: Mapping[str, Any]  # which version, which cohort, how many of whom
    found: Found
    everybody: pd.DataFrame  # a row a patient: patient, key, class, label, few, images, images_unlike, score, called, sex, age
    others: pd.DataFrame  # a row a class: `every_class.COLUMNS`
    curve: pd.DataFrame  # of `recalibration.curve`
    checks: Sequence[Check]


def render(config: Config, tried: Tried) -> str:
    """The page; patients are named by their keys."""
    about, found, curve = tried.about, tried.found, tried.curve
    points = tried.everybody[~tried.everybody["few"]].drop(columns="patient").rename(columns={"key": "patient"})
    return rendering.template(TEMPLATE).render(
        about=about,
        subtype=about["model"],
        control=about["control"],
        aml=genetics.all_known([about["model"]]),
        percent=f"{100 * config.evaluate.confidence:g} %",
        usual=config.evaluate.threshold,
        found=found,
        sentence=_sentence(found),
        rows=[_row(key, found) for key in figures.keys(figures.HEADLINE) if key in found.there],
        at_point=[
            {"name": key.capitalize(), **_three(key, found.at_point, found.at_point_home, found.at_point_difference)}
            for key in found.at_point
        ],
        strip={"name": about["model"], "points": {bool(label): _points(points, label) for label in (0, 1)}},
        reliability=charts.reliability(found.calibration.reliability, points[points["label"] >= 0]),
        others=[
            {**row, "rate": Interval(row["share"], row["low"], row["high"]), "own": row["how"] != every_class.OTHERS}
            for row in tried.others.to_dict("records")
        ],
        curve=_by_patients(curve),
        drawn=charts.by_number(curve, "way", "patients", "log_loss", _SHOWN_AS) if len(curve) else None,
        ways=recalibration.WAYS,
        checks=tried.checks,
        named=not config.ingest.pseudonyms,
        patients=points.sort_values(["class", "score"]).to_dict("records"),
    )


def unlike(images: pd.DataFrame, reference: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each number of an image: the range that holds all but a few of training, and where these images lie."""
    rows = []
    for name in manifest.NUMBERS:
        low, high = reference[name]
        values = images[name]
        outside = float(((values < low) | (values > high)).mean())
        quantiles = [round(float(value), 2) for value in values.quantile([0.05, 0.5, 0.95])]
        rows.append({"name": training_range.words(name), "training": [low, high], "these": quantiles, "outside": outside})
    return rows


def _sentence(found: Found) -> str:
    """What the differences say, and whether the scores are off on the whole."""
    difference, intercept = found.difference.get("patient_auroc"), found.calibration.intercept
    ranks = "no figure of home is known to hold it against"
    if difference is not None:
        told = "worse than at home" if difference.high < 0 else "better than at home" if difference.low > 0 else ""
        ranks = (
            f"it ranks patients {told}" if told else "whether it ranks patients worse than at home cannot be told from so few"
        )
    off = "too low" if intercept.low > 0 else "too high" if intercept.high < 0 else ""
    scores = f"its scores are {off} on the whole" if off else "on the whole its scores are not surely off"
    return f"{ranks[0].upper()}{ranks[1:]}; {scores}."


def _row(key: str, found: Found) -> dict[str, Any]:
    return {"name": figures.words(key, direction=True), **_three(key, found.there, found.home, found.difference)}


def _three(key: str, *tables: Mapping[str, Interval]) -> dict[str, Any]:
    return dict(zip(("there", "home", "difference"), (table.get(key) for table in tables), strict=True))


def _points(points: pd.DataFrame, label: int) -> list[dict[str, Any]]:
    return strip_plot.points(points[points["label"] == label])


def _by_patients(curve: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a number of patients, with what each way brings."""
    rows = []
    for patients, own in curve.groupby("patients"):
        ways = {
            row["way"]: {
                **{name: Interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in recalibration.FIGURES},
                "better": row["better"],
            }
            for row in own.to_dict("records")
        }
        rows.append({"patients": patients, "draws": int(own["draws"].iloc[0]), "ways": ways})
    return rows
