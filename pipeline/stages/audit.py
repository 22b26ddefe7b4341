"""Ask what else than the look of the cells could explain a subtype's result: reports/audit/<subtype>/<candidate>.json.

Everything is asked of the folds, patients and images on which the result rests. Nothing here changes a model or stops a run.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.auditing import check_result, checks, groups, neighbours
from pipeline.auditing.baselines import COLOURS, Baseline, describe_people
from pipeline.auditing.check_result import Check
from pipeline.auditing.checks import BASELINES
from pipeline.common import made, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError, ModelError
from pipeline.evaluation import auroc_bounds, intervals, score_table, seen_by_search
from pipeline.evaluation.figures import Interval
from pipeline.folds import split_table

_MANIFEST = ["path", "class", "patient", "pixels_sha256", "look_alike", "error", *COLOURS]
_MATCHED = ("fold", "sex", "age", "logit")
_SEXES = {"f": "women", "m": "men"}
# Of healthy controls the share of blasts and the like are not asked: these groups hold patients of the subtype alone.
_BLOOD = {"blast_share": "share of blasts", "promyelocyte_share": "share of promyelocytes", "leucocytes_per_ul": "leucocytes"}
_RARE = ("promyelocyte_share", "leucocytes_per_ul")  # not asked at all where known of nobody


def run(config: Config, subtypes: list[str], candidates: list[str]) -> None:
    """Write the audit of each candidate of each subtype, and show it.

    Raises:
        DataError, ModelError: names the file that is missing or does not hold what the others need.
    """
    for subtype, candidate in itertools.product(subtypes, candidates):
        split = split_table.read(subtype)
        images = _images(config, subtype)
        images_scored = _scored(config, subtype, candidate)
        claimed = score_table.claimed(images_scored)
        tested = score_table.patients(claimed)
        patients = _patients(config, subtype, images, split)
        figures = paths.report(subtype, candidate) / "metrics.json"
        network = _patient_auroc(figures)
        found = [
            *_leaks(config, split, images, images_scored),
            _search(figures, images_scored),
            *_baselines(config, network, images, patients, tested),
            _matched(config, network, patients, tested),
            *_groups(config, patients, tested),
            _truth(config, claimed),
            _neighbours(config, subtype, candidate, patients),
        ]
        about = {
            "subtype": subtype,
            "candidate": candidate,
            "folds": sorted(config.folds),
            "network": {"patient_auroc": asdict(network)},
        }
        check_result.write(paths.audit(subtype, candidate), about, found)
        check_result.show(f"{subtype} {candidate}: what else could explain the result", found)


def _images(config: Config, subtype: str) -> pd.DataFrame:
    """The manifest's usable images of control and subtype."""
    frame = made.table(paths.MANIFEST, columns=_MANIFEST)
    return frame[(frame["error"] == "") & frame["class"].isin([config.control, subtype])]


def _scored(config: Config, subtype: str, candidate: str) -> pd.DataFrame:
    """The images that the trained folds' networks scored, validation and test."""
    path = paths.scored(subtype, candidate)
    table = made.table(path)
    if set(table["fold"]) != set(config.folds) or not set(score_table.ALWAYS) <= set(table):
        raise ModelError(f"{path}: not of params.yaml's folds, or of an earlier version; run `dvc repro`")
    return table


