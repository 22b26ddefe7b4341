"""What the stages before `explain` leave, as far as it reads them: images, manifest and scores."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.common import paths


def put_images(images: dict[str, np.ndarray]) -> None:
    """The files, and the manifest that names each by its digest."""
    rows = []
    for path, pixels in images.items():
        buffer, file = io.BytesIO(), paths.RAW / path
        Image.fromarray(pixels).save(buffer, "TIFF")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buffer.getvalue())
        rows.append((path, hashlib.sha256(buffer.getvalue()).hexdigest()))
    pd.DataFrame(rows, columns=["path", "sha256"]).to_parquet(paths.MANIFEST, index=False)


def put_scores(subtype: str, candidate: str, folds: int) -> None:
    """The table of `evaluate`, of the folds' own predictions."""
    parts = [pd.read_parquet(paths.fold(subtype, candidate, k) / "predictions.parquet").assign(fold=k) for k in range(folds)]
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(calibrated_logit=table["logit"], score=0.5, called=False, claimed=True, intercept=0.0, slope=1.0)
    paths.scored(subtype, candidate).parent.mkdir(parents=True)
    table.to_parquet(paths.scored(subtype, candidate), index=False)
