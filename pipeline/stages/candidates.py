"""Write what params.yaml says of every candidate as it counts for each subtype: data/candidates/<subtype>/<candidate>.json.

The stages of a candidate depend on its file, so that a change of one network leaves all others alone, also where a subtype
has no network of its own. What was made of candidates that are no longer named is removed, and so are the reports of subtypes
that are not; DVC's cache still has it, or git.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.common import console, files, paths
from pipeline.common.config import Config


def run(config: Config) -> None:
    """Write a file for every subtype and candidate, and remove what others left behind."""
    with files.folder_in_one_step(paths.CANDIDATES) as folder:
        for subtype in config.subtypes:
            (folder / subtype).mkdir()
            for name in config.candidates:
                settings = config.candidate_of(subtype, name)
                (folder / subtype / f"{name}.json").write_text(json.dumps(settings, indent=2) + "\n")
    for left_behind in _of_others(config):
        kind = "candidate" if left_behind.parent.name in config.subtypes else "subtype"
        console.say(f"candidates: {left_behind} removed: of no {kind} of params.yaml")
        if left_behind.is_dir():
            shutil.rmtree(left_behind)
        else:
            left_behind.unlink()
    console.say(f"candidates: {', '.join(config.candidates)} of {len(config.subtypes)} subtypes")


def _of_others(config: Config) -> Iterator[Path]:
    """What lies where a candidate's models, scores and reports belong, and is of none that params.yaml names."""
    names = set(config.candidates)
    for subtype in config.subtypes:
        for folder in (paths.MODELS, paths.SCORED, paths.EVALUATED, paths.REPORTS, paths.REPORTS / "audit"):
            for path in sorted((folder / subtype).glob("*")):
                if path.name.removesuffix(path.suffix).removesuffix("_networks") not in names:
                    yield path
    reports = {path.parents[1] for path in paths.REPORTS.glob("*/*/metrics.json")} | set((paths.REPORTS / "audit").glob("*/"))
    yield from sorted(path for path in reports if path.name not in config.subtypes)
    for place in (paths.EVALUATED, paths.REPORTS / "audit"):  # where a former version's lay, which knew one candidate
        yield from sorted(place.glob("*.json"))
