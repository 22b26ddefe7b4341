"""What no section of params.yaml can know alone: whether they say the same of classes, candidates, folds and encoders."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.common import paths
from pipeline.common.params_learning import DEFAULT, BagCandidate

if TYPE_CHECKING:
    from pipeline.common.config import Config

# Columns of reports/call/<candidate>/calls/patients.csv, which has one a class beside these.
_OF_CALLED = frozenset(("patient", "class", "fold", "images", "probability", "set", "answer", "stacked_call"))
# Folders that stages write, whatever lay there before: nothing that is brought along may lie in one.
_MADE = {
    *(paths.RAW, paths.SPLITS, paths.CELLS, paths.CANDIDATES, paths.VECTORS, paths.SUSPICION, paths.WEIGHTS, paths.SCORED),
    *(paths.EVALUATED, paths.MODELS, paths.REPORTS),
}


def disagreements(config: Config) -> Iterator[str]:
    """Each begins with the key, and says what is allowed there."""
    folded = [name.lower() for name in config.classes]
    for name in config.classes:
        if folded.count(name.lower()) > 1:
            yield f"subtypes: {name} is named twice (control counts too, capitals don't)"
        if name.lower() in ("validation", "audit", "tune", "transfer", "call", "curation", "explained"):
            yield f"subtypes: a class cannot be named {name}; reports/{name.lower()} is another folder"
        if name.lower() == "external":
            yield f"subtypes: a class cannot be named {name}; that is MLflow's experiment of other cohorts"
        if name in _OF_CALLED and config.call.candidates:
            yield (
                f"subtypes: a class cannot be named {name}, as a column of the call's patients.csv is: name it otherwise "
                "(ingest.class_folders), or leave the call out (call.candidates: [])"
            )
        if name.lower() == DEFAULT:
            yield f"subtypes: a class cannot be named {name}; that is every subtype's network without an entry"
    yield from _candidates_disagree(config)
    if config.ingest.source == "demo":
        for name in config.classes:
            if name not in config.ingest.demo.patients:
                yield f"ingest.demo.patients: no number of patients for {name}"
    for folder, name in config.ingest.class_folders.items():
        if name not in config.classes:
            yield f"ingest.class_folders.{folder}: {name} is not a class; allowed: {', '.join(config.classes)}"
    for name in config.validate_.expected or {}:
        if name not in config.classes:
            yield f"validate.expected.{name}: not a class; allowed: {', '.join(config.classes)}"
    for name in config.audit.networks:
        if name not in config.subtypes:
            yield f"audit.networks: {name} is not one of subtypes"
    for name in config.explain.subtypes:
        if name not in config.subtypes:
            yield f"explain.subtypes: {name} is not one of subtypes"
    smallest = 1 / (config.audit.permutations + 1)
    if smallest >= config.audit.significance:
        yield (
            f"audit.permutations: {config.audit.permutations} permutations give no p below {smallest:.3g}, and "
            f"audit.significance is {config.audit.significance:g}; at least {math.floor(1 / config.audit.significance + 1e-9)}"
        )
    for fold in config.folds:
        if fold >= config.split.n_folds:
            yield f"folds: there is no fold {fold}; allowed: 0 to {config.split.n_folds - 1} (split.n_folds)"
    if len(set(config.folds)) < len(config.folds):
        yield "folds: a fold is named twice"
    named = config.split.file
    if named is not None and (Path(named).parent != paths.PROTOCOLS or Path(named).suffix != ".csv"):
        yield f"split.file: a .csv file in {paths.PROTOCOLS}, where DVC sees it change, not {named!r}"
    if config.train.min_epochs > config.train.max_epochs:
        yield f"train.min_epochs: {config.train.min_epochs} is above train.max_epochs ({config.train.max_epochs})"


def _candidates_disagree(config: Config) -> Iterator[str]:
    by_kind = config.kinds.model_dump()
    for name, candidate in config.candidates.items():
        for kind, names in by_kind.items():
            if names.count(name) != int(kind == candidate.kind):
                yield f"kinds.{kind}: must name the candidates of kind {kind}, each once; look at {name}"
        if isinstance(candidate, BagCandidate):
            if candidate.encoder not in (*config.encoders, *config.embed_networks):
                known = ", ".join(config.encoders)
                yield (
                    f"candidates.{name}.encoder: there is no encoder {candidate.encoder}; encoders has: {known}; "
                    f"embed_networks: {', '.join(config.embed_networks) or 'none'}"
                )
            continue
        for subtype in config.subtypes:
            if subtype not in candidate.networks and DEFAULT not in candidate.networks:
                yield (
                    f"candidates.{name}.networks: no network for {subtype}; add one, or one named {DEFAULT} for all that "
                    "have none"
                )
        for subtype, network in candidate.networks.items():
            px, halvings = network.px or config.pack.px, len(network.conv) + int(config.train.pool_first)
            key = f"candidates.{name}.networks.{subtype}.px" if network.px else "pack.px"
            if config.pack.px % px:
                yield f"{key}: {px} does not divide pack.px ({config.pack.px}): whole blocks of pixels are averaged"
            if px < 2**halvings:
                yield f"{key}: {px} px do not survive {halvings} poolings; at least {2**halvings}"
    for name, brought in config.encoders.items():
        for key in ("file", "folder"):
            place = Path(os.path.relpath(getattr(brought, key, ".")))
            if made := _MADE.intersection((place, *place.parents)):
                yield f"encoders.{name}.{key}: lies in {made.pop()}, which `dvc repro` writes anew; move it to data/brought"
    for name in config.embed_networks:
        if name not in config.kinds.cnn or config.embed_networks.count(name) > 1:
            yield f"embed_networks: must name candidates of kind cnn, each once; look at {name}"
        if name in config.encoders:
            yield f"embed_networks: {name} is one of encoders too; call that something else"
    for kind, names in by_kind.items():
        for name in names:
            if name not in config.candidates:
                yield f"kinds.{kind}: there is no candidate {name}; candidates has: {', '.join(config.candidates)}"
    for name in config.call.candidates:
        if name not in config.kinds.bag or config.call.candidates.count(name) > 1:
            yield f"call.candidates: must name candidates of kind bag, each once, or none ([]); look at {name}"
        elif (encoder := config.bag_of(name).encoder) in config.embed_networks:
            yield (
                f"call.candidates: {name} learns on vectors by {encoder}, a network of its own for every subtype and fold; "
                "one answer of all classes needs the same vectors of everybody: leave it out"
            )
    if config.down_weighted and config.tune.fold not in config.folds:
        yield f"tune.fold: where down_weighted names a network it must be one of folds, not {config.tune.fold}"
    if config.down_weighted and config.suspect.encoder not in config.encoders:
        yield f"suspect.encoder: there is no encoder {config.suspect.encoder}; encoders has: {', '.join(config.encoders)}"
    for name in config.down_weighted:
        if name not in config.kinds.cnn or config.down_weighted.count(name) > 1:
            yield f"down_weighted: must name candidates of kind cnn, each once; look at {name}"
