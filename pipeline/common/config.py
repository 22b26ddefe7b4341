"""params.yaml as a typed, frozen `Config`; every mistake in it ends in one line that names the key.

There are no defaults here: a default in Python would be a parameter that DVC cannot see.
"""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from pipeline.common import paths
from pipeline.common.errors import ConfigError
from pipeline.common.params_base import Count, Name, Section
from pipeline.common.params_data import Ingest, Pack, Split, Validate
from pipeline.common.params_judging import Audit, Call, CnnFloors, Drift, Evaluate, Explain, Register, Report
from pipeline.common.params_learning import BagCandidate, CnnCandidate, Encoder, Kinds, Network, Train
from pipeline.common.params_searching import Curate, Suspect, Transfer, Tune

C = TypeVar("C", "CnnCandidate", "BagCandidate")
_MOVED = {
    "models": "candidates.published.networks",
    "folds": "the key folds, beside subtypes,",
}
# Columns of reports/call/<candidate>/calls/patients.csv, which has one a class beside these.
_OF_CALLED = frozenset(("patient", "class", "fold", "images", "probability", "set", "answer", "stacked_call"))
# Folders that stages write, whatever lay there before: nothing that is brought along may lie in one.
_MADE = {
    *(paths.RAW, paths.SPLITS, paths.CELLS, paths.CANDIDATES, paths.VECTORS, paths.SUSPICION, paths.WEIGHTS, paths.SCORED),
    *(paths.EVALUATED, paths.MODELS, paths.REPORTS),
}
_SHOWN = 200  # characters of what stands there: lists may hold each other
DEFAULT = "default"  # the network of every subtype that a candidate names none for


