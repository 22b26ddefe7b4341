"""`python -m pipeline.demo FOLDER --scanner other`: another hospital's patients, drawn, for `python -m pipeline external`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.common import console, environment
from pipeline.common.errors import DataError, PipelineError
from pipeline.demo import cohort, folder
from pipeline.demo.hospitals import HOSPITALS

_PATIENTS = {folder.CONTROL: 40, **dict.fromkeys((*cohort.SUBTYPES, cohort.ON_DEMAND), 16)}
_SEED = 21  # params.yaml's is 20: with the same one these would be the same persons


def main(arguments: list[str] | None = None) -> int:
    """Draw it; 0 when it is there, 2 when the user has to mend something."""
    chosen = _parser().parse_args(arguments)
    try:
        folder.draw(chosen.folder, chosen.scanner, _counts(chosen.patients), chosen.seed)
    except PipelineError as error:
        console.fail(str(error))
        return error.status
    return 0


def _counts(text: str) -> dict[str, int]:
    found = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.strip().partition("=")
        if not number.isdecimal():
            raise DataError(f"--patients: {part!r} is not CLASS=NUMBER; write control=40,NPM1=16")
        found[name] = int(number)
    return found or dict(_PATIENTS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo", description="Draw a synthetic cohort into a folder.")
    parser.add_argument("folder", type=Path, help="where it goes; must not be there yet")
    parser.add_argument("--scanner", choices=list(HOSPITALS), default="home", help="the demo's, or another hospital's")
    parser.add_argument("--seed", type=int, default=_SEED, help="of the drawing; the demo's own is 20")
    parser.add_argument("--patients", default="", metavar="PAIRS", help="how many of each class: control=40,NPM1=16")
    return parser


if __name__ == "__main__":
    environment.run_program(main)
