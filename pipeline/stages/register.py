"""Bring the trained folds of each candidate to MLflow as one model; name the best of a subtype champion if it passes the gate.

Works from the files alone and can be repeated: what stands in MLflow already stays, what is missing is added, and the verdict
is that of the rules, and against the champion, of now. So it also fills an empty registry, at any address, without training.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common import console, files, paths
from pipeline.common.config import Config, Floors, Register
from pipeline.common.errors import DataError, ModelError
from pipeline.evaluation import seen_by_search
from pipeline.images import manifest
from pipeline.registry import fold_mean, gate, mlflow_server, model_card, training_range, versions

_NOT_ALONE = "other machines may decide at the same time; let REGISTRY_LOCK name a PostgreSQL database that all share"


def run(config: Config, subtypes: list[str], candidates: list[str]) -> None:
    """Register the candidates of `subtypes`, one after the other, and print what became of each."""
    client = mlflow_server.connect()
    with mlflow_server.answering():
        rows, reasons, several = [], [], len(candidates) > 1
        for subtype, name in itertools.product(subtypes, candidates):
            candidate = _candidate(config, subtype, name)
            model = versions.log_candidate(client, candidate)
            verdict = settle(client, model, candidate, config.register_, config.seed)
            figures = [candidate.metrics.get(key, math.nan) for key in ("image_accuracy", "patient_auroc")]
            aliases = ", ".join(versions.aliases(client, model)) or "-"
            rows.append([subtype, *([name] if several else []), *figures, f"{model.name} v{model.version}", aliases])
            reasons.append(f"{model.name} v{model.version}: {verdict}")
    names = ["subtype", *(["candidate"] if several else []), "image accuracy", "patient AUROC", "model version", "alias"]
    console.table("models", names, rows)
    for reason in reasons:
        console.say(reason)
    console.say(f"MLflow: {mlflow_server.shown_address()}")


def settle(
    client: mlflow_server.Client, model: versions.Version, candidate: versions.Candidate, rules: Register, seed: int
) -> str:
    """Judge a candidate against the champion of this moment and name it accordingly; returns the verdict, one line."""
    missed = missed_floors(candidate.metrics, rules.floors)
    with mlflow_server.deciding() as alone:
        model = client.get_model_version(model.name, model.version)  # as it is now: the lock may have been waited for
        champion = versions.champion(client, candidate.subtype)
        is_champion = champion is not None and champion.version == model.version
        if is_champion and (stays := _stays(missed, model.tags.get(versions.BY_HAND), alone)):
            versions.describe(client, model, model.tags.get("verdict", stays))
            return f"champion: {stays}"
        if not missed and (why := model.tags.get(versions.ROLLED_BACK)):
            verdict = gate.Verdict("challenger", f"was rolled back by hand ({why}); promote it by hand", {})
        else:
            theirs = versions.scores(client, champion) if champion and not is_champion else None
            verdict = gate.judge(candidate.scores, theirs, missed, rules.gate, seed)
        if verdict.alias == versions.CHAMPION and not alone:
            verdict = gate.Verdict("challenger", f"{verdict.reason}; not promoted: {_NOT_ALONE}", verdict.figures)
        tried = versions.tried_before(client, model)
        line = f"{verdict.decision}: {verdict.reason}"
        if verdict.figures:
            line += f"; tried before on the same patients: {tried}"
        about = {
            "verdict": line,
            "figures": verdict.figures,
            "against": str(champion.version) if champion else None,
            "rules": rules.model_dump(),
            "tried_before": tried,
        }
        versions.decide(client, model, verdict.alias, about)
    return line


def _stays(missed: Sequence[str], by_hand: str | None, alone: bool) -> str:
    """Why a champion that is registered again keeps its name; empty if it loses it."""
    if not missed:
        return "is the champion, and all floors are reached"
    if by_hand:
        return f"is the champion, promoted by hand ({by_hand}), although {'; '.join(missed)}"
    return "" if alone else f"is the champion, although {'; '.join(missed)}; kept: {_NOT_ALONE}"


def missed_floors(metrics: Mapping[str, float], floors: Floors) -> list[str]:
    """One sentence for every floor that `metrics` does not reach."""
    return [
        f"{key} {metrics[key]:.3f} is below the floor {floor:.3f}"
        if key in metrics
        else f"{key} is not claimed, because the search for this network saw its test patients"
        for key, floor in floors.model_dump().items()
        if not metrics.get(key, math.nan) >= floor  # also when it is not a number
    ]


def _candidate(config: Config, subtype: str, name: str) -> versions.Candidate:
    folders = [paths.fold(subtype, name, k) for k in sorted(config.folds)]
    report = paths.report(subtype, name)
    figures = json.loads(paths.existing(report / "metrics.json").read_text())
    _, leaked = seen_by_search.read(figures)
    weights = {folder.name: files.sha256(paths.existing(folder / "model.weights.h5")) for folder in folders}
    specs = [files.sha256(paths.existing(folder / "spec.json")) for folder in folders]
    settings = _settings(config, subtype, name)
    code = [files.sha256(file) for file in versions.CODE]
    digest = hashlib.sha256(json.dumps([weights, specs, settings, code]).encode()).hexdigest()
    facts = model_card.Facts(
        subtype=subtype,
        control=config.control,
        um=settings["um"],
        px=settings["px"],
        sides_px=settings["reference"]["px"],
        source=settings["cohort"],
        folds=sorted(config.folds),
        n_folds=config.split.n_folds,
        figures=figures,
        by_class=pd.read_csv(paths.existing(report / "by_class.csv")),
        confidence=config.evaluate.confidence,
        operating_point=settings["operating_point"],
        operating_point_chosen=settings["operating_point_chosen"],
        digest=digest,
        weights_sha256=weights,
        tuned_on=json.loads((folders[0] / "spec.json").read_text()).get("tuned_on"),
        leaked=leaked,
    )
    return versions.Candidate(
        subtype=subtype,
        name=name,
        digest=digest,
        folders=folders,
        weights_sha256=weights,
        settings=settings,
        metrics=dict(_flat(figures)),
        scores=_scores(report).head(0) if leaked else _scores(report),
        pictures=sorted((report / "plots").glob("*.png")),
        card=model_card.markdown(facts),
    )


def _settings(config: Config, subtype: str, name: str) -> dict[str, Any]:
    """What the served model's code and `predict` read besides networks."""
    calibrated = pd.read_csv(paths.existing(paths.report(subtype, name) / "folds.csv")).set_index("fold")
    if set(calibrated.index) != set(config.folds) or "chosen" not in calibrated:
        raise ModelError(
            f"{paths.report(subtype, name)}/folds.csv: not of params.yaml's folds, or of an earlier version; run `dvc repro`"
        )
    images = manifest.usable(pd.read_parquet(paths.existing(paths.MANIFEST)))
    source = json.loads(paths.existing(paths.SOURCE).read_text())
    spec = json.loads(paths.existing(paths.fold(subtype, name, min(config.folds)) / "spec.json").read_text())
    return {
        "subtype": subtype,
        "control": config.control,
        "cohort": source,
        "um": spec["um"],
        "px": spec["px"],
        "temperatures": {f"fold-{fold}": float(value) for fold, value in calibrated["temperature"].items()},
        "operating_point": fold_mean.operating_point(calibrated["threshold"].tolist()),
        "operating_point_chosen": [f"fold-{fold}" for fold in calibrated.index[calibrated["chosen"]]],
        "reference": training_range.of(images[images["class"].isin([config.control, subtype])]),
    }


