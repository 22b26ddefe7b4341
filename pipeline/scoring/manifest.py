"""What new patients' image files hold, as rows like those of a cohort's manifest: read and judged as `look` does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.common import console, parallel
from pipeline.images import manifest, manifest_row, reading
from pipeline.names import image_paths


def of(patients: Mapping[str, Mapping[str, Path]], class_of: Mapping[str, str]) -> pd.DataFrame:
    """The manifest of their images, by file name; what is wrong with one is in its `error`."""
    items = [
        (f"{class_of[patient]}/{patient}/{name}", file) for patient, files in patients.items() for name, file in files.items()
    ]
    rows = console.track(parallel.each(_row, items), len(items), "checking images")
    return manifest.drop_repeats(manifest.build(rows))


def _row(item: tuple[str, Path]) -> dict[str, object]:
    path, file = item
    found = manifest_row.empty_row(path, image_paths.name_fault(path))
    data, found["sha256"], unreadable = (b"", "", "") if found["error"] else reading.read(file)
    if found["error"] or unreadable:
        return found | {"error": found["error"] or unreadable}
    return found | manifest_row.what_is_seen(data, None)
