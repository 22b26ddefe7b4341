"""`python -m flows history`: who was champion when, why, by whose decision, from which data, and how to have it back.

It reads data/decisions.jsonl, git's commits and DVC's cache alone: MLflow is not asked, and need not be there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path

from flows import commits, decision_chain, restorable
from flows.commits import Commit
from flows.decision_chain import Chain
from flows.errors import FlowError
from pipeline.common import paths
from pipeline.common.errors import PipelineError
from pipeline.registry import bringing_back, decisions
from pipeline.registry.decisions import Decision, Reign

_FILE = str(paths.DECISIONS)
_MOST_LINES = 5  # of a break, that are shown


def run(subtype: str, on: str | None = None) -> int:
    """Print a subtype's champions, or the one of a day or time; 0 where the file's chain is whole, 1 where it is broken.

    Raises:
        FlowError: nothing can be said, and why.
    """
    moment = _moment(on) if on else None
    commits.require_whole_history()
    try:
        working = Path(_FILE).read_bytes() if Path(_FILE).exists() else b""
        chain = decision_chain.read(_FILE, working)
        if not chain.first:
            raise FlowError(f"{_FILE}: not there, and in no commit; `python -m pipeline register` writes it")
        lines, written = decisions.parse(working, _FILE), _ever_written(chain)
        _require_known(subtype, [line for line, _ in written])
        own = [line for line in lines if line.subtype == subtype]
        whole = [line for line, _ in written if line.subtype == subtype]
        first = {line.model_dump_json(): commit for line, commit in written}
        said = [*_breaks(chain), *_otherwise(own, whole, moment), *_of_subtype(subtype, own, moment, first)]
    except PipelineError as error:
        raise FlowError(str(error)) from None
    sys.stdout.write("\n".join(said) + "\n")
    return 1 if chain.breaks else 0


def _moment(told: str) -> datetime:
    """The end of a day, or a time of it; UTC, unless it says which."""
    try:
        day = len(told) <= len("2026-11-01")
        found = datetime.combine(date.fromisoformat(told), time.max) if day else datetime.fromisoformat(told)
    except ValueError:
        raise FlowError(f"--on {told}: is no date; write year, month and day, as in 2026-11-01") from None
    found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    if found.date() > datetime.now(UTC).date():
        raise FlowError(f"--on {told}: lies ahead; leave it out for the champion of now")
    return found


def _said(moment: datetime | None) -> str:
    if moment is None:
        return "now"
    of_day = "(end of the day, UTC)" if moment.time() == time.max else f"at {moment:%H:%M} UTC"
    return f"on {moment:%Y-%m-%d} {of_day}"


def _require_known(subtype: str, lines: Sequence[Decision]) -> None:
    known = sorted({line.subtype for line in lines})
    if subtype not in known:
        raise FlowError(f"{_FILE}: has no decision over {subtype}; it has some over {', '.join(known) or 'nothing'}")


def _ever_written(chain: Chain) -> list[tuple[Decision, Commit | None]]:
    """All decisions and the first commit that holds each, by their time, those taken out again included."""
    found = []
    for line, commit in chain.first.items():
        try:
            found += [(decision, commit) for decision in decisions.parse(line, _FILE)]
        except PipelineError:  # one that was mended since; it is among the breaks
            continue
    return sorted(found, key=lambda one: one[0].time)


def _breaks(chain: Chain) -> Iterator[str]:
    for broken in chain.breaks:
        many = f"{len(broken.lines)} line{'s' if len(broken.lines) > 1 else ''}"
        yield f"BROKEN CHAIN: {many} of {_FILE} went between commit {broken.before} and {broken.after}:"
        yield from (f"    {_shown(line)}" for line in broken.lines[:_MOST_LINES])
        if len(broken.lines) > _MOST_LINES:
            yield f"    and {len(broken.lines) - _MOST_LINES} more"
        again = " (they stand there again)" if chain.standing.issuperset(broken.lines) else ""
        yield f"    `git log -p -- {_FILE}` shows all of it{again}"
    if chain.breaks:
        yield ""


def _shown(line: bytes) -> str:
    try:
        (found,) = decisions.parse(line, _FILE)
    except PipelineError:
        return line.decode(errors="replace")[:100]
    return f"{found.time:%Y-%m-%d %H:%M} {found.subtype} {_who(found)} {found.decision}: {found.reason}"


def _otherwise(lines: Sequence[Decision], whole: Sequence[Decision], moment: datetime | None) -> Iterator[str]:
    """What the lines that were taken out would change."""
    for cohort in dict.fromkeys(line.cohort for line in whole):
        with_them, without = (_champion(decisions.reigns(_of(every, cohort)), moment) for every in (whole, lines))
        if with_them != without:
            said = [f"{_who(reign.line)}" if reign else "nobody" for reign in (with_them, without)]
            yield f"cohort {cohort}: by all lines ever written {said[0]} is champion, by those that stand {said[1]}"


def _of_subtype(
    subtype: str, lines: Sequence[Decision], moment: datetime | None, first: dict[str, Commit | None]
) -> Iterator[str]:
    if moment and lines and moment < lines[0].time:
        raise FlowError(f"--on {moment:%Y-%m-%d}: the first decision over {subtype} is of {lines[0].time:%Y-%m-%d %H:%M} UTC")
    for cohort in dict.fromkeys(line.cohort for line in lines):
        own = decisions.reigns(_of(lines, cohort))
        reign = _champion(own, moment)
        yield f"{subtype}, cohort {cohort}, {_said(moment)}: {_who(reign.line) if reign else 'nobody is champion'}"
        if not moment:
            yield from _table(own)
        if reign:
            yield from _details(reign, first)
        yield ""


def _table(reigns: Sequence[Reign]) -> Iterator[str]:
    yield ""
    for reign in reigns:
        until = f"{reign.until:%Y-%m-%d %H:%M}" if reign.until else "now"
        how = f"{reign.line.decision}: {reign.line.reason}"
        yield f"  {reign.line.time:%Y-%m-%d %H:%M} to {until:16}  {_who(reign.line)}  {how}"


def _details(reign: Reign, first: dict[str, Commit | None]) -> Iterator[str]:
    line = reign.line
    commit = first.get(line.model_dump_json())
    found = restorable.find(line)
    held = f"written down in commit {commit}" if commit else "in no commit yet"
    by = "the gate" if line.decision == "champion" else "hand" if line.decision in decisions.BY_HAND else "an earlier MLflow"
    yield ""
    yield f"  why       {line.decision}: {line.reason}"
    yield f"  decided   {line.time:%Y-%m-%d %H:%M} UTC by {by}; {held}"
    if line.tried_before is not None:
        yield f"  among     {line.tried_before + 1} candidates of this cohort tried until then"
    if line.replaced:
        yield f"  replaced  {line.replaced}"
    if reign.ended and reign.until:
        yield f"  until     {reign.until:%Y-%m-%d %H:%M} UTC ({_who(reign.ended)} {reign.ended.decision}: {reign.ended.reason})"
    yield f"  digest    {line.digest}"
    yield from (f"  weights   {fold} sha256 {digest}" for fold, digest in sorted(line.weights_sha256.items()))
    yield f"  patients  sha256 {line.patients_sha256 or 'not known'} (of their keys)"
    yield from (f"  data      {path} {digest}" for path, digest in sorted(found.data.items()))
    yield from _way_back(line, found, is_champion=reign.until is None)


def _way_back(line: Decision, found: restorable.Restorable, is_champion: bool) -> Iterator[str]:
    if not found.held:
        yield f"  NOT RESTORABLE bit for bit: {found.why}"
        return
    commit = commits.describe([found.commit])[found.commit]
    yield f"  held by   commit {commit}, whose dvc.lock names its results md5 {line.results_md5}"
    if line.dirty:
        yield f"            (registered from an uncommitted state of {line.commit[:12]}, committed since)"
    yield f"  files     {found.objects}"
    yield f"            weights: {found.weights}"
    yield ""
    yield "  brought back, bit for bit, by:"
    yield from (f"    {command}" for command in bringing_back.commands(line, found.commit))
    if not is_champion:
        yield f"    python -m pipeline promote {line.subtype} <version> --because ...   # if it is to be champion again"


def _of(lines: Sequence[Decision], cohort: str) -> list[Decision]:
    return [line for line in lines if line.cohort == cohort]


def _champion(reigns: Sequence[Reign], moment: datetime | None) -> Reign | None:
    """Whose time a moment, or now, falls into."""
    at = moment or datetime.max.replace(tzinfo=UTC)
    return next((one for one in reigns if one.line.time <= at and (one.until is None or one.until > at)), None)


def _who(line: Decision) -> str:
    return f"{line.candidate} {line.digest[:8]}"
