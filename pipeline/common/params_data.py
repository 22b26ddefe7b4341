"""The sections of params.yaml that say where images come from, what a cohort must satisfy, and how patients are dealt."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.common.params_base import Count, Name, Section, Share


class Demo(Section):
    """The synthetic cohort of source `demo`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    patients: dict[Name, Count]
    images_per_patient: Annotated[list[Count], Field(min_length=2, max_length=2)]
    diseased_share: Annotated[list[Share], Field(min_length=2, max_length=2)]
    unusable_share: Annotated[list[Share], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for key, (low, high) in (
            ("images_per_patient", self.images_per_patient),
            ("diseased_share", self.diseased_share),
            ("unusable_share", self.unusable_share),
        ):
            if low > high:
                raise ValueError(f"{key} must ascend, not [{low}, {high}]")
        return self


class Kaggle(Section):
    """The data set of source `kaggle`."""

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+/[A-Za-z0-9_.-]+$")]
    version: Count


class ArchiveLimits(Section):
    """What an archive may hold at most."""

    max_files: Count
    max_file_mb: Annotated[float, Field(gt=0)]
    max_total_gb: Annotated[float, Field(gt=0)]
    max_ratio: Annotated[float, Field(ge=1)]


class Ingest(Section):
    """Where the images come from."""

    source: Literal["demo", "folder", "kaggle"]
    cohort: Annotated[str, Field(min_length=1)]
    class_folders: dict[str, Name]
    pseudonyms: bool
    kaggle: Kaggle
    archive: ArchiveLimits
    demo: Demo


class Counts(Section):
    """Patients and image files of one class."""

    patients: Count
    images: Count


class LookAlike(Section):
    """When two images are taken for the same picture."""

    max_hash_bits: Annotated[int, Field(ge=0, le=16)]
    min_correlation: Annotated[float, Field(gt=0, le=1)]


class Validate(Section):
    """What a cohort must satisfy before anything is trained on it."""

    max_quarantined_share: Share
    min_images_per_patient: Count
    min_patients_per_class: Count
    look_alike: LookAlike
    max_deviation: Annotated[float, Field(gt=0)]
    expected: dict[Name, Counts] | None


class Split(Section):
    """How patients are dealt to folds."""

    n_folds: Annotated[int, Field(ge=3)]
    file: str | None  # a published dealing; None: they are dealt here


class Pack(Section):
    """The images as the networks see them."""

    px: Annotated[int, Field(ge=8, le=1024)]
