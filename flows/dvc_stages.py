"""The one place that runs DVC's commands: a stage as `dvc repro` would, and the pipeline's commands that are no stage.

Whoever runs a stage this way and whoever types `dvc repro` work on the same files under the same locks, so both can be mixed at
any moment.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows import ROOT, child_process, dvc_locks
from flows.dag import Stage
from flows.errors import FlowError, UnreachableError
from pipeline.common import dvc_leftovers

State = Literal["ran", "restored", "unchanged"]
UNREACHABLE = 75  # exit status of `python -m pipeline` when a service does not answer: worth another try
_DVC = ("dvc", "--wait-for-lock")  # without it DVC gives up after 3 s when another one is at work
_NEXT = ("ERROR: ", "WARNING: ", "Having any troubles")  # how DVC begins what is no longer of an error
# What DVC says to a person behind every stage: a flow's log has it dozens of times, and nobody types there.
_HINT = re.compile(
    r"\s*$|To track the changes with git|\s+git add |To enable auto staging|\s+dvc config core\.autostage|Use `dvc push`"
)
_RESTORED = re.compile(r"cached - skipping run|checking out outputs|Fetching")


@dataclass(frozen=True)
class StageOutcome:
    """What became of a stage: it ran, its outputs were restored from an earlier run, or nothing had changed."""

    stage: str
    state: State
    seconds: float


def run_stage(
    stage: str,
    *,
    force: bool = False,
    pull: bool = False,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> StageOutcome:
    """Bring one stage up to date, each line of its output given to `say` as it comes.

    Args:
        stage: as DVC names it: `validate`, `train@NPM1-published-0`.
        force: also when nothing changed.
        pull: fetch what is missing, outputs of an earlier run included, from the remote.
        say: told every line.
        environment: variables in addition to this process's.
        folder: the checkout.

    Raises:
        UnreachableError: a service did not answer.
        FlowError: the stage failed; the message is the line that says why.
    """
    options = [*(["--force"] if force else []), *(["--pull"] if pull else [])]
    command = [*_DVC, "repro", "--single-item", *options, stage]
    started = time.monotonic()
    state: State = "unchanged"

    def hear(line: str) -> None:
        nonlocal state
        if line.startswith("Running stage"):
            state = "ran"
        elif state == "unchanged" and _RESTORED.search(line):
            state = "restored"
        if not _HINT.match(line):
            say(line)

    dvc_locks.release_the_gone(folder)
    dvc_leftovers.clear_cache(folder / ".dvc")
    status, lines = child_process.run(command, folder, hear, environment)
    if child_process.flow_ends_within(0):
        raise FlowError(f"{stage}: ended with the flow")
    if status != 0:
        reason = _find_reason(lines) or f"{' '.join(command)} ended with status {status}"
        kind = UnreachableError if any(f"exited with {UNREACHABLE}" in line for line in lines) else FlowError
        raise kind(f"{stage}: {reason}")
    return StageOutcome(stage, state, time.monotonic() - started)


def forget_training(stage: Stage, folder: Path = ROOT) -> None:
    """Delete the checkpoints of a training, among which a finished one is remembered too, so that it starts anew."""
    for checkpoint in (folder / ".checkpoints").glob(f"{stage.subtype}-{stage.candidate}-fold-{stage.fold}-*"):
        if checkpoint.is_file():
            checkpoint.unlink()


def cache(folder: Path) -> Path:
    """Where the checkout keeps DVC's cache, by whichever of DVC's settings."""
    return Path(run_dvc("cache", "dir", say=lambda line: None, folder=folder)[-1].strip())


def run_dvc(*arguments: str, say: Callable[[str], None], folder: Path = ROOT) -> list[str]:
    """Run another command of DVC; the last lines of its output.

    Raises:
        FlowError: it failed; the message is DVC's.
    """
    dvc_locks.release_the_gone(folder)
    dvc_leftovers.clear_cache(folder / ".dvc")
    status, lines = child_process.run([*_DVC, *arguments], folder, say)
    if status != 0:
        raise FlowError(f"dvc {arguments[0]}: {_find_reason(lines) or f'ended with status {status}'}")
    return lines


def run_pipeline(
    *arguments: str,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    fine: Collection[int] = (0,),
    folder: Path = ROOT,
) -> tuple[int, list[str]]:
    """Run a command of the pipeline that is not a stage; its exit status, one of `fine`, and the last lines of its output.

    Raises:
        UnreachableError: a service did not answer.
        FlowError: it failed; the message is the line that says why.
    """
    status, lines = child_process.run(["python", "-m", "pipeline", *arguments], folder, say, environment)
    if status not in fine:
        kind = UnreachableError if status == UNREACHABLE else FlowError
        raise kind(_find_reason(lines) or f"python -m pipeline {' '.join(arguments)} ended with status {status}")
    return status, lines


def find_changed_stages(folder: Path = ROOT) -> Mapping[str, object]:
    """The stages whose inputs, parameters or outputs are not what dvc.lock says, in one question to DVC.

    Raises:
        FlowError: DVC cannot tell; the message says why.
    """
    lines = run_dvc("status", "--json", say=lambda _line: None, folder=folder)
    try:
        answer: dict[str, object] = json.loads(lines[-1])
    except (json.JSONDecodeError, IndexError):
        raise FlowError(f"dvc status: {_find_reason(lines) or 'no answer'}") from None
    return answer


def _find_reason(lines: list[str]) -> str:
    """Why a command failed, on one line: the pipeline's own where there is one, else all that DVC says of it, else the last."""
    for line in lines:
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    for number, line in enumerate(lines):
        if line.startswith("ERROR: "):
            rest = itertools.takewhile(lambda other: not other.startswith(_NEXT), lines[number + 1 :])
            return " ".join(part.strip() for part in (line.removeprefix("ERROR: "), *rest))
    return lines[-1] if lines else ""
