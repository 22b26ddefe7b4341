"""Call every patient control or one of the subtypes, out of fold, by the vectors of a candidate of kind `bag`.

Writes models/call/<candidate>/fold-<k>/, what answers for new patients, and reports/call/<candidate>/: every patient's
probabilities and set, and how good they are. All folds are called, whichever are trained: it takes seconds; of a published
dealing with roles the test patients alone. MLflow is not asked.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from pipeline.calling import answer, calls, conformal, measures, model, patients, tests_by_class
from pipeline.calling.answer import Floats
from pipeline.calling.conformal import Promise
from pipeline.calling.patients import Everybody
from pipeline.common import console, files, paths
from pipeline.common.config import Config
from pipeline.evaluation import figures
from pipeline.evaluation.figures import Interval

_OTHER_COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def run(config: Config, candidates: list[str]) -> None:
    """Write the models, the calls and their figures by each candidate's vectors.

    Where a class has too few patients to learn from, that is written in their place: the binary tests don't need the call.

    Raises:
        DataError: vectors are missing, or do not fit the splits.
    """
    for candidate in candidates:
        start = time.monotonic()
        everybody = patients.read(config, config.bag_of(candidate).encoder)
        if reason := patients.too_few(everybody):
            _write_why_not(candidate, reason)
            continue
        # One thread: several wait for each other more than they help, and their number may change the last digits.
        with threadpool_limits(1):
            found = calls.joint(config, everybody)
            tests = calls.binary_tests(config, candidate, everybody)
            stacked = calls.stacked(config, tests, everybody)
        names, coverage = everybody.names, config.call.coverage
        with files.folder_in_one_step(paths.called(candidate), paths.CHECKPOINTS / f"call-{candidate}-unfinished") as folder:
            model.write(config, candidate, everybody, found, folder)
        rows, _ = found.scores.out_of_fold(found.scores.numbers)
        asked, stacked = everybody.only(rows), stacked[rows]
        labels = asked.labels
        probabilities = calls.calibrated(found.scores, everybody.labels)[rows]
        p_values = conformal.out_of_fold(found.scores, everybody.labels)[rows]
        promises = conformal.promises(found.scores, everybody.labels, len(names), coverage)
        kept = all(one.kept for one in promises)
        sets = answer.inside(p_values, coverage)
        tested = tests_by_class.scores(tests, everybody.labels)[rows]
        metrics = _metrics(config, asked, probabilities, stacked, sets if kept else None)
        settings = config.evaluate
        tables = {
            "patients": _patients(asked, probabilities, stacked, p_values, sets if kept else None),
            "confusion": _confusion(asked, probabilities),
            "confusion_stacked": _confusion(asked, stacked),
            "classes": measures.by_class(labels, probabilities, sets, names, settings.confidence),
            "coverages": measures.by_coverage(labels, p_values, _OTHER_COVERAGES),
            "tests": tests_by_class.matrix(tested, labels, names, settings.threshold, settings.confidence),
        }
        with files.folder_in_one_step(paths.call_report(candidate) / "calls") as folder:
            for name, table in tables.items():
                table.to_csv(folder / f"{name}.csv", index=False)
        _write_metrics(candidate, metrics)
        _show(config, candidate, asked, metrics, promises, time.monotonic() - start)


def _write_metrics(candidate: str, metrics: dict[str, Any]) -> None:
    """metrics.json, and the digests of the whole folder, on which `report` and `register_call` depend."""
    report = paths.call_report(candidate)
    files.write(report / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    # since DVC knows no pattern of paths as a dependency
    files.write(paths.evaluated("call", candidate), json.dumps(files.sha256_below(report), indent=2) + "\n")


def _write_why_not(candidate: str, reason: str) -> None:
    """In place of a call and its figures, why there are none."""
    for place in (paths.called(candidate), paths.call_report(candidate) / "calls"):
        with files.folder_in_one_step(place, paths.CHECKPOINTS / f"call-{candidate}-unfinished") as folder:
            (folder / paths.WHY_NOT).write_text(reason + "\n", encoding="utf-8")
    _write_metrics(candidate, {"patients": 0})
    console.warn(f"call by {candidate}: none is made: {reason}")


def _metrics(
    config: Config,
    everybody: Everybody,
    probabilities: Floats,
    stacked: Floats,
    sets: np.ndarray | None,
) -> dict[str, Any]:
    """metrics.json: of the call, the same of the stack, and of the sets where the coverage asked for can be kept."""
    labels, settings = everybody.labels, config.evaluate
    found: dict[str, Interval | float | int] = {"patients": len(labels), "images": int(everybody.table["images"].sum())}
    for prefix, scores in (("", probabilities), ("stacked_", stacked)):
        of_calls = measures.of_calls(labels, scores, settings.draws, config.seed, settings.confidence)
        found |= {prefix + name: interval for name, interval in of_calls.items()}
        found[f"{prefix}log_loss"] = measures.log_loss(labels, scores)
    if sets is not None:
        found |= measures.of_sets(labels, sets, settings.confidence)
        found["mean_set_size"] = float(sets.sum(axis=1).mean())
    return {
        name: dict(zip(figures.SIDES, (value.value, value.low, value.high), strict=True))
        if isinstance(value, Interval)
        else value
        for name, value in found.items()
    }


def _patients(
    everybody: Everybody, probabilities: Floats, stacked: Floats, p_values: Floats, sets: np.ndarray | None
) -> pd.DataFrame:
    """A row a patient: who, class, call, probability of every class, p-value of every class, set and answer, stacked call."""
    names = np.array(everybody.names)
    table = everybody.table.assign(call=names[probabilities.argmax(axis=1)], probability=probabilities.max(axis=1))
    if sets is not None:
        chosen = [names[one].tolist() for one in sets]
        table = table.assign(set=[" ".join(one) for one in chosen], answer=[answer.in_words(one) for one in chosen])
    for prefix, values in (("", probabilities), ("p_value_", p_values), ("stacked_", stacked)):
        table = table.assign(**{f"{prefix}{name}": values[:, column] for column, name in enumerate(names)})
    return table.assign(stacked_call=names[stacked.argmax(axis=1)])


def _confusion(everybody: Everybody, probabilities: Floats) -> pd.DataFrame:
    counts = measures.confusion(everybody.labels, probabilities.argmax(axis=1), len(everybody.names))
    table = pd.DataFrame(counts, columns=list(everybody.names))
    table.insert(0, "class", list(everybody.names))
    return table


def _show(
    config: Config, candidate: str, everybody: Everybody, metrics: dict[str, Any], promises: list[Promise], took: float
) -> None:
    def shown(key: str) -> str:
        return f"{Interval(**metrics[key]):.3f}"

    whom = "test patients" if everybody.roles else "patients out of fold"
    console.table(
        f"call by {candidate}: {metrics['patients']} {whom}; {config.evaluate.confidence:.0%} intervals",
        ["figure", "all classes jointly", "binary tests stacked"],
        [[words, shown(key), shown(f"stacked_{key}")] for key, words in measures.OF_CALLS.items()],
    )
    broken = [(name, one) for name, one in zip(everybody.names, promises, strict=True) if not one.kept]
    for name, one in sorted(broken, key=lambda class_and_promise: class_and_promise[1].patients)[:1]:
        console.warn(
            f"call: coverage {config.call.coverage:g} cannot be kept: a patient is held against {one.patients} of {name}, "
            f"and {one.needed} are needed; no sets are given. {one.advice}"
        )
    if not broken:
        console.say(
            f"sets at coverage {config.call.coverage:g}: hold the class of {metrics['coverage']['value']:.3f} of the patients, "
            f"{metrics['mean_set_size']:.2f} of {len(everybody.names)} classes on average"
        )
    console.say(f"call: {paths.call_report(candidate)}, {console.duration(took)}")
