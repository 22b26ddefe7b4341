"""Set two states of the results beside each other, paired over patients: a page in Markdown, and a picture a result.

Beside the DAG: it reads two folders that `python -m flows compare` fills, and changes nothing of this checkout's results.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.common import files
from pipeline.common.config import Config
from pipeline.common.errors import ModelError
from pipeline.evaluation import plots
from pipeline.pages import two_states, two_states_page

WORSE = 3  # exit status: something got worse


def run(config: Config, before: Path, after: Path, names: tuple[str, str], notes: Sequence[str], output: Path) -> int:
    """Write comparison.md and its pictures to `output`; 0, or `WORSE` where a result got worse.

    Raises:
        ModelError: neither folder holds a result, or a file is damaged.
    """
    states = two_states.read(before), two_states.read(after)
    if not any(states):
        raise ModelError(f"{names[0]} and {names[1]}: neither holds a metrics.json below reports; run `dvc repro`")
    confidence = config.evaluate.confidence
    compared = two_states.compare(*states, config.register_.gate, confidence, config.seed)
    for one in compared:
        picture = output / two_states_page.picture(one.name)
        picture.unlink(missing_ok=True)  # of an earlier comparison
        if one.shared is not None and not one.same:
            files.write(picture, plots.png(plots.two_states(one.shared, one.name)))
    page = two_states_page.markdown(compared, names, notes, confidence)
    files.write(output / "comparison.md", page)
    return WORSE if any(one.worse for one in compared) else 0
