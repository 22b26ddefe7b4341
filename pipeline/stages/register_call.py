"""Bring the calls' models to MLflow, an experiment and a registered model `call` of their own; name the best champion.

As `register` it works from the files alone and can be repeated. A call becomes champion if it calls better than chance and,
where there is a champion, gives the patients' own classes higher probabilities by more than chance (`registry/call_gate`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.drift import known_patients
from pipeline.images import manifest
from pipeline.registry import (
    agreement,
    bringing_back,
    call_card,
    call_gate,
    decisions,
    gate,
    known_pictures,
    mlflow_server,
    model_files,
    registration,
    trained_files,
    training_range,
    verdicts_page,
    versions,
)

NAME = "call"


def run(config: Config, candidates: list[str]) -> None:
    """Register the calls by each candidate's vectors and print what became of each."""
    if not (candidates := [name for name in candidates if _is_made(name)]):
        return
    client = mlflow_server.connect()
    with mlflow_server.answering():
        every = [_candidate(config, name) for name in candidates]
        every.sort(key=lambda candidate: candidate.metrics["log_loss"])  # where nobody is champion yet, the best is
        models = [registration.log_candidate(client, candidate) for candidate in every]
        beside = {candidate.digest for candidate in every}
        for candidate, model in zip(every, models, strict=True):
            by = made.values(candidate.folders[0] / "spec.json")["encoder"]
            of = {versions.ENCODER: by["name"], versions.ENCODER_DIGEST: by.get("digest", "")}
            versions.note(client, model, classes=" ".join(config.classes), **of)
            verdict = _settle(config, client, model, candidate, beside)
            console.say(f"{NAME} v{model.version} ({candidate.name}): {verdict}")
            if verdict.startswith(gate.NOT_COMPARABLE):
                console.say(gate.way_out(NAME, model.version))
        if lost := agreement.absent(client, NAME, every[0].cohort):
            console.say(bringing_back.champion(lost))
        verdicts_page.write(client, NAME)
    console.say(f"MLflow: {mlflow_server.shown_address()}")
    decisions.tell()


def _is_made(candidate: str) -> bool:
    """Whether there is a call by a candidate's vectors; why not is said."""
    why_not = paths.called(candidate) / paths.WHY_NOT
    if why_not.is_file():
        console.say(f"register_call: {candidate}: nothing to register, since no call is made: {why_not.read_text().strip()}")
    return not why_not.is_file()


def _settle(
    config: Config,
    client: mlflow_server.Client,
    model: versions.Version,
    candidate: registration.Candidate,
    beside: set[str],
) -> str:
    """Judge a call against the champion of this moment and name it accordingly; returns the verdict, one line."""
    rules = config.register_.gate
    with mlflow_server.deciding() as alone:
        standing = agreement.reach(client, NAME, candidate.cohort, alone)
        champion, history = standing.champion, standing.history
        model = client.get_model_version(model.name, model.version)  # as it is now: the lock may have been waited for
        if champion is not None and champion.version == model.version:
            versions.write_card(client, model, verdict=model.tags.get("verdict", "is the champion"))
            return "champion: is the champion"
        others = (versions.judged(client, model) | history.judged) - versions.digests(model)
        if versions.digests(model) & set(history.rolled_back):
            verdict = gate.Verdict("challenger", "was rolled back by hand; promote it by hand", {})
        elif standing.absent:
            verdict = gate.Verdict("challenger", f"not promoted: the champion of {paths.DECISIONS} is not in this MLflow", {})
        elif champion is not None and (theirs := champion.tags.get("classes", "")) != model.tags["classes"]:
            verdict = gate.Verdict(gate.NOT_COMPARABLE, f"the champion knows other classes: {theirs}", {})
        else:
            scores = versions.scores(client, champion) if champion else None
            compared, now = len(others - history.unopposed - beside), len(beside | {candidate.digest})
            missed = _missed(candidate)
            verdict = call_gate.judge(candidate.scores, scores, missed, rules, config.seed, compared, now)
        if verdict.alias == versions.CHAMPION and not alone:
            verdict = gate.Verdict("challenger", f"{verdict.reason}; not promoted: other machines may decide now", {})
        line, time = f"{verdict.decision}: {verdict.reason}", decisions.now()
        if alone and not history.holds(candidate.digest, verdict.decision, verdict.reason):
            before = champion or standing.absent
            said = agreement.line(client, model, candidate.cohort, verdict.decision, verdict.reason, time, before, len(others))
            decisions.append([said])
        about = {"verdict": line, "figures": verdict.figures, "rules": rules.model_dump(), "tried_before": len(others)}
        versions.decide(client, model, verdict.alias, about, time)
    return line