class Config(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    control: Name
    subtypes: Annotated[list[Name], Field(min_length=1)]
    image_px: Count
    image_um: Annotated[float, Field(gt=0)]
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    kinds: Kinds
    candidates: Annotated[dict[Name, Annotated[CnnCandidate | BagCandidate, Field(discriminator="kind")]], Field(min_length=1)]
    encoders: Annotated[dict[Name, Encoder], Field(min_length=1)]
    embed_networks: list[Name]
    down_weighted: list[Name]
    ingest: Ingest
    validate_: Annotated[Validate, Field(alias="validate")]  # pydantic keeps `validate` for itself
    split: Split
    pack: Pack
    suspect: Suspect
    train: Train
    evaluate: Evaluate
    call: Call
    audit: Audit
    report: Report
    register_: Annotated[Register, Field(alias="register")]  # so does ABCMeta with `register`
    tune: Tune
    transfer: Transfer
    curate: Curate
    explain: Explain
    drift: Drift

    @property
    def classes(self) -> list[str]:
        """Control first, then the subtypes in the order of params.yaml."""
        return [self.control, *self.subtypes]

    def network_of(self, subtype: str, candidate: str) -> Network:
        """The network for a subtype of a candidate of kind `cnn`: its own, else the candidate's default."""
        networks = _require(self.candidates[candidate], CnnCandidate, candidate).networks
        return networks[subtype] if subtype in networks else networks[DEFAULT]

    def bag_of(self, candidate: str) -> BagCandidate:
        """Encoder and learner of a candidate of kind `bag`."""
        return _require(self.candidates[candidate], BagCandidate, candidate)

    def candidate_of(self, subtype: str, candidate: str) -> dict[str, Any]:
        """What is said of a candidate, as it counts for a subtype."""
        known = self.candidates[candidate]
        if isinstance(known, BagCandidate):
            behind = {"network": self.candidate_of(subtype, known.encoder)} if known.encoder in self.embed_networks else {}
            return {**known.model_dump(), **behind}
        return {"kind": known.kind, "network": self.network_of(subtype, candidate).model_dump()}

    def tuned_on(self, subtype: str, candidate: str) -> list[str]:
        """The patients whom a search for the candidate's network, or that behind its vectors, saw; nobody if none was made."""
        known = self.candidates[candidate]
        if isinstance(known, BagCandidate):
            return self.tuned_on(subtype, known.encoder) if known.encoder in self.embed_networks else []
        return self.network_of(subtype, candidate).tuned_on or []

    def px_of(self, subtype: str, candidate: str) -> int:
        """Side of the images that a subtype's network looks at: of the packed cells, or less."""
        return self.network_of(subtype, candidate).px or self.pack.px

    def train_of(self, subtype: str, candidate: str) -> Train:
        """`train` as it counts for one network: what that says itself stands in the place of what is said for all."""
        network = self.network_of(subtype, candidate)
        own = {
            key: getattr(network, key) for key in ("pooling", "dropout", "weight_decay") if getattr(network, key) is not None
        }
        if network.stain_jitter is not None:
            own["augment"] = self.train.augment.model_copy(update={"stain_jitter": network.stain_jitter})
        return self.train.model_copy(update=own)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        for problem in self._disagreements():
            raise ValueError(problem)
        return self

    def _disagreements(self) -> Iterator[str]:
        folded = [name.lower() for name in self.classes]
        for name in self.classes:
            if folded.count(name.lower()) > 1:
                yield f"subtypes: {name} is named twice (control counts too, capitals don't)"
            if name.lower() in ("validation", "audit", "tune", "transfer", "call", "curation", "explained"):
                yield f"subtypes: a class cannot be named {name}; reports/{name.lower()} is another folder"
            if name.lower() == "external":
                yield f"subtypes: a class cannot be named {name}; that is MLflow's experiment of other cohorts"
            if name in _OF_CALLED and self.call.candidates:
                yield (
                    f"subtypes: a class cannot be named {name}, as a column of the call's patients.csv is: name it otherwise "
                    "(ingest.class_folders), or leave the call out (call.candidates: [])"
                )
            if name.lower() == DEFAULT:
                yield f"subtypes: a class cannot be named {name}; that is every subtype's network without an entry"
        yield from self._candidates_disagree()
        if self.ingest.source == "demo":
            for name in self.classes:
                if name not in self.ingest.demo.patients:
                    yield f"ingest.demo.patients: no number of patients for {name}"
        for folder, name in self.ingest.class_folders.items():
            if name not in self.classes:
                yield f"ingest.class_folders.{folder}: {name} is not a class; allowed: {', '.join(self.classes)}"
        for name in self.validate_.expected or {}:
            if name not in self.classes:
                yield f"validate.expected.{name}: not a class; allowed: {', '.join(self.classes)}"
        for name in self.audit.networks:
            if name not in self.subtypes:
                yield f"audit.networks: {name} is not one of subtypes"
        for name in self.explain.subtypes:
            if name not in self.subtypes:
                yield f"explain.subtypes: {name} is not one of subtypes"
        smallest = 1 / (self.audit.permutations + 1)
        if smallest >= self.audit.significance:
            yield (
                f"audit.permutations: {self.audit.permutations} permutations give no p below {smallest:.3g}, and "
                f"audit.significance is {self.audit.significance:g}; at least {math.floor(1 / self.audit.significance + 1e-9)}"
            )
        for fold in self.folds:
            if fold >= self.split.n_folds:
                yield f"folds: there is no fold {fold}; allowed: 0 to {self.split.n_folds - 1} (split.n_folds)"
        if len(set(self.folds)) < len(self.folds):
            yield "folds: a fold is named twice"
        named = self.split.file
        if named is not None and (Path(named).parent != paths.PROTOCOLS or Path(named).suffix != ".csv"):
            yield f"split.file: a .csv file in {paths.PROTOCOLS}, where DVC sees it change, not {named!r}"
        if self.train.min_epochs > self.train.max_epochs:
            yield f"train.min_epochs: {self.train.min_epochs} is above train.max_epochs ({self.train.max_epochs})"

    def _candidates_disagree(self) -> Iterator[str]:
        by_kind = self.kinds.model_dump()
        for name, candidate in self.candidates.items():
            for kind, names in by_kind.items():
                if names.count(name) != int(kind == candidate.kind):
                    yield f"kinds.{kind}: must name the candidates of kind {kind}, each once; look at {name}"
            if isinstance(candidate, BagCandidate):
                if candidate.encoder not in (*self.encoders, *self.embed_networks):
                    known = ", ".join(self.encoders)
                    yield (
                        f"candidates.{name}.encoder: there is no encoder {candidate.encoder}; encoders has: {known}; "
                        f"embed_networks: {', '.join(self.embed_networks) or 'none'}"
                    )
                continue
            for subtype in self.subtypes:
                if subtype not in candidate.networks and DEFAULT not in candidate.networks:
                    yield (
                        f"candidates.{name}.networks: no network for {subtype}; add one, or one named {DEFAULT} for all that "
                        "have none"
                    )
            for subtype, network in candidate.networks.items():
                px, halvings = network.px or self.pack.px, len(network.conv) + int(self.train.pool_first)
                key = f"candidates.{name}.networks.{subtype}.px" if network.px else "pack.px"
                if self.pack.px % px:
                    yield f"{key}: {px} does not divide pack.px ({self.pack.px}): whole blocks of pixels are averaged"
                if px < 2**halvings:
                    yield f"{key}: {px} px do not survive {halvings} poolings; at least {2**halvings}"
        for name, brought in self.encoders.items():
            for key in ("file", "folder"):
                place = Path(os.path.relpath(getattr(brought, key, ".")))
                if made := _MADE.intersection((place, *place.parents)):
                    yield f"encoders.{name}.{key}: lies in {made.pop()}, which `dvc repro` writes anew; move it to data/brought"
        for name in self.embed_networks:
            if name not in self.kinds.cnn or self.embed_networks.count(name) > 1:
                yield f"embed_networks: must name candidates of kind cnn, each once; look at {name}"
            if name in self.encoders:
                yield f"embed_networks: {name} is one of encoders too; call that something else"
        for kind, names in by_kind.items():
            for name in names:
                if name not in self.candidates:
                    yield f"kinds.{kind}: there is no candidate {name}; candidates has: {', '.join(self.candidates)}"
        for name in self.call.candidates:
            if name not in self.kinds.bag or self.call.candidates.count(name) > 1:
                yield f"call.candidates: must name candidates of kind bag, each once, or none ([]); look at {name}"
            elif (encoder := self.bag_of(name).encoder) in self.embed_networks:
                yield (
                    f"call.candidates: {name} learns on vectors by {encoder}, a network of its own for every subtype and fold; "
                    "one answer of all classes needs the same vectors of everybody: leave it out"
                )
        if self.down_weighted and self.tune.fold not in self.folds:
            yield f"tune.fold: where down_weighted names a network it must be one of folds, not {self.tune.fold}"
        if self.down_weighted and self.suspect.encoder not in self.encoders:
            yield f"suspect.encoder: there is no encoder {self.suspect.encoder}; encoders has: {', '.join(self.encoders)}"
        for name in self.down_weighted:
            if name not in self.kinds.cnn or self.down_weighted.count(name) > 1:
                yield f"down_weighted: must name candidates of kind cnn, each once; look at {name}"


def load(path: Path = Path("params.yaml")) -> Config:
    """Read and check `path`.

    Raises:
        ConfigError: one line that names the file, the key, and what is allowed.
    """
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; run this in the folder that holds it") from None
    except DuplicateKeyError as error:
        raise ConfigError(f"{path}: {error.problem} (line {error.problem_mark.line + 1})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; save it as UTF-8") from None
    except ReaderError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError(f"{path}: not YAML{where}: {error.problem}") from None
    except RecursionError:
        raise ConfigError(f"{path}: brackets within brackets, deeper than any setting; correct it") from None
    except (ValueError, TypeError, ArithmeticError) as error:  # a tag (!!float, !!timestamp) before what is none
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings")
    _require_present_keys(path, values)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_explain(dict(item)) for item in error.errors()[:3])}") from None


