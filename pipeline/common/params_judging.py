"""The sections of params.yaml that say how results are measured, checked, shown, and registered."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.common.params_base import Count, InnerFolds, Inside, Name, Penalties, Section, Share


class Evaluate(Section):
    """How scores become calls, and how sure the figures are."""

    threshold: Share
    target_specificity: Share
    fewest_controls: Count
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    draws: Annotated[int, Field(ge=100)]
    bins: Annotated[int, Field(ge=2)]


class Call(Section):
    """By whose vectors patients are called one of all classes, how, and how often the set shall hold the right one."""

    candidates: list[Name]
    coverage: Annotated[float, Field(gt=0.5, lt=1)]
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]]
    penalties: Penalties
    inner_folds: InnerFolds


class Audit(Section):
    """How the audit decides, and for which subtypes it trains."""

    networks: list[Name]
    permutations: Count
    significance: Annotated[float, Field(gt=0, lt=1)]
    min_known_share: Annotated[float, Field(gt=0, le=1)]
    same_age_years: Count
    fewest_patients: Count


class SampleSize(Section):
    """What is expected and wanted, for the number of patients it takes."""

    expected: Annotated[float, Field(ge=0.5, lt=1)]
    half_width: Annotated[float, Field(ge=0.01, lt=0.5)]
    power: Annotated[float, Field(ge=0.5, lt=1)]


class Report(Section):
    """What the page works out beside the measured figures."""

    prevalences: Annotated[list[Inside], Field(min_length=1)]
    risks: Annotated[list[Inside], Field(min_length=1)]
    sample_size: SampleSize

    @model_validator(mode="after")
    def _values_ascend(self) -> Self:
        for key in ("prevalences", "risks"):
            values = getattr(self, key)
            if values != sorted(set(values)):
                raise ValueError(f"{key} must ascend, not {values}")
        return self


class CnnFloors(Section):
    """What a model that scores images must reach to become champion."""

    image_accuracy: Share
    patient_sensitivity: Share
    patient_specificity: Share


class BagFloors(Section):
    """The same of a model that scores patients alone."""

    patient_sensitivity: Share
    patient_specificity: Share


class Floors(Section):
    """The floors by kind of candidate."""

    cnn: CnnFloors
    bag: BagFloors

    def of_kind(self, kind: str) -> dict[str, float]:
        """Those of one kind, by figure."""
        known: dict[str, float] = getattr(self, kind).model_dump()
        return known


class Gate(Section):
    """What a candidate must be, compared with the champion, to take its place."""

    min_gain: Annotated[float, Field(ge=0)]
    max_false_promotions: Annotated[float, Field(ge=0, le=0.5)]
    fewest_patients: Annotated[int, Field(ge=2)]
    draws: Annotated[int, Field(ge=100)]


class Register(Section):
    """What decides over a candidate."""

    floors: Floors
    gate: Gate


class Explain(Section):
    """Of which subtypes it is asked why, and how closely it is looked."""

    subtypes: list[Name]
    patients: Count
    cells: Count
    blocks: Annotated[int, Field(ge=4)]
    random_orders: Count


class Drift(Section):
    """Which new patients are compared with those of training, and how often that may be a false alarm."""

    window: Annotated[int, Field(ge=2)]
    fewest: Annotated[int, Field(ge=1)]
    looks_per_year: Annotated[int, Field(ge=1, le=366)]
    false_alarms_per_year: Annotated[float, Field(gt=0)]
    permutations: Annotated[int, Field(ge=100)]

    @model_validator(mode="after")
    def _an_alarm_is_possible(self) -> Self:
        level = self.false_alarms_per_year / self.looks_per_year
        if level >= 1:
            raise ValueError(f"false_alarms_per_year must be below looks_per_year, not {self.false_alarms_per_year:g}")
        if 1 / (self.permutations + 1) >= level:
            raise ValueError(f"permutations: so few give no p below {level:.3g}; at least {math.floor(1 / level) + 1}")
        if self.fewest > self.window:
            raise ValueError(f"fewest: {self.fewest} is above window ({self.window})")
        return self