def _patients(config: Config, subtype: str, images: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """The split's patients, with the number of usable images and what patients.csv says: text, empty where unknown."""
    listed = made.rows(paths.PATIENTS, dtype="str", keep_default_na=False)
    if strangers := set(split["patient"]) - set(listed["patient"]):
        raise DataError(f"{paths.PATIENTS}: does not have patient {min(strangers)} of the split; run `dvc repro`")
    counts = images.groupby(["class", "patient"]).size().rename("images").reset_index()
    table = split.drop(columns="images").assign(**{"class": split["label"].map({0: config.control, 1: subtype})})
    table = table.merge(listed, on=["patient", "class"], how="left").merge(counts, on=["patient", "class"], how="left")
    return table.fillna({"images": 0, "sex": "", "age": "", "batch": "", **dict.fromkeys(_BLOOD, "")})


def _patient_auroc(path: Path) -> Interval:
    """The patient AUROC of metrics.json."""
    try:
        figures, _ = seen_by_search.read(made.values(path))
        return Interval(**figures["patient_auroc"])
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{path}: holds no patient_auroc with bounds; delete it and run `dvc repro`") from None


def _leaks(config: Config, split: pd.DataFrame, images: pd.DataFrame, images_scored: pd.DataFrame) -> list[Check]:
    names = {"pixels_sha256": "same_pictures", "look_alike": "similar_pictures"}
    return [
        checks.people_apart(split, images_scored, images[["patient", "class"]], config.split.n_folds),
        *(
            checks.pictures_apart(names[column], how, split_table.shared_pictures(split, images, column))
            for column, how in split_table.SAME_PICTURE.items()
        ),
    ]


def _search(figures: Path, images_scored: pd.DataFrame) -> Check:
    tested = images_scored[images_scored["split"] == "test"].drop_duplicates(["fold", "patient"])
    found, leaked = seen_by_search.read(json.loads(figures.read_text(encoding="utf-8")))
    return checks.search_apart(len(tested), found.get("patients_seen_by_search", 0), leaked)


def _baselines(
    config: Config, network: Interval, images: pd.DataFrame, patients: pd.DataFrame, tested: pd.DataFrame
) -> list[Check]:
    described, known = describe_people(patients, config.audit.min_known_share)
    cells = images.merge(patients[["patient", "class", "label", "fold"]], on=["patient", "class"])
    asked = {"colour": (cells, list(COLOURS)), "count": (patients, ["images"]), "people": (described, known)}
    found = []
    for name, (rows, features) in asked.items():
        if not features:
            found.append(checks.not_known(BASELINES[name], _of_enough(config)))
            continue
        baseline = Baseline(rows, features, sorted(config.folds), config.split.n_folds, set(tested["patient"]))
        if not baseline.varies():
            found.append(checks.same_of_all(BASELINES[name]))
            continue
        auroc = {"patient_auroc": baseline.patient_auroc()}
        if name == "colour":
            auroc["image_auroc"] = baseline.image_auroc()
        chance = baseline.null(config.audit.permutations, config.seed)
        gain = intervals.gain(tested, baseline.patient_scores(), config.evaluate.confidence)
        found.append(checks.baseline(BASELINES[name], features, auroc, chance, network, gain, config.audit.significance))
    return found


def _of_enough(config: Config) -> str:
    return f"of {config.audit.min_known_share:.0%} of the patients of either class"


def _matched(config: Config, network: Interval, patients: pd.DataFrame, tested: pd.DataFrame) -> Check:
    """The AUROC over pairs of one fold, one sex and about one age, in which every patient of the subtype weighs the same."""
    years, (described, known) = config.audit.same_age_years, describe_people(patients, config.audit.min_known_share)
    if not {"sex_f", "age"} <= set(known):
        return checks.matched_unknown(years, _of_enough(config))
    people = tested.merge(described[["patient", "label", "sex", "age"]], on=["patient", "label"])
    controls, others = (people[(people["label"] == label) & (people["sex"] != "")] for label in (0, 1))
    fold, sex, age, logit = ((controls[c].to_numpy()[:, None], others[c].to_numpy()[None, :]) for c in _MATCHED)
    pair = (fold[0] == fold[1]) & (sex[0] == sex[1]) & (np.abs(age[0] - age[1]) <= years)
    weights = pair / np.maximum(pair.sum(axis=0), 1)
    in_order = (logit[0] < logit[1]) + (logit[0] == logit[1]) / 2
    found = auroc_bounds.interval(in_order, weights, config.evaluate.confidence)
    return checks.matched(int(pair.sum()), int(pair.any(axis=0).sum()), found, network, years, config.audit.fewest_patients)


def _groups(config: Config, patients: pd.DataFrame, tested: pd.DataFrame) -> list[Check]:
    tested = tested.drop(columns=["images"])
    tested = tested.merge(patients.drop(columns=["fold"]), on=["patient", "label"])
    tested["called"] = tested["score"] > config.evaluate.threshold
    diseased = tested[tested["label"] == 1]
    numbers = [("age", "age", tested), *((column, what, diseased) for column, what in _BLOOD.items())]
    found = [_group(config, "sex", "sex", tested, tested["sex"].map(_SEXES).fillna(groups.UNKNOWN), tested["sex"])]
    for column, what, rows in [*numbers, ("images", "number of images", tested)]:
        values = pd.to_numeric(rows[column], errors="coerce")
        if column in _RARE and values.isna().all():
            continue
        found.append(_group(config, column, what, rows, groups.thirds(values), values))
    return found


def _group(config: Config, column: str, what: str, rows: pd.DataFrame, of: pd.Series, order: pd.Series) -> Check:
    results = groups.results(rows, of, order, config.audit.fewest_patients)
    return checks.by_group(f"by_{column}", what, results, config.audit.fewest_patients, config.audit.significance)


def _truth(config: Config, claimed: pd.DataFrame) -> Check:
    """Ask whether the score follows the cell; the table of truths is empty where the cohort was not drawn."""
    if not score_table.are_of_images(claimed):
        return checks.truth_of_no_image()
    known = made.table(paths.TRUTH, columns=["path", "diseased"]).astype({"path": "str", "diseased": "bool"})
    settings = config.audit
    return checks.truth(
        claimed.merge(known, on="path"), settings.permutations, config.seed, settings.significance, settings.fewest_patients
    )


def _neighbours(config: Config, subtype: str, candidate: str, patients: pd.DataFrame) -> Check:
    """Ask what lies together among the vectors that a candidate learns from, where one encoder made everybody's."""
    if candidate not in config.kinds.bag:
        return neighbours.no_vectors("this learner looks at cells, and learns from no vectors")
    if (encoder := config.bag_of(candidate).encoder) in config.embed_networks:
        return neighbours.no_vectors("its vectors are by networks of this project, others in every fold")
    vectors: dict[str, NDArray[np.float32]] = {}
    for name in (config.control, subtype):
        file, table = paths.vectors(encoder, name), paths.vector_rows(encoder, name)
        stored, rows = made.array(file), made.table(table, columns=["patient"])
        if len(stored) != len(rows):
            raise DataError(f"{file} does not fit {table}; run `dvc repro embed`")
        vectors |= {str(who): stored[at[: neighbours.IMAGES]] for who, at in rows.groupby("patient").indices.items()}
    if strangers := set(patients["patient"]) - set(vectors):
        raise DataError(f"{paths.encoder(encoder).parent}: no vectors of patient {min(strangers)}; run `dvc repro`")
    bags = [vectors[patient] for patient in patients["patient"]]
    classes, batches = patients["label"].to_numpy(np.int64), patients["batch"].tolist()
    settings = config.audit
    return neighbours.check(bags, classes, batches, settings.permutations, config.seed, settings.significance)
