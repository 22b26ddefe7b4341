"""What calls a new patient, as files: a folder a fold with its regression, the fold's patients as numbers, and a spec.

The regression of a fold is the mean of those without it, which is one again, as all are linear. Of the fold's patients it keeps
the class and how strange they looked in it: by these a new patient is held against them, and nobody is named.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calling import answer, calls
from pipeline.calling.answer import Floats, Ints
from pipeline.calling.calls import Joint
from pipeline.calling.patients import Everybody
from pipeline.common import files, paths
from pipeline.common.config import Config
from pipeline.folds import image_weights

COEFFICIENTS = "coefficients.npz"
_PACKAGE = Path(__file__).parents[1]
_ROOMS = ("bags", "calling", "folds")


def write(config: Config, candidate: str, everybody: Everybody, found: Joint, folder: Path) -> None:
    """A folder `fold-<k>` in `folder` for every fold of the dealing; with roles, for that of those who validate."""
    scores, labels = found.scores, everybody.labels
    rows, logits = scores.out_of_fold(scores.known)
    temperature = calls.temperature(labels[rows], logits)
    inputs = digests(config, config.bag_of(candidate).encoder)
    for k in scores.known:
        place = folder / f"fold-{k}"
        place.mkdir()
        kept = {**of_fold(found, labels, k), "quantiles": np.array(config.call.quantiles)}
        np.savez(place / COEFFICIENTS, allow_pickle=False, **kept)  # the same bytes again: no time is in it
        about = spec(config, candidate, k, temperature, everybody, inputs)
        (place / "spec.json").write_text(json.dumps(about, indent=2) + "\n")


def of_fold(found: Joint, labels: Ints, k: int) -> dict[str, Floats | Ints]:
    """The regression without fold k, and class and strangeness in it of the patients of fold k, in no order of theirs."""
    regressions = [found.coefficients[pair] for pair in found.scores.pairs if k in pair]
    classes = labels[found.scores.rows(k)]
    strange = answer.strangeness(found.scores.tested(k))[np.arange(len(classes)), classes]
    order = np.lexsort((strange, classes))
    return {
        **{name: np.mean([one[name] for one in regressions], axis=0) for name in ("weights", "intercept")},
        "classes": classes[order],
        "strangeness": strange[order],
    }


def digests(config: Config, encoder: str) -> dict[str, str]:
    """SHA-256 of the vectors, the splits and the code behind a call."""
    code = [module for room in _ROOMS for module in sorted((_PACKAGE / room).glob("*.py"))] + [_PACKAGE / "stages" / "call.py"]
    vectors = [path for name in config.classes for path in (paths.vectors(encoder, name), paths.vector_rows(encoder, name))]
    return {
        "vectors": files.sha256_of_all(vectors),
        "split": files.sha256_of_all([paths.split_table(subtype) for subtype in config.subtypes]),
        "code": files.sha256_of_all(code),
    }


def spec(
    config: Config, candidate: str, k: int, temperature: float, everybody: Everybody, inputs: dict[str, str]
) -> dict[str, Any]:
    """All that is needed to answer with a fold's coefficients, and what they follow from."""
    known = config.bag_of(candidate)
    settings = config.call
    contents = {
        "kind": "call",
        "subtype": "call",
        "candidate": candidate,
        "classes": list(everybody.names),
        "fold": k,
        "um": config.image_um,
        "encoder": {"name": known.encoder, **everybody.encoder},
        "temperature": temperature,
        "knobs": {
            "encoder": known.encoder,
            **settings.model_dump(exclude={"candidates"}),  # who else calls changes nothing
            "seed": config.seed,
            "n_folds": config.split.n_folds,
        },
        "machine": {"kind": "cpu", "name": platform.machine()},
        "inputs": inputs,
        **image_weights.curated(pd.Series(0.0, index=sorted(everybody.left_out))),
    }
    return {**contents, "training": hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()}
