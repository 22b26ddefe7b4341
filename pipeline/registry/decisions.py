"""Who is champion, and what was judged, promoted and rolled back: data/decisions.jsonl, kept in git beside MLflow's own record.

A line is a decision that stands alone, with digests and no patient's name. Lines count by their time, wherever they stand, and
one that is there twice counts once: what git makes of two branches (`merge=union`) is both. Nothing is taken out or changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from pipeline.common import console, files, paths
from pipeline.common.checkout import git
from pipeline.common.errors import ModelError
from pipeline.registry import mlflow_address

Kind = Literal[
    "champion", "challenger", "not comparable", "promoted by hand", "rolled back", "champion again", "was champion in MLflow"
]
_JUDGED = ("champion", "challenger", "not comparable")
_CROWNED = ("champion", "promoted by hand", "champion again", "was champion in MLflow")
BY_HAND = ("promoted by hand", "champion again")


class Decision(BaseModel):
    """One line. `cohort` is the name that params.yaml gives the data: a champion reigns over the candidates of its own."""

    model_config = ConfigDict(frozen=True)

    time: AwareDatetime
    subtype: str
    cohort: str
    candidate: str  # as params.yaml calls it
    decision: Kind
    reason: str
    tried_before: int | None  # other candidates judged in this cohort; None where nothing was judged
    digest: str  # of the candidate, `model_files.identity`
    weights_sha256: dict[str, str]  # folder name -> SHA-256 of its weights
    patients_sha256: str  # of the keys of the patients it was scored on
    results_md5: str  # of `paths.evaluated`, as dvc.lock names it; empty where it is not known
    commit: str  # of the checkout that registered it; empty outside git
    dirty: bool
    replaced: str | None  # the digest of who was champion before


@dataclass(frozen=True)
class Reign:
    """A champion's time: the line that made it champion, until when, and what ended it; the last two None where it goes on."""

    line: Decision
    until: datetime | None = None
    ended: Decision | None = None


@dataclass
class History:
    """What the lines of one subtype and cohort come to."""

    champion: Decision | None = None  # the line that made it champion
    settled: datetime | None = None  # when somebody last became champion, or ceased to be
    rolled_back: dict[str, str] = field(default_factory=dict)  # digest -> why
    promoted: set[str] = field(default_factory=set)  # digests, by hand and not rolled back since
    replaced: dict[str, str] = field(default_factory=dict)  # digest -> whom it replaced
    latest: dict[str, Decision] = field(default_factory=dict)  # digest -> the last word on it
    judged: set[str] = field(default_factory=set)  # digests, whichever of the cohort's patients and images were there then
    unopposed: set[str] = field(default_factory=set)  # digests, made champion by the gate when there was none

    def by_hand(self, digest: str) -> str | None:
        """Why somebody made it the champion, if it is that and somebody did."""
        named = self.champion
        return named.reason if named and named.digest == digest and named.decision in BY_HAND else None

    def holds(self, digest: str, decision: str, reason: str) -> bool:
        """Whether this was the last word on a candidate already, and still is what it says."""
        last, reigns = self.latest.get(digest), self.champion is not None and self.champion.digest == digest
        return last is not None and (last.decision, last.reason) == (decision, reason) and reigns == (decision == "champion")

    def add(self, line: Decision) -> None:
        """The next line in order of time."""
        reigning = self.champion.digest if self.champion else None
        if line.decision == "champion" and reigning is None:
            self.unopposed.add(line.digest)
        if line.decision in _CROWNED:
            self.champion, self.settled = line, line.time
        elif line.digest == reigning:
            self.champion, self.settled = None, line.time
        if line.decision == "rolled back":
            self.rolled_back[line.digest] = line.reason
            self.promoted.discard(line.digest)
        elif line.decision == "promoted by hand":
            self.rolled_back.pop(line.digest, None)
            self.promoted.add(line.digest)
        if line.replaced and line.decision in _CROWNED and line.decision != "champion again":
            self.replaced[line.digest] = line.replaced
        if line.decision in _JUDGED:
            self.judged.add(line.digest)
        self.latest[line.digest] = line


def path() -> Path:
    """The file of this checkout, also where DVC runs an experiment in a copy of it."""
    return mlflow_address.home() / paths.DECISIONS


def read(subtype: str, cohort: str) -> History:
    """What was decided over the candidates of a subtype that were trained on a cohort.

    Raises:
        ModelError: a line of the file is none, or not a whole one.
    """
    history, file = History(), path()
    for line in parse(file.read_bytes(), str(file)) if file.exists() else []:
        if (line.subtype, line.cohort) == (subtype, cohort):
            history.add(line)
    return history


def parse(content: bytes, name: str) -> list[Decision]:
    """All decisions of a file's content, oldest first, each once.

    Raises:
        ModelError: a line is none, or not a whole one; the message calls the file `name`.
    """
    found: dict[str, Decision] = {}
    for number, text in enumerate(content.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = Decision.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            what = f"is no decision ({key}: {first['msg']})" if key else "is cut off, or no decision"
            raise ModelError(
                f"{name}, line {number}: {what}; `git diff {paths.DECISIONS}` shows what changed: mend the line or take it "
                "out, then run this again"
            ) from None
        found[line.model_dump_json()] = line
    return [line for _, line in sorted(found.items(), key=lambda item: (item[1].time, item[0]))]


def reigns(lines: Iterable[Decision]) -> list[Reign]:
    """Who was champion when, by the lines of one subtype and cohort in order of time; a gap between two is nobody's."""
    history, found = History(), list[Reign]()
    for line in lines:
        before = history.champion
        history.add(line)
        if history.champion is before:
            continue
        if before is not None:
            found[-1] = Reign(found[-1].line, line.time, line)
        if history.champion is not None:
            found.append(Reign(history.champion))
    return found


def append(lines: Sequence[Decision]) -> None:
    """Write decisions down, all of them or none, after what stands there. To be called while `mlflow_server.deciding`."""
    if not lines:
        return
    file = path()
    lock = mlflow_address.home() / paths.CHECKPOINTS / "decisions.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):  # other addresses of MLflow's have other locks
        before = file.read_bytes() if file.exists() else b""
        end = b"" if not before or before.endswith(b"\n") else b"\n"
        files.write(file, before + end + b"".join(line.model_dump_json().encode() + b"\n" for line in lines))


def tell() -> None:
    """One line, as long as there are decisions that are in no commit: it is the user who commits."""
    if git("status", "--porcelain", "--untracked-files=all", "--", str(path())):
        console.say(
            f"{paths.DECISIONS}: has decisions that are not committed; commit it, with params.yaml, dvc.lock and reports"
        )


def now() -> datetime:
    """The time of a decision."""
    return datetime.now(UTC)