def _scores(report: Path) -> pd.DataFrame:
    """The patients' calibrated out-of-fold logits. Names stay here: a key follows from a patient's name and pictures.

    So whoever has the pictures can tell the same patient again, and nobody else can.
    """
    images = pd.read_parquet(paths.existing(paths.MANIFEST), columns=["patient", "pixels_sha256", "error"])
    first = images[images["error"] == ""].groupby("patient")["pixels_sha256"].min()
    table = pd.read_csv(paths.existing(report / "patients.csv"), dtype={"patient": "str"}, keep_default_na=False)
    if strangers := set(table["patient"]) - set(first.index):
        raise DataError(f"{paths.MANIFEST}: has no usable image of patient {min(strangers)}; run `dvc repro`")
    names = table["patient"] + " " + table["patient"].map(first)
    keys = [hashlib.sha256(name.encode()).hexdigest()[:16] for name in names]
    return table.assign(patient=keys, logit=table["logit"].astype(float))[gate.SCORES]


def _flat(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """A figure with bounds as three of MLflow's metrics: itself, <figure>_low and <figure>_high."""
    for key, figure in figures.items():
        if isinstance(figure, dict):
            yield key, float(figure["value"])
            yield from ((f"{key}_{bound}", float(figure[bound])) for bound in ("low", "high"))
        else:
            yield key, float(figure)