def _missed(candidate: registration.Candidate) -> list[str]:
    """Why a call is no champion whatever others are."""
    low, chance = candidate.metrics["balanced_accuracy_low"], 1 / len(candidate.settings["classes"])
    return [] if low > chance else [f"its balanced accuracy is not above chance: {low:.3f} at least, chance is {chance:.3f}"]


def _candidate(config: Config, name: str) -> registration.Candidate:
    report = paths.call_report(name)
    found = made.values(report / "metrics.json")
    # of a published dealing with roles there is one
    folders = sorted(paths.called(name).glob("fold-*")) or [paths.called(name) / "fold-0"]
    specs = {folder.name: made.values(folder / "spec.json") for folder in folders}
    weights = {
        folder.name: files.sha256(paths.existing(folder / model_files.weights_file(specs[folder.name]))) for folder in folders
    }
    spec = specs[folders[0].name]
    settings = _settings(config, spec, sorted(specs), kept="coverage" in found)
    digest = model_files.identity(weights, specs, settings)
    patients = made.rows(report / "calls" / "patients.csv", keep_default_na=False)
    return registration.Candidate(
        subtype=NAME,
        name=name,
        digest=digest,
        folders=folders,
        weights_sha256=weights,
        settings=settings,
        results_md5=files.md5(paths.existing(paths.evaluated(NAME, name))),
        metrics=dict(trained_files.as_metrics(found)),
        scores=_scores(config, patients),
        pictures=[],
        card=call_card.markdown(settings, spec.get("curated", {}), found, config.evaluate.confidence, digest),
        beside=trained_files.encoder(spec),
        made_of=known_pictures.of(_images(config)),
        patients=known_patients.of_cohort(config, spec["encoder"]["name"], patients),
        question=f"One answer of {', '.join(config.classes)} for a patient",
    )


def _settings(config: Config, spec: dict[str, Any], folds: list[str], *, kept: bool) -> dict[str, Any]:
    """What the served model's code and `predict` read besides regressions; `kept`: whether sets can keep their coverage."""
    images = _images(config)
    return {
        "serving": model_files.SERVING,
        "kind": "call",
        "subtype": NAME,
        "classes": spec["classes"],
        "cohort": made.values(paths.SOURCE),
        "um": spec["um"],
        "px": spec["encoder"].get("px"),
        "folds": folds,
        "temperature": spec["temperature"],
        "coverage": config.call.coverage if kept else None,
        "fewest_images": int(images.groupby("patient").size().min()),
        "reference": training_range.of(images),
    }


def _images(config: Config) -> pd.DataFrame:
    """The usable images of all classes."""
    images = manifest.usable(made.table(paths.MANIFEST))
    return images[images["class"].isin(config.classes)]


def _scores(config: Config, patients: pd.DataFrame) -> pd.DataFrame:
    """What `call_gate` compares by, of everybody, under keys that tell nobody who it is."""
    places = pd.Index(config.classes).get_indexer(pd.Index(patients["class"]))
    own = patients[config.classes].to_numpy(np.float64)[np.arange(len(patients)), places]
    table = patients[["patient", "fold"]].assign(label=places, logit=np.log(np.maximum(own, 1e-300)))
    return trained_files.under_keys(table)[gate.SCORES]
