"""Bring the trained folds of each candidate to MLflow as one model; name the best of a subtype champion if it passes the gate.

Works from the files alone and can be repeated: what stands in MLflow already stays, what is missing is added, and the verdict
is that of the rules, and against the champion, of now. So it also fills an empty registry, at any address, without training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common import console, files, made, paths
from pipeline.common.config import Config
from pipeline.common.errors import ModelError
from pipeline.common.params_judging import Register
from pipeline.drift import known_patients
from pipeline.evaluation import figures, floors, seen_by_search
from pipeline.images import manifest
from pipeline.registry import (
    agreement,
    bringing_back,
    decisions,
    fold_mean,
    gate,
    known_pictures,
    mlflow_server,
    model_card,
    model_files,
    registration,
    trained_files,
    training_range,
    verdicts_page,
    versions,
)

_SHOWN = ("image_accuracy", "patient_auroc")
_NOT_ALONE = "other machines may decide at the same time; let REGISTRY_LOCK name a PostgreSQL database that all share"


def run(config: Config, subtypes: list[str], candidates: list[str]) -> None:
    """Register the candidates of `subtypes`, one after the other, and print what became of each."""
    client = mlflow_server.connect()
    with mlflow_server.answering():
        rows, reasons, several = [], [], len(candidates) > 1
        for subtype in subtypes:
            every = [_candidate(config, subtype, name) for name in candidates]
            models = [registration.log_candidate(client, candidate) for candidate in every]  # one of them may be the champion
            beside = {candidate.digest for candidate in every}
            verdicts = {
                candidate.name: settle(client, model, candidate, config.register_, config.seed, beside)
                for candidate, model in _best_first(every, models)
            }
            for candidate, model in zip(every, models, strict=True):
                reached = [candidate.metrics.get(key, "–") for key in _SHOWN]  # none is claimed, or images have none
                aliases = ", ".join(versions.aliases(client, model))
                named = [candidate.name] if several else []
                rows.append([subtype, *named, *reached, f"v{model.version} {aliases}".strip()])
                reasons.append(f"{model.name} v{model.version}: {verdicts[candidate.name]}")
                if verdicts[candidate.name].startswith(gate.NOT_COMPARABLE):
                    reasons.append(gate.way_out(model.name, model.version))
            if lost := agreement.absent(client, subtype, every[0].cohort):
                reasons.append(bringing_back.champion(lost))
            verdicts_page.write(client, subtype)
    shown = map(figures.words, _SHOWN)
    console.table("models", ["subtype", *(["candidate"] if several else []), *shown, "version"], rows)  # within 80 columns
    for reason in reasons:
        console.say(reason)
    console.say(f"MLflow: {mlflow_server.shown_address()}")
    decisions.tell()


def _best_first(
    candidates: Sequence[registration.Candidate], models: Sequence[versions.Version]
) -> list[tuple[registration.Candidate, versions.Version]]:
    """By falling patient AUROC: where nobody is champion yet, the first that reaches the floors is."""
    pairs = zip(candidates, models, strict=True)
    return sorted(pairs, key=lambda pair: -pair[0].metrics.get("patient_auroc", 0.0))


def settle(
    client: mlflow_server.Client,
    model: versions.Version,
    candidate: registration.Candidate,
    rules: Register,
    seed: int,
    beside: Collection[str] = (),
) -> str:
    """Judge a candidate against the champion of this moment and name it accordingly; returns the verdict, one line.

    `beside` are the digests of all that are registered with it: their order does not matter to what is asked of each.
    """
    missed = floors.missed(candidate.metrics, rules.floors.of_kind(model_files.kind(candidate.settings)))
    with mlflow_server.deciding() as alone:
        standing = agreement.reach(client, candidate.subtype, candidate.cohort, alone)
        champion, history = standing.champion, standing.history
        model = client.get_model_version(model.name, model.version)  # as it is now: the lock may have been waited for
        is_champion = champion is not None and champion.version == model.version
        by_hand = history.by_hand(candidate.digest) or model.tags.get(versions.BY_HAND)
        if is_champion and (stays := _stays(missed, by_hand, alone, gate.on_few(candidate.scores, rules.gate))):
            versions.write_card(client, model, verdict=model.tags.get("verdict", stays))
            return f"champion: {stays}"
        others = (versions.judged(client, model) | history.judged) - versions.digests(model)
        tried, known = len(others), True  # known to the file
        if not missed and (why := _rolled_back(model, history)):
            verdict = gate.Verdict("challenger", f"was rolled back by hand ({why}); promote it by hand", {})
        elif not missed and standing.absent:
            verdict = gate.Verdict("challenger", f"not promoted: the champion of {paths.DECISIONS} is not in this MLflow", {})
        else:
            theirs = versions.scores(client, champion) if champion and not is_champion else None
            compared = len(others - history.unopposed - set(beside))
            now = len({*beside, candidate.digest} - (versions.digests(champion) if champion else set()))
            verdict = gate.judge(candidate.scores, theirs, missed, rules.gate, seed, compared, max(now, 1))
            known = history.holds(candidate.digest, verdict.decision, verdict.reason)
        if verdict.alias == versions.CHAMPION and not alone:
            verdict = gate.Verdict("challenger", f"{verdict.reason}; not promoted: {_NOT_ALONE}", verdict.figures)
        line = f"{verdict.decision}: {verdict.reason}"
        if verdict.figures:
            line += f"; tried before in this cohort: {tried}"
        if verdict.figures and verdict.alias == versions.CHAMPION:
            line += f" (chosen among {tried + 1}, its own figures flatter it)"
        about = {
            "verdict": line,
            "figures": verdict.figures,
            "against": str(champion.version) if champion else None,
            "rules": rules.model_dump(),
            "tried_before": tried,
        }
        time = decisions.now()
        if alone and not known:
            before = None if is_champion else champion or standing.absent
            said = agreement.line(client, model, candidate.cohort, verdict.decision, verdict.reason, time, before, tried)
            decisions.append([said])
        versions.decide(client, model, verdict.alias, about, time)
    return line


def _rolled_back(model: versions.Version, history: decisions.History) -> str | None:
    """Why somebody took the name of champion from it, if so and if nobody gave it back."""
    known = versions.digests(model)
    if why := next((why for digest, why in history.rolled_back.items() if digest in known), None):
        return why
    return None if known & history.promoted else model.tags.get(versions.ROLLED_BACK)


def _stays(missed: Sequence[str], by_hand: str | None, alone: bool, on_few: str) -> str:
    """Why a champion that is registered again keeps its name; empty if it loses it."""
    if not missed:
        return f"is the champion, and all floors are reached{on_few}"
    if by_hand:
        return f"is the champion, promoted by hand ({by_hand}), although {'; '.join(missed)}"
    return "" if alone else f"is the champion, although {'; '.join(missed)}; kept: {_NOT_ALONE}"


def _candidate(config: Config, subtype: str, name: str) -> registration.Candidate:
    folders = [paths.fold(subtype, name, k) for k in sorted(config.folds)]
    report = paths.report(subtype, name)
    found = made.values(report / "metrics.json")
    _, leaked = seen_by_search.read(found)
    specs = {folder.name: made.values(folder / "spec.json") for folder in folders}
    weights = {
        folder.name: files.sha256(paths.existing(folder / model_files.weights_file(specs[folder.name]))) for folder in folders
    }
    settings = _settings(config, subtype, name)
    digest = model_files.identity(weights, specs, settings)
    facts = model_card.Facts(
        subtype=subtype,
        control=config.control,
        um=settings["um"],
        px=settings["px"],
        sides_px=settings["reference"]["px"],
        source=settings["cohort"],
        folds=sorted(config.folds),
        n_folds=config.split.n_folds,
        figures=found,
        by_class=made.rows(report / "by_class.csv"),
        confidence=config.evaluate.confidence,
        operating_point=settings["operating_point"],
        operating_point_chosen=settings["operating_point_chosen"],
        digest=digest,
        weights_sha256=weights,
        tuned_on=specs[folders[0].name].get("tuned_on"),
        leaked=leaked,
        protocol=config.split.file,
        curated=[spec.get("curated", {}) for spec in specs.values()],
        encoder=specs[folders[0].name].get("encoder"),
    )
    return registration.Candidate(
        subtype=subtype,
        name=name,
        digest=digest,
        folders=folders,
        weights_sha256=weights,
        settings=settings,
        results_md5=files.md5(results) if (results := paths.evaluated(subtype, name)).is_file() else "",
        metrics=dict(trained_files.as_metrics(found)),
        scores=_scores(report).head(0) if leaked else _scores(report),
        pictures=sorted((report / "plots").glob("*.png")),
        card=model_card.markdown(facts),
        made_of=known_pictures.of(_images(config, subtype)),
        patients=known_patients.of_cohort(config),
        beside={name: file for spec in specs.values() for name, file in trained_files.encoder(spec).items()},
    )


def _settings(config: Config, subtype: str, name: str) -> dict[str, Any]:
    """What the served model's code and `predict` read besides networks."""
    calibrated = made.rows(paths.report(subtype, name) / "folds.csv").set_index("fold")
    if set(calibrated.index) != set(config.folds) or "chosen" not in calibrated:
        raise ModelError(
            f"{paths.report(subtype, name)}/folds.csv: not of params.yaml's folds, or of an earlier version; run `dvc repro`"
        )
    source = made.values(paths.SOURCE)
    spec = made.values(paths.fold(subtype, name, min(config.folds)) / "spec.json")
    images = _images(config, subtype)
    return {
        "serving": model_files.SERVING,
        "subtype": subtype,
        "control": config.control,
        "cohort": source,
        "um": spec["um"],
        **_seen(spec),
        "temperatures": {f"fold-{fold}": float(value) for fold, value in calibrated["temperature"].items()},
        **({"patient_calibration": found} if (found := fold_mean.patient_calibration(calibrated)) else {}),
        "operating_point": fold_mean.operating_point(calibrated["threshold"].tolist()),
        "operating_point_chosen": [f"fold-{fold}" for fold in calibrated.index[calibrated["chosen"]]],
        "fewest_images": int(images.groupby("patient").size().min()),
        "reference": training_range.of(images),
    }


def _images(config: Config, subtype: str) -> pd.DataFrame:
    """The usable images of both classes."""
    images = manifest.usable(made.table(paths.MANIFEST))
    return images[images["class"].isin([config.control, subtype])]


def _seen(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The side of the images that a model looks at: None where it learned from vectors made elsewhere, and takes no image."""
    if model_files.kind(spec) == "bag":
        return {"kind": "bag", "px": spec["encoder"].get("px")}
    return {"px": spec["px"]}


def _scores(report: Path) -> pd.DataFrame:
    """The patients' calibrated out-of-fold logits, under keys."""
    table = made.rows(report / "patients.csv", keep_default_na=False)
    return trained_files.under_keys(table.assign(logit=table["logit"].astype(float)))[gate.SCORES]