def _require_present_keys(path: Path, values: dict[str, Any]) -> None:
    """Keys of former versions are told by their new names."""
    train = values.get("train")
    for key, now in _MOVED.items():
        if isinstance(train, dict) and key in train:
            raise ConfigError(f"{path}: train.{key}: is {now} now; see CHANGELOG.md")
    register = values.get("register")
    gate, floors = (register.get(key) if isinstance(register, dict) else None for key in ("gate", "floors"))
    if isinstance(floors, dict) and (old := sorted(set(CnnFloors.model_fields) & set(floors))):
        raise ConfigError(
            f"{path}: register.floors.{old[0]}: is register.floors.cnn.{old[0]} now; each kind of candidate has its own"
        )
    if isinstance(gate, dict) and "max_probability_worse" in gate:
        raise ConfigError(
            f"{path}: register.gate.max_probability_worse: is max_false_promotions now, the chance for all candidates together"
        )


def _require(candidate: CnnCandidate | BagCandidate, kind: type[C], name: str) -> C:
    if not isinstance(candidate, kind):
        raise ConfigError(f"candidates.{name}: is of kind {candidate.kind}, which this is not for")
    return candidate


def _explain(item: dict[str, Any]) -> str:
    key = ".".join(_keys(item["loc"]))
    match item["type"]:
        case "union_tag_invalid":
            told = item["ctx"]["discriminator"].strip("'")
            return f"{key}.{told}: {item['ctx']['tag']!r} is not one of {item['ctx']['expected_tags']}"
        case "union_tag_not_found":
            told = item["ctx"]["discriminator"].strip("'")
            return f"{key}.{told}: missing"
        case "missing":
            return f"{key}: missing"
        case "extra_forbidden":
            return f"{key}: unknown key"
        case "value_error":
            message = str(item["ctx"]["error"])
            return f"{key}.{message}" if key else message
        case _:
            return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, not {reprlib.repr(item['input'])[:_SHOWN]}"


