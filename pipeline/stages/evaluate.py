"""Measure a candidate on its test patients: data/scored/<subtype>/<candidate>.parquet, reports/<subtype>/<candidate>/.

Only the scores of test patients count: every patient is scored by the one network that had not seen him or her, and nobody
counts whom the search for that network saw. What a fold's scores are worth is fixed without its test patients. A learner that
scores patients alone has no figure of images, and tables of images have no row.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, astuple
from pathlib import Path

import pandas as pd

from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import ConfigError, LeakError, ModelError
from pipeline.evaluation import (
    calibration,
    figures,
    intervals,
    metrics,
    plots,
    published_figures,
    published_form,
    resampling,
    score_table,
    seen_by_search,
)
from pipeline.evaluation.figures import Interval
from pipeline.evaluation.pooling import probabilities
from pipeline.folds import split_table
from pipeline.names import patient_names

_BAND_DRAWS = 500  # a band is looked at, not quoted
_CURVES = {"epoch": int, "loss": float, "val_loss": float, "accuracy": float, "val_accuracy": float, "kept": int}


def run(config: Config, subtypes: list[str], candidates: list[str]) -> None:
    """Write the scored images, metrics.json, the tables and the pictures of each candidate of each subtype."""
    for subtype, candidate in itertools.product(subtypes, candidates):
        _drop_other_folds(config, subtype, candidate)
        predictions, history = _read_folds(config, subtype, candidate)
        calibrated, calibrations = _calibrate(config, predictions)
        seen = config.tuned_on(subtype, candidate)
        _require_known(subtype, config.tuned_on_key(subtype, candidate), seen)
        table = score_table.table(calibrated, seen, config.evaluate.threshold)
        with files.in_one_step(paths.scored(subtype, candidate)) as file:
            table.to_parquet(file, index=False)
        rows = score_table.claimed(table)
        images = rows if score_table.are_of_images(rows) else None
        tested = table[table["split"] == "test"].drop_duplicates(["fold", "patient"])
        leaked, left_out = seen_by_search.are_leaked(tested, seen), sum(patient_names.are_among(tested["patient"], seen))
        patients = score_table.patients(rows)
        patients["called"] = patients["score"] > config.evaluate.threshold
        found = _measure(config, images, patients)
        folder = paths.report(subtype, candidate)
        counts = {
            "images": int(patients["images"].sum()),
            "patients": len(patients),
            **({"patients_seen_by_search": left_out} if left_out else {}),
            **({} if history is None else {"kept_val_loss": float(history.loc[history["kept"] == 1, "val_loss"].mean())}),
        }
        _write_tables(config, subtype, folder, images, patients, calibrations, found, leaked, counts)
        _write_plots(config, subtype, folder, images, patients, history, found)
        # what `report` and `register` depend on, since DVC knows no pattern of paths as a dependency
        files.write(paths.evaluated(subtype, candidate), json.dumps(files.sha256_below(folder), indent=2) + "\n")
        if left_out:
            what = "no figure of them is claimed" if leaked else "they are left out"
            console.warn(
                f"{subtype} {candidate}: the search for its network saw {left_out} of {len(tested)} test patients; {what}"
            )
        console.table(
            f"{subtype} {candidate}: {len(patients)} test patients, {patients['images'].sum():,} images; "
            f"{config.evaluate.confidence:.0%} intervals",
            ["figure", *(levels := figures.LEVELS if images is not None else ("patient",))],
            [
                [name, *(f"{found[f'{level}_{name}']:.3f}" for level in levels)]
                for name in ("auroc", "sensitivity", "specificity")
            ],
        )


def _drop_other_folds(config: Config, subtype: str, candidate: str) -> None:
    """Folds that params.yaml no longer trains would count as inputs of this stage; DVC's cache still has them."""
    trained = [paths.fold(subtype, candidate, k) for k in config.folds]
    for folder in sorted(trained[0].parent.glob("fold-*")):
        if folder not in trained:
            console.say(f"evaluate: {folder} removed: not in folds any more")
            shutil.rmtree(folder)


