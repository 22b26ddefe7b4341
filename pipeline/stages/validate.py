"""Check every file of data/raw; write data/manifest.parquet and reports/validation/.

Whatever is wrong with a file becomes a line of the quarantine. Whatever is wrong with the cohort breaks a rule, which
stops the run, after everything a person needs to see it has been written.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd

from pipeline.common import console, made, parallel, paths
from pipeline.common.config import Config
from pipeline.common.errors import DataError
from pipeline.common.files import write
from pipeline.curation import review
from pipeline.images import decoding, look_alikes, manifest, manifest_row, reading
from pipeline.names import image_paths
from pipeline.validation import data_docs, expectations, rule_tables, rules

_OF_QUARANTINE = {"class_present", "enough_patients", "enough_images", "few_quarantined"}  # rules that too much of it breaks
_NAMED = 3  # offenders of a rule on the terminal; the page has more
DATA_DOCS = paths.VALIDATION / "data_docs" / "index.html"


def run(config: Config) -> None:
    """Look at every file, judge the cohort by the rules, and write the manifest, the quarantine and the rules' results.

    Raises:
        DataError: there is nothing to validate, exclude.csv or review.csv names what is not there, or a rule is broken.
    """
    files = sorted(_files(paths.RAW))
    if not files:
        raise DataError(f"{paths.RAW}: holds no files; run `dvc repro`")
    missing = made.rows(paths.NOT_COPIED, dtype="str", keep_default_na=False)
    known = [*(manifest_row.relative(file)[0] for file in files), *missing["path"]]
    excluded = manifest.excluded(
        known,
        [*_exclusions(paths.EXCLUDE), *_of_wrong_patients(set(known), config)],
        str(paths.EXCLUDE),
        config.ingest.pseudonyms,
    )
    not_copied = (manifest_row.not_copied(path, reason) for path, reason in missing.itertuples(index=False))
    frame = manifest.build(chain(_read_all(files, config.image_px), not_copied))
    frame = _mark_look_alikes(manifest.drop_repeats(manifest.exclude(frame, excluded)), config)
    listed = made.rows(paths.PATIENTS, dtype="str", keep_default_na=False)
    asked = rules.of(config, rule_tables.names_batches(listed))
    findings = expectations.check(asked, tables := rule_tables.build(frame, listed, config))
    counts = rule_tables.class_counts(frame, config.classes)
    write(paths.MANIFEST, _parquet(frame))
    write(paths.VALIDATION / "quarantine.csv", _quarantine(frame))
    write(paths.VALIDATION / "validation.json", _report(findings, counts))
    shown = {one.rule.name: data_docs.pictures(one, frame, tables["patients"], paths.RAW) for one in findings}
    cohort = made.values(paths.SOURCE)["cohort"]
    write(DATA_DOCS, data_docs.page(cohort, counts, findings, shown))
    _show(findings, counts, frame)
    _require_all_hold(findings, frame)


def _files(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """All that lies in a folder, links followed, however deep."""
    try:
        state = folder.stat()
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        raise DataError(f"{folder}: not found; run `dvc repro`") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); correct its permissions") from None
    here = (state.st_dev, state.st_ino)
    if here in above:
        raise DataError(f"{folder}: is a link to a folder above itself; remove it")
    for entry in entries:
        if entry.is_dir():
            yield from _files(Path(entry.path), above | {here})
        else:
            yield Path(entry.path)


def _read_all(files: Sequence[Path], image_px: int) -> Iterator[dict[str, object]]:
    """The manifest's rows, in the order of `files`."""
    rows = parallel.each(partial(manifest_row.row, image_px=image_px), files)
    yield from console.track(rows, len(files), "checking images")


def _mark_look_alikes(frame: pd.DataFrame, config: Config) -> pd.DataFrame:
    usable = manifest.usable(frame)
    alike = config.validate_.look_alike

    def thumbnail(position: int) -> look_alikes.Thumbnail:
        return decoding.thumbnail(reading.pixels(paths.RAW / usable["path"].iloc[position]))

    first = look_alikes.groups(usable["phash"].tolist(), thumbnail, alike.max_hash_bits, alike.min_correlation)
    return manifest.mark_look_alikes(frame, first.tolist())


