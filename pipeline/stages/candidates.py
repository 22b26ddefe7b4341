"""Write what params.yaml says of every candidate as it counts for each subtype: data/candidates/<subtype>/<candidate>.json.

The stages of a candidate depend on its file, so that a change of one network leaves all others alone, also where a subtype
has no network of its own. What was made of candidates and encoders that are no longer named is removed, and so are the reports
of subtypes that are not; DVC's cache still has it, or git. What .vectors keeps of such an encoder is named alone: to make it
again takes long, and no cache has it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.common import console, files, paths
from pipeline.common.config import Config

_BY_SUBTYPE = ("audit", "explained")  # folders of reports with one for every subtype


def run(config: Config) -> None:
    """Write a file for every subtype and candidate, and remove what others left behind."""
    with files.folder_in_one_step(paths.CANDIDATES) as folder:
        for subtype in config.subtypes:
            (folder / subtype).mkdir()
            for name in config.candidates:
                settings = config.candidate_of(subtype, name)
                (folder / subtype / f"{name}.json").write_text(json.dumps(settings, indent=2) + "\n")
    for left_behind in _of_others(config):
        console.say(f"candidates: {left_behind} removed: params.yaml names no such thing; git keeps what was committed")
        if left_behind.is_dir():
            shutil.rmtree(left_behind)
        else:
            left_behind.unlink()
    if unused := [kept.name for kept in sorted(paths.KEPT_VECTORS.glob("*")) if kept.name not in config.encoders]:
        console.say(
            f"candidates: {paths.KEPT_VECTORS} keeps vectors of {', '.join(unused)}, no encoder of params.yaml; delete what "
            "will not be needed again"
        )
    console.say(f"candidates: {', '.join(config.candidates)} of {len(config.subtypes)} subtypes")


def _of_others(config: Config) -> Iterator[Path]:
    """What lies where candidates' models, scores and reports and encoders' vectors belong, of none that params.yaml names."""
    encoders = {*config.encoders, *(f"{subtype}-{name}" for subtype in config.subtypes for name in config.embed_networks)}
    for folder in sorted(paths.VECTORS.glob("*")):
        if folder.name.removeprefix(".").removesuffix(".unfinished") not in encoders:
            yield folder
    names = set(config.candidates)
    for subtype in (*config.subtypes, "call"):
        for folder in (paths.MODELS, paths.SCORED, paths.EVALUATED, paths.REPORTS, *(paths.REPORTS / of for of in _BY_SUBTYPE)):
            for path in sorted((folder / subtype).glob("*")):
                name = path.name.removesuffix(path.suffix).removesuffix("_networks").removesuffix("_classes")
                if name not in names and path != paths.verdicts(subtype):  # which is of all candidates
                    yield path
    yield from sorted(folder for folder in paths.SUSPICION.glob("*/") if folder.name not in names)
    reports = {path.parents[1] for path in paths.REPORTS.glob("*/*/metrics.json")} | set((paths.REPORTS / "audit").glob("*/"))
    yield from sorted(path for path in reports if path.name not in (*config.subtypes, "call", "transfer", "tune"))
    for place in (paths.EVALUATED, paths.REPORTS / "audit"):  # where a former version's lay, which knew one candidate
        yield from sorted(place.glob("*.json"))