def _read_folds(config: Config, subtype: str, candidate: str) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Predictions of validation and test patients of all trained folds, with a column `fold`; and curves, where there are."""
    split = split_table.read(subtype)
    predictions, history = [], []
    for k in sorted(config.folds):
        folder = paths.fold(subtype, candidate, k)
        _require_same_search(config, subtype, candidate, folder)
        scored = made.table(folder / "predictions.parquet")
        expected = split_table.roles(split, k, config.split.n_folds)
        for role in ("val", "test"):
            strangers = set(scored.loc[scored["split"] == role, "patient"]) ^ set(expected.index[expected == role])
            if strangers:
                raise LeakError(
                    f"{folder}: patient {min(strangers)} is in the scored or in the dealt {role} patients, not in both; "
                    "the split has changed: `dvc repro` trains it again"
                )
        predictions.append(scored.assign(fold=k))
        if (curves := folder / "history.csv").is_file():
            with made.reading(curves):
                history.append(made.rows(curves)[[*_CURVES]].astype(_CURVES).assign(fold=k))
    return pd.concat(predictions, ignore_index=True), pd.concat(history, ignore_index=True) if history else None


def _require_same_search(config: Config, subtype: str, candidate: str, folder: Path) -> None:
    """Refuse a network that knows of another search than params.yaml does."""
    spec = made.values(folder / "spec.json")
    seen = config.tuned_on(subtype, candidate)
    if spec.get("tuned_on") != (split_table.told_apart(seen) if seen else None):
        raise ModelError(
            f"{folder}: trained with another {config.tuned_on_key(subtype, candidate)} than params.yaml's; `dvc repro` trains "
            "it again"
        )


def _require_known(subtype: str, key: str, seen: Collection[str]) -> None:
    """Refuse a list of names, which stands at `key`, of which none is a patient's: nobody would be left out."""
    split = split_table.read(subtype)
    strangers = patient_names.not_among(seen, split["patient"])
    if strangers and len(strangers) == len(set(seen)):
        raise ConfigError(
            f"{key}: none of its {len(strangers)} patients is in {paths.split_table(subtype)}; write their present names there "
            "(other pseudonyms, another cohort?), or search again"
        )
    if strangers:
        console.warn(
            f"{key}: {len(strangers)} of {len(set(seen))} patients are not in the cohort, first "
            f"{strangers[0]}; correct the names if they are misspelt"
        )