def _exclusions(table: Path) -> list[manifest.Exclusion]:
    _say_unread(table)
    if not table.exists() and not table.is_symlink():
        return []
    try:
        lines = csv.reader(io.StringIO(table.read_text(encoding="utf-8-sig")), strict=True)
        rows = [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV table ({error}); its first line must be patient,path,reason") from None
    if not rows or rows[0][1] != manifest.EXCLUSION_COLUMNS:
        raise DataError(f"{table} line 1: must be {','.join(manifest.EXCLUSION_COLUMNS)}")
    found = []
    for line, cells in rows[1:]:
        if len(cells) != len(manifest.EXCLUSION_COLUMNS):
            raise DataError(f"{table} line {line}: has {len(cells)} columns; quote a reason that holds a comma")
        if not cells[2]:
            raise DataError(f"{table} line {line}: has no reason; write why {cells[1] or cells[0]} is excluded")
        found.append(manifest.Exclusion(line, *cells))
    return found


def _say_unread(table: Path) -> None:
    """A copy under another name, as an editor or a spreadsheet saves it, counts for nothing."""
    for other in sorted(table.parent.glob("*")):
        if other.name.lower().startswith(f"{table.stem}.") and other.name != table.name:
            console.warn(f"{other}: not read; what is to count stands in {table}")


def _of_wrong_patients(known: set[str], config: Config) -> list[manifest.Exclusion]:
    """The images that reviewers say belong to another patient."""
    _say_unread(paths.REVIEW)
    decisions = review.read(paths.REVIEW, known, config.ingest.pseudonyms)
    wrong = review.of_wrong_patients(decisions, config.control)
    return [manifest.Exclusion(0, image_paths.place(path)[1], path, f"wrong patient, by {paths.REVIEW}") for path in wrong]


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _quarantine(frame: pd.DataFrame) -> bytes:
    bad = frame.loc[frame["error"] != "", ["path", "class", "patient", "error"]].rename(columns={"error": "reason"})
    for column in ("path", "class", "patient"):  # a line's end in a name would end the line
        bad[column] = bad[column].map(reading.shown)
    return bad.to_csv(index=False, lineterminator="\n").encode()


def _report(findings: Sequence[expectations.Finding], counts: pd.DataFrame) -> bytes:
    report = {
        "success": all(finding.state != "FAIL" for finding in findings),
        "classes": counts.set_index("class").to_dict("index"),
        "rules": [
            {
                "name": finding.rule.name,
                "expectation": finding.rule.expectation,
                "success": finding.success,
                "state": finding.state,
                "stops": finding.rule.stops,
                "observed": finding.observed,
                "offenders": finding.offenders,
                "offenders_total": finding.offenders_total,
                "advice": "" if finding.success else finding.rule.advice,
            }
            for finding in findings
        ],
    }
    return (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()


def _show(findings: Sequence[expectations.Finding], counts: pd.DataFrame, frame: pd.DataFrame) -> None:
    console.table("files by class", list(counts.columns), counts.itertuples(index=False))
    reasons = Counter(manifest.kind(error) for error in frame["error"] if error)
    if reasons:
        console.table("quarantined", ["files", "reason"], [[n, reason] for reason, n in reasons.most_common(10)])
    console.table(
        "rules of the cohort",
        ["", "rule", "found"],
        [[finding.state, finding.rule.name, finding.observed] for finding in findings],
    )
    for finding in findings:
        if not finding.success:
            console.say(f"{finding.state} {finding.rule.name}: {finding.rule.expectation}")
            for offender in finding.offenders[:_NAMED]:
                console.say(f"     {offender}")
            if (more := finding.offenders_total - _NAMED) > 0:
                console.say(f"     and {more:,} more")
            console.say(f"     what to do: {finding.rule.advice}")
    console.say(f"validate: {len(frame):,} files, {len(manifest.usable(frame)):,} usable images; report: {DATA_DOCS}")


def _require_all_hold(findings: Sequence[expectations.Finding], frame: pd.DataFrame) -> None:
    broken = [finding for finding in findings if finding.state == "FAIL"]
    if broken:
        first = broken[0]
        named = f" ({first.offenders[0]})" if first.offenders else ""
        why = _commonest(frame) if _OF_QUARANTINE & {finding.rule.name for finding in broken} else ""
        raise DataError(
            f"{len(broken)} of {len(findings)} rules are broken, first {first.rule.name}{named}: {first.rule.advice}; "
            f"{why}all of them: {DATA_DOCS}"
        )


def _commonest(frame: pd.DataFrame) -> str:
    """Of what kind most unusable files are: the cause of what else is missing then."""
    counted = manifest.without_litter(manifest.not_excluded(frame))
    unusable = counted[counted["error"] != ""]
    if unusable.empty:
        return ""
    kinds = unusable["error"].map(manifest.kind)
    alike = unusable[kinds == kinds.value_counts().index[0]]
    first = alike.iloc[0]
    return f"of {len(unusable):,} unusable files {len(alike):,} are of one kind, first {first['path']}: {first['error']}; "
