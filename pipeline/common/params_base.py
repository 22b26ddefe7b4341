"""What all sections of params.yaml are made of: a frozen model that refuses unknown keys, and the types of its values."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0)]
Pooling = Literal["flatten", "mean"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]  # a folder, a DVC stage, an MLflow model
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel):
    """Base of all sections: unknown keys, loose types and what is no number are refused, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Penalties = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
InnerFolds = Annotated[int, Field(ge=2)]
Inside = Annotated[float, Field(gt=0, lt=1)]
Choices = Annotated[list[T], Field(min_length=1)]