def _calibrate(config: Config, predictions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All images with calibrated logits; and a row a fold: temperature, calibration of patients, operating point.

    The temperature is of the fold's validation patients; the others rest on all patients but those it was tested on, each
    scored by the network of another fold, or in validation.
    """
    settings = config.evaluate
    heats = {fold: _temperature(of_fold) for fold, of_fold in predictions.groupby("fold")}
    images = [score_table.calibrated(predictions[predictions["fold"] == fold], heat) for fold, heat in heats.items()]
    scored = score_table.as_calibrated(pd.concat(images, ignore_index=True))
    means = scored.groupby(["split", *metrics.PATIENT])["logit"].mean().reset_index()
    rows, calibrated = [], []
    for (fold, heat), own in zip(heats.items(), images, strict=True):
        others = calibration.other_patients(means, int(str(fold)))
        of_patients = calibration.patient_calibration(others)
        once = others.sort_values("split", kind="stable").drop_duplicates("patient")  # in test, where there is one
        logits = of_patients.intercept + of_patients.slope * once["logit"]
        point = calibration.operating_point(
            once.assign(score=probabilities(logits)),
            settings.target_specificity,
            settings.fewest_controls,
            settings.threshold,
        )
        rows.append({"fold": fold, "temperature": heat, **asdict(of_patients), **asdict(point)})
        calibrated.append(own.assign(**asdict(of_patients)))
    return pd.concat(calibrated, ignore_index=True), pd.DataFrame(rows)


def _temperature(predictions: pd.DataFrame) -> float:
    """Of a fold's validation images; 1 where patients alone are scored: of so few it could be anything."""
    if not score_table.are_of_images(predictions):
        return 1.0
    return calibration.temperature(predictions[predictions["split"] == "val"])


def _measure(config: Config, images: pd.DataFrame | None, patients: pd.DataFrame) -> dict[str, Interval]:
    settings = config.evaluate
    return intervals.measure(
        images, patients, threshold=settings.threshold, draws=settings.draws, seed=config.seed, confidence=settings.confidence
    )


def _write_tables(
    config: Config,
    subtype: str,
    folder: Path,
    images: pd.DataFrame | None,
    patients: pd.DataFrame,
    calibrations: pd.DataFrame,
    found: dict[str, Interval],
    leaked: bool,
    counts: Mapping[str, float],
) -> None:
    headline = {key: asdict(found[key]) for key in figures.keys(figures.HEADLINE) if key in found}
    contents = {**seen_by_search.named(headline, leaked), **counts}
    paths.fresh(folder / "metrics.json").write_text(json.dumps(contents, indent=2) + "\n")
    tables = {
        "figures": _figures(config, patients, calibrations, found),
        "folds": _by_fold(images, patients, calibrations),
        "poolings": _poolings(config, images, found["patient_auroc"]),
        "by_class": _published_form(config, subtype, images),
        "reliability": _reliability(config, patients),
        "patients": patients,
    }
    for name, table in tables.items():
        table.to_csv(paths.fresh(folder / f"{name}.csv"), index=False)


def _figures(config: Config, patients: pd.DataFrame, calibrations: pd.DataFrame, found: dict[str, Interval]) -> pd.DataFrame:
    """Every figure: level, figure, threshold, value, low, high."""
    usual = f"{config.evaluate.threshold:g}"
    rows = [(*name.split("_", 1), usual, *astuple(interval)) for name, interval in found.items()]
    called = patients["score"] > patients["fold"].map(calibrations.set_index("fold")["threshold"])
    at_point = intervals.of_calls(patients["label"], called, config.evaluate.confidence)
    rows += [("patient", figure, "operating point", *astuple(bounds)) for figure, bounds in at_point.items()]
    settings, mixed = config.evaluate, _at_class_mix(patients)
    intercept, slope = calibration.intercept_and_slope(patients["label"], mixed["logit"], settings.confidence)
    error = calibration.expected_calibration_error(_reliability(config, patients))
    calibrated = calibration.calibrated_error(mixed["score"], settings.bins, settings.draws, config.seed, settings.confidence)
    judged = {"calibration_intercept": intercept, "calibration_slope": slope, "ece_if_calibrated": calibrated}
    rows += [("patient", figure, "", *astuple(interval)) for figure, interval in judged.items()]
    rows.append(("patient", "ece", "", error, float("nan"), float("nan")))
    return pd.DataFrame(rows, columns=["level", "figure", "threshold", "value", "low", "high"])


def _reliability(config: Config, patients: pd.DataFrame) -> pd.DataFrame:
    settings, scores = config.evaluate, _at_class_mix(patients)["score"]
    return calibration.reliability(patients["label"], scores, settings.bins, settings.confidence)


def _at_class_mix(patients: pd.DataFrame) -> pd.DataFrame:
    logits = calibration.at_class_mix(patients["label"], patients["logit"])
    return patients.assign(logit=logits, score=probabilities(logits))


def _by_fold(images: pd.DataFrame | None, patients: pd.DataFrame, calibrations: pd.DataFrame) -> pd.DataFrame:
    """A row a network: whom it was tested on, how it ranked them, and what its validation patients fixed."""
    rows = []
    for fold in calibrations["fold"]:  # also one of whose test patients a search saw all
        own = patients[patients["fold"] == fold]
        of_images = {}
        if images is not None:
            shown = images[images["fold"] == fold]
            of_images = {"image_auroc": metrics.auroc(shown["label"], shown["logit"])}
        rows.append(
            {
                "fold": fold,
                "controls": int((own["label"] == 0).sum()),
                "subtype_patients": int((own["label"] == 1).sum()),
                "images": int(own["images"].sum()),
                **of_images,
                "patient_auroc": metrics.auroc(own["label"], own["logit"]),
            }
        )
    return pd.DataFrame(rows).merge(calibrations, on="fold")


def _poolings(config: Config, images: pd.DataFrame | None, usual: Interval) -> pd.DataFrame:
    """Patient AUROC by the way in which a patient's images make one score; the first row is the one that counts."""
    rows = [] if images is None else [("mean of the logits", *astuple(usual))]
    others = {} if images is None else metrics.other_poolings(images, config.evaluate.threshold)
    for name, pooled in others.items():
        rows.append((name, *astuple(intervals.patient_auroc(pooled, config.evaluate.confidence))))
    return pd.DataFrame(rows, columns=["pooling", "patient_auroc", "low", "high"])


def _published_form(config: Config, subtype: str, images: pd.DataFrame | None) -> pd.DataFrame:
    """Image-level precision, recall, F1, support and accuracy: of all test images, of balanced draws, and as published."""
    if images is None:
        return pd.DataFrame(columns=["source", "class", "support", *figures.PUBLISHED])
    settings = config.evaluate
    sample = resampling.summarise(images, settings.threshold)
    tables = {
        "measured": published_form.as_tested(sample, settings.draws, config.seed, settings.confidence),
        "balanced": published_form.balanced_draws(
            sample, published_figures.IMAGES_PER_CLASS, settings.draws, config.seed, settings.confidence
        ),
    }
    if subtype in published_figures.FIGURES:
        theirs = published_figures.FIGURES[subtype]
        tables["published"] = theirs.by_class().assign(accuracy=theirs.accuracy)
    return pd.concat(tables, names=["source"]).reset_index()


def _write_plots(
    config: Config,
    subtype: str,
    folder: Path,
    images: pd.DataFrame | None,
    patients: pd.DataFrame,
    history: pd.DataFrame | None,
    found: dict[str, Interval],
) -> None:
    """Pictures in `plots`, which `dvc plots` shows without a script from elsewhere; the curves behind them in `curves`."""
    pictures, tables = folder / "plots", folder / "curves"
    for place in (pictures, tables):
        shutil.rmtree(place, ignore_errors=True)  # what a learner of another kind left
    levels = {"patient": patients} if images is None else {"image": images, "patient": patients}
    names = (config.control, subtype)
    settings = config.evaluate
    if history is not None:
        counted = history.assign(epoch=history["epoch"] + 1)  # as people do, from 1
        counted[["fold", *_CURVES]].to_csv(paths.fresh(tables / "history.csv"), index=False)
        plots.save(pictures / "loss.png", plots.loss_curves(history, f"{subtype}: loss"))
    metrics.roc_curve(patients["label"], patients["logit"]).to_csv(paths.fresh(tables / "roc.csv"), index=False)
    bands = {
        level: intervals.bands(resampling.summarise(table, settings.threshold), _BAND_DRAWS, config.seed, settings.confidence)
        for level, table in levels.items()
    }
    pd.concat(bands, names=["level"]).reset_index("level").to_csv(paths.fresh(tables / "bands.csv"), index=False)
    confusions = {level: metrics.confusion(table["label"], table["called"]) for level, table in levels.items()}
    shares = {level: float(table["label"].mean()) for level, table in levels.items()}
    plots.save(pictures / "confusion.png", plots.confusion_matrices(confusions, names))
    area = "AUROC" if patients["fold"].nunique() == 1 else "AUROC within folds"
    plots.save(pictures / "roc.png", plots.roc_curves(bands, {level: found[f"{level}_auroc"] for level in levels}, area))
    plots.save(pictures / "pr.png", plots.pr_curves(bands, {level: found[f"{level}_auprc"] for level in levels}, shares))
    plots.save(pictures / "reliability.png", plots.reliability(_reliability(config, patients), _at_class_mix(patients)))
