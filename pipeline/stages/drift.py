"""Do new patients look like those whom the models learned from? A look at the newest of them. Not a stage: nothing is trained.

New are the patients whom `predict` scored (predictions/new_patients.parquet), or, with --delivery, those of the cohort whom
the champion was not registered with. What is found is printed, and goes to MLflow and predictions/looks.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.common import console, files
from pipeline.common.config import Config
from pipeline.common.errors import ModelError
from pipeline.common.params_judging import Drift
from pipeline.drift import history, known_patients, look, summaries
from pipeline.drift.look import Look
from pipeline.registry import bringing_back, drift_runs, mlflow_server, versions

ALARM = 3  # exit status
PREDICTED, DELIVERED = "predicted", "delivered"


def run(config: Config, delivery: bool, output: Path | None) -> int:
    """Take a look, and print what was seen; 0, or `ALARM`. `output` is a JSON that says it too.

    Raises:
        ModelError: no champion says with which patients it was registered.
    """
    client, now, of = mlflow_server.connect(), datetime.now(UTC), DELIVERED if delivery else PREDICTED
    seen_before = None if delivery else history.read()
    with mlflow_server.answering():
        found = drift_runs.watched(client, config.subtypes, "" if seen_before is None else history.last_model(seen_before))
        if found is None:
            raise ModelError(
                f"MLFLOW_TRACKING_URI: there is no champion at {mlflow_server.shown_address()}, so nobody to compare with; "
                "run `python -m pipeline register` where the models were trained, or name another address"
            )
        version, known = found
        name = f"{version.name} v{version.version}"
        if known.empty:
            raise ModelError(
                f"{name}: was registered by a version that kept nothing of the training patients to compare with; run "
                f"`{bringing_back.register(version.name)}` where it was trained"
            )
        if seen_before is None:
            new = _delivered(config, version, known)
        else:
            new = history.of_model(seen_before, versions.identity(version), known)
        rules = config.drift
        if delivery:  # nobody of it is newer than another
            rules = rules.model_copy(update={"window": max(rules.window, len(new))})
        seen = look.look(known, new, rules, config.seed)
        with history.alone():  # of two looks at the same moment one counts
            past = [one for one in history.looks() if one["of"] == of and one["counts"]]
            counts = seen.state in (look.DRIFT, look.SAME) and _is_due(past, now, config.drift.looks_per_year)
            about = _about(seen, name, of, counts, now)
            history.add_look({**about, "run": drift_runs.log(client, seen, about)})
    _show(seen, about, past[-1]["time"] if past else "", rules)
    if output:
        files.write(output, json.dumps(about, indent=2) + "\n")
    return ALARM if about["alarm"] else 0


def _delivered(config: Config, version: versions.Version, known: pd.DataFrame) -> pd.DataFrame:
    """The patients of the cohort whom the champion was not registered with; by its encoder's vectors, if these are there."""
    encoder, digest = (version.tags.get(tag, "") for tag in (versions.ENCODER, versions.ENCODER_DIGEST))
    are_there = encoder in config.encoders and known_patients.vectors_are_there(config, encoder, digest)
    everybody = known_patients.of_cohort(config, encoder if are_there else None)
    return everybody[~summaries.known_again(everybody["keys"], known["keys"])]


def _is_due(past: Sequence[Mapping[str, Any]], now: datetime, looks_per_year: int) -> bool:
    """Whether a look counts: not where the last that did is more recent than the schedule would have it."""
    apart = timedelta(days=365 // looks_per_year) - timedelta(hours=1)  # a clock that is put forward
    return not past or now - datetime.fromisoformat(str(past[-1]["time"])) >= apart


def _about(seen: Look, name: str, of: str, counts: bool, now: datetime) -> dict[str, Any]:
    """A look as it is written down."""
    return {
        "time": now.isoformat(timespec="seconds"),
        "of": of,
        "model": name,
        "state": seen.state,
        "alarm": seen.alarm and counts,
        "counts": counts,
        "level": seen.level,
        "within": seen.within,
        "known": seen.known,
        "new": seen.new,
        **({"p": seen.found.p_value} if seen.found else {}),
        "views": {key: asdict(view) for key, view in seen.found.views.items()} if seen.found else {},
        "not_seen": seen.not_seen,
        "mix": seen.calls,
        "words": seen.in_words(),
    }


def _show(seen: Look, about: Mapping[str, Any], last: str, rules: Drift) -> None:
    if seen.found:
        title = f"{about['of']} patients against the training cohort of {about['model']}"
        console.table(title, ["seen by", "distance, 1 by chance", "p alone", "p among all"], seen.rows())
    for view, why in seen.not_seen.items():
        console.say(f"not seen by {view}: {why}")
    if seen.calls and seen.new:
        mix = ", ".join(f"{name} {known:.0%} then, {new:.0%} now" for name, (known, new) in seen.calls.items())
        console.say(f"mix of classes, which is held equal ({about['within']}): {mix}")
    elif seen.found:
        console.say("patients of any class are compared: another mix of classes is a difference too")
    few = "of so few no p can be as low" if seen.found else f"{rules.fewest} new ones are needed"
    console.say(f"drift: {seen.in_words()}" + (f"; {few}" if seen.state == look.FEW else ""))
    if seen.alarm and not about["counts"]:
        console.say(
            f"no alarm: {rules.looks_per_year} looks a year count (drift.looks_per_year), and the last that did is of {last}"
        )
    elif seen.alarm:
        console.say(
            "nothing is trained because of this: look at the newest patients' pages, then at staining, scanner and focus"
        )
