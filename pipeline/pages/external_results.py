"""What a version reached on another hospital's patients, as files of a folder and as lines on the terminal.

Patients have keyed names in all of them, but for left_out.csv and names.csv, which stay here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from pipeline.auditing import check_result
from pipeline.common import console
from pipeline.common.config import Config
from pipeline.evaluation import every_class, figures, intervals, recalibration
from pipeline.evaluation.elsewhere import Found
from pipeline.evaluation.figures import Interval
from pipeline.pages import external_page
from pipeline.pages.external_page import Tried

METRICS, PATIENTS, CLASSES, CURVE, AUDIT, LEFT_OUT, NAMES, PAGE = FILES = (
    "metrics.json",
    "patients.csv",
    "classes.csv",
    "recalibration.csv",
    "audit.json",
    "left_out.csv",
    "names.csv",
    "index.html",
)
SENT = (METRICS, PATIENTS, CLASSES, CURVE, AUDIT, PAGE)  # to MLflow: what names nobody


def write(folder: Path, config: Config, tried: Tried, images: pd.DataFrame) -> None:
    """All `FILES`, into a folder that is there; `images` are rows path, error (empty where one was used)."""
    about, everybody = tried.about, tried.everybody
    contents = {**tried.found.told(), **about}
    (folder / METRICS).write_text(json.dumps(contents, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    columns = ["key", "class", "images", "images_unlike", "score", "called", "few", "sex", "age"]
    shown = everybody[columns].rename(columns={"key": "patient", "few": "too_few_images"})
    shown.sort_values(["class", "patient"]).to_csv(folder / PATIENTS, index=False)
    tried.others.to_csv(folder / CLASSES, index=False)
    tried.curve.to_csv(folder / CURVE, index=False)
    images.loc[images["error"] != "", ["path", "error"]].to_csv(folder / LEFT_OUT, index=False)
    if not config.ingest.pseudonyms:  # else names stay where they are
        everybody[["key", "class", "patient"]].to_csv(folder / NAMES, index=False)
    check_result.write(folder / AUDIT, {"subtype": about["model"], "cohort": about["cohort"]}, tried.checks)
    page = external_page.render(config, tried)
    (folder / PAGE).write_text(page, encoding="utf-8", newline="\n")


def show(config: Config, target: Path, tried: Tried) -> None:
    """The figures beside those of home, calibration, other classes and checks, and where the files are."""
    about, found = tried.about, tried.found
    console.table(
        f"{about['model']} v{about['version']} on {about['cohort']}: {about['patients']} patients it never saw; "
        f"{config.evaluate.confidence:.0%} intervals",
        ["figure", "there", "at home", "difference"],
        list(_rows(found)),
    )
    calibration = found.calibration
    parted = "none, as the scores part the classes"
    console.say(
        f"calibration: mean score {calibration.predicted:.2f}, observed {calibration.observed:.2f}; intercept "
        f"{calibration.intercept:.2f}, slope "
        + (f"{calibration.slope:.2f}" if math.isfinite(calibration.slope.value) else parted)
    )
    for k, rows in tried.curve.groupby("patients"):
        at = rows.set_index("way")["log_loss"]
        ways = ", ".join(f"{way} {at[way]:.3f}" for way in recalibration.WAYS)
        console.say(f"recalibrated on {k} patients, log loss of the others: {ways}")
    for row in tried.others[tried.others["how"] == every_class.OTHERS].to_dict("records"):
        rate = intervals.proportion(row["called"], row["patients"], config.evaluate.confidence)
        console.say(f"of {row['patients']} patients of {row['class']} {row['called']} are called {about['model']}: {rate:.2f}")
    check_result.show("what else could explain it", tried.checks)
    if about["too_few_images"]:
        console.warn(
            f"{about['too_few_images']} patients have fewer than {about['fewest_images']} usable images "
            "(validate.min_images_per_patient); they are in no figure"
        )
    console.say(f"external: {target}: {PAGE}, {METRICS}, {PATIENTS}")


def _rows(found: Found) -> Iterator[list[str]]:
    for key in figures.keys(figures.HEADLINE):
        if key in found.there:
            yield [figures.words(key), *_three(found.there, found.home, found.difference, key)]
    for key in found.at_point:
        shown = _three(found.at_point, found.at_point_home, found.at_point_difference, key)
        yield [f"{key} at {found.point:.3f}", *shown]


def _three(there: Mapping[str, Interval], home: Mapping[str, Interval], less: Mapping[str, Interval], key: str) -> list[str]:
    return [f"{table[key]:.2f}" if key in table else "–" for table in (there, home, less)]
