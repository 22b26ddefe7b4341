"""params.yaml as a typed, frozen `Config`; every mistake in it ends in one line that names the key.

There are no defaults here: a default in Python would be a parameter that DVC cannot see.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from pipeline.common import params_agreement
from pipeline.common.errors import ConfigError
from pipeline.common.params_base import Count, Name, Section
from pipeline.common.params_data import Ingest, Pack, Split, Validate
from pipeline.common.params_judging import Audit, Call, CnnFloors, Drift, Evaluate, Explain, Register, Report
from pipeline.common.params_learning import DEFAULT, BagCandidate, CnnCandidate, Encoder, Kinds, Network, Train
from pipeline.common.params_searching import Curate, Suspect, Transfer, Tune

C = TypeVar("C", "CnnCandidate", "BagCandidate")
_MOVED = {
    "models": "candidates.published.networks",
    "folds": "the key folds, beside subtypes,",
}
_SHOWN = 200  # characters of what stands there: lists may hold each other


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

    def tuned_on_key(self, subtype: str, candidate: str) -> str:
        """Where params.yaml says whom `tuned_on` gives."""
        known = self.candidates[candidate]
        if isinstance(known, BagCandidate):
            behind = known.encoder in self.embed_networks
            return self.tuned_on_key(subtype, known.encoder) if behind else f"candidates.{candidate}.encoder"
        return f"candidates.{candidate}.networks.{subtype if subtype in known.networks else DEFAULT}.tuned_on"

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
        for problem in params_agreement.disagreements(self):
            raise ValueError(problem)
        return self


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
            quotes = item["type"] == "string_type" and not isinstance(item["input"], dict | list | None)
            hint = "; put it in quotes" if quotes else ""
            return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, not {reprlib.repr(item['input'])[:_SHOWN]}{hint}"


def _keys(place: tuple[str | int, ...]) -> Iterator[str]:
    """The keys of params.yaml that lead to a fault."""
    for number, part in enumerate(place):
        tag = (place[0] in ("candidates", "encoders") and number == 2) or (number > 2 and place[number - 1] == "learner")
        if not tag:  # by which pydantic tells sections of one of several kinds apart
            yield str(part)
