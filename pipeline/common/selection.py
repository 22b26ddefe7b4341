"""Which subtypes, candidates, folds and encoders a command is for: those that it names, or all; others are refused."""

from __future__ import annotations

from pipeline.common.config import Config
from pipeline.common.errors import ConfigError


def subtypes(config: Config, subtype: str | None) -> list[str]:
    """The one subtype named, or all of them; a name params.yaml does not have is refused."""
    if subtype is not None and subtype not in config.subtypes:
        raise ConfigError(f"there is no subtype {subtype}; params.yaml has: {', '.join(config.subtypes)}")
    return [subtype] if subtype else config.subtypes


def candidates(config: Config, candidate: str | None, kind: str | None = None) -> list[str]:
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


def for_call(config: Config, candidate: str | None) -> list[str]:
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


def folds(config: Config, fold: int | None) -> list[int]:
    """The one fold named, or all that are trained; another is refused."""
    if fold is not None and fold not in config.folds:
        listed = ", ".join(str(k) for k in config.folds)
        raise ConfigError(f"fold {fold} is not trained; params.yaml's folds has: {listed}")
    return config.folds if fold is None else [fold]


def encoders(config: Config, encoder: str | None) -> list[str]:
    """The one encoder named, or all of them; a name params.yaml does not have is refused."""
    if encoder is not None and encoder not in config.encoders:
        raise ConfigError(f"there is no encoder {encoder}; params.yaml has: {', '.join(config.encoders)}")
    return [encoder] if encoder else list(config.encoders)
