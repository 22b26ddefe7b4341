"""The sections of params.yaml that say what is tried beside the main line: a search for a network, transfer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.common.params_base import Choices, Count, Decay, LearningRate, Name, Pooling, Rate, Section


class Whole(Section):
    """Whole numbers from `low` to `high`."""

    low: Count
    high: Count
    step: Count


class Rates(Section):
    """Learning rates from `low` to `high`."""

    low: LearningRate
    high: LearningRate


class Space(Section):
    """Among which networks a search looks."""

    first_conv: Whole
    blocks: Whole
    conv: Whole
    dense: Whole
    learning_rate: Rates
    px: Choices[Count]
    pooling: Choices[Pooling]
    dropout: Choices[Rate]
    weight_decay: Choices[Decay]
    stain_jitter: Choices[Rate]

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for key in ("first_conv", "blocks", "conv", "dense", "learning_rate"):
            if getattr(self, key).low > getattr(self, key).high:
                raise ValueError(f"{key}: low is above high")
        return self


class Pruning(Section):
    """When a trial is given up."""

    after_trials: Count
    after_epochs: Count


class Tune(Section):
    """How a better network is searched."""

    fold: Annotated[int, Field(ge=0)]
    patients: Literal["train", "all"]
    trials: Count
    folds_per_trial: Count
    max_epochs: Count
    pruning: Pruning
    finalists: Count
    seeds: Annotated[int, Field(ge=2)]
    space: Space


class Transfer(Section):
    """How a subtype of few patients is learned, beside the others."""

    base: Name
    general: Name
    patients: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]
    from_scratch: bool

    @model_validator(mode="after")
    def _numbers_ascend(self) -> Self:
        if self.patients != sorted(set(self.patients)):
            raise ValueError(f"patients must ascend, not {self.patients}")
        return self


class Suspect(Section):
    """How it is learned which images of a leukaemia patient look like a healthy donor's."""

    encoder: Name
    images_per_patient: Count
    penalty: Annotated[float, Field(gt=0)]
    inner_folds: Annotated[int, Field(ge=2)]


class Curate(Section):
    """Which images the review page shows."""

    neighbours: Count
    shown: Count
    flagged_share: Annotated[float, Field(gt=0, lt=1)]