def _keys(place: tuple[str | int, ...]) -> Iterator[str]:
    """The keys of params.yaml that lead to a fault."""
    for number, part in enumerate(place):
        tag = (place[0] in ("candidates", "encoders") and number == 2) or (number > 2 and place[number - 1] == "learner")
        if not tag:  # by which pydantic tells sections of one of several kinds apart
            yield str(part)


def chosen_subtypes(config: Config, subtype: str | None) -> list[str]:
    """The one subtype named, or all of them; a name params.yaml does not have is refused."""
    if subtype is not None and subtype not in config.subtypes:
        raise ConfigError(f"there is no subtype {subtype}; params.yaml has: {', '.join(config.subtypes)}")
    return [subtype] if subtype else config.subtypes


def chosen_candidates(config: Config, candidate: str | None, kind: str | None = None) -> list[str]:
    """The one candidate named, or all of them; of one kind, if any. A name that params.yaml does not have so is refused."""
    if candidate is not None and candidate not in config.candidates:
        raise ConfigError(f"there is no candidate {candidate}; params.yaml has: {', '.join(config.candidates)}")
    of_kind = [name for name, known in config.candidates.items() if kind in (None, known.kind)]
    if not of_kind:
        raise ConfigError(f"there is no candidate of kind {kind}; add one to params.yaml's candidates and to kinds.{kind}")
    if candidate is not None and candidate not in of_kind:
        raise ConfigError(
            f"candidate {candidate} is of kind {config.candidates[candidate].kind}; {', '.join(of_kind)} is {kind}"
        )
    return [candidate] if candidate else of_kind


def chosen_for_call(config: Config, candidate: str | None) -> list[str]:
    """The one candidate named, or all by whose vectors patients are called; another is refused, and so is none at all."""
    known = config.call.candidates
    if not known:
        raise ConfigError("call.candidates names nobody: there is no call; name a candidate of kind bag there")
    if candidate is not None and candidate not in known:
        raise ConfigError(f"nobody is called by {candidate}; params.yaml's call.candidates has: {', '.join(known)}")
    return [candidate] if candidate else known


def one_candidate(candidates: list[str]) -> str:
    """The only one of `candidates`; of several one must be named."""
    if len(candidates) > 1:
        raise ConfigError(f"which candidate? Name one with --candidate: {', '.join(candidates)}")
    return candidates[0]


def chosen_folds(config: Config, fold: int | None) -> list[int]:
    """The one fold named, or all that are trained; another is refused."""
    if fold is not None and fold not in config.folds:
        listed = ", ".join(str(k) for k in config.folds)
        raise ConfigError(f"fold {fold} is not trained; params.yaml's folds has: {listed}")
    return config.folds if fold is None else [fold]


def chosen_encoders(config: Config, encoder: str | None) -> list[str]:
    """The one encoder named, or all of them; a name params.yaml does not have is refused."""
    if encoder is not None and encoder not in config.encoders:
        raise ConfigError(f"there is no encoder {encoder}; params.yaml has: {', '.join(config.encoders)}")
    return [encoder] if encoder else list(config.encoders)
