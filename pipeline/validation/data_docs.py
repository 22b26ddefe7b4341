"""The page of the findings, Great Expectations' Data Docs: what broke first, and the pictures that it tells to look at.

The same cohort gives the same page, and a browser needs nothing but the file: no script, style or font of another host.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from pipeline.images import decoding, manifest, reading
from pipeline.names import patient_names
from pipeline.validation.expectations import STATES, Finding

_SIDE_PX = 72  # of a thumbnail
_SHOWN = 3  # offenders with pictures
_OF_A_PATIENT = 6  # pictures
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #222; --soft: #555; --line: #ccc; --good: #24692f; --bad: #a3211a;
  --warn: #875000; }
@media screen and (prefers-color-scheme: dark) { :root { --page: #15181c; --text: #e7eaee; --soft: #a7b0bb; --line: #3a414a;
  --good: #7ed491; --bad: #ff9d94; --warn: #f0b866; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--text);
  background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 0; } p { margin: .3rem 0; }
section { border: 1px solid var(--line); border-left: 6px solid var(--good); padding: .7rem 1rem; margin: 1rem 0; }
section.fail { border-left-color: var(--bad); } section.warn { border-left-color: var(--warn); }
section.nothing { border-left-color: var(--soft); }
.state { float: right; margin-left: 1rem; font-weight: 700; color: var(--good); }
.fail .state { color: var(--bad); } .warn .state { color: var(--warn); } .nothing .state { color: var(--soft); }
.advice { font-weight: 600; } .note, .observed, figcaption { color: var(--soft); }
.scroll { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .9rem; }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: .5rem 0; } figure img { margin: 0 4px 4px 0; vertical-align: top; }
.badge { border: 1px solid var(--line); border-radius: 3px; padding: 0 .3rem; } .text-danger { color: var(--bad); }
i.fa-check-circle::before { content: "\\2713"; color: var(--good); } i.fa-times::before { content: "\\2717"; }
i { font-style: normal; font-weight: 700; }
"""


@dataclass(frozen=True)
class Pictures:
    """Some images side by side, and whose they are."""

    caption: str
    files: list[Path]


def pictures(finding: Finding, frame: pd.DataFrame, patients: pd.DataFrame, folder: Path) -> list[Pictures]:
    """What a person should look at to judge the first offenders of a rule; none where looking does not help.

    Args:
        finding: what became of the rule.
        frame: the whole manifest; its paths lie in `folder`.
        patients: the table of patients that the rule was held against.
        folder: where the images lie.
    """
    rule = finding.rule
    if not rule.look or finding.success:
        return []
    if rule.table == "images":
        return [
            Pictures(f"{one} and {other}", [folder / one, folder / str(other)]) for one, other in finding.broken_by[:_SHOWN]
        ]
    usable = manifest.usable(frame)
    of_patient = usable["path"].groupby(usable["patient"].map(patient_names.identity))
    worst = sorted(finding.broken_by, key=lambda offender: -float(offender[1]))[:_SHOWN]
    captions = {name: f"{name}: {value:.3g} standard deviations away" for name, value in worst}
    usual = str(patients["patient"].iloc[int(patients[rule.column].argmin())])
    shown = []
    for name, caption in {**captions, usual: f"for comparison {usual}, nearest to the cohort's median"}.items():
        paths = of_patient.get_group(patient_names.identity(name)).tolist()
        step = max(1, len(paths) // _OF_A_PATIENT)
        shown.append(Pictures(caption, [folder / path for path in paths[::step][:_OF_A_PATIENT]]))
    return shown


def page(cohort: str, counts: pd.DataFrame, findings: Sequence[Finding], shown: Mapping[str, Sequence[Pictures]]) -> str:
    """The page: the cohort and its files by class, then the rules, those first that are broken."""
    states = [finding.state for finding in findings]
    verdict = ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)
    gravest_first = sorted(findings, key=lambda finding: STATES.index(finding.state))
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Data Docs of the cohort</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # file names come from outside: whatever they hold, the page runs no script and asks no host
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<style>{_STYLE}</style></head><body><main>",
        f"<h1>Data Docs: {verdict}</h1>",
        f"<p>Cohort {html.escape(cohort)}: {counts['patients'].sum():,} patients with {counts['images'].sum():,} images.</p>",
        _counts(counts),
        '<p class="note">Checked and rendered by Great Expectations on the files of data/raw.</p>',
        *(_section(finding, shown.get(finding.rule.name, [])) for finding in gravest_first),
        "</main></body></html>",
    ]
    return "\n".join(line.rstrip() for part in lines for line in part.splitlines() if line.strip()) + "\n"


def _counts(counts: pd.DataFrame) -> str:
    heads = "".join(f'<th scope="col">{str(name).replace("_", " ")}</th>' for name in counts)
    rows = []
    for name, *numbers in counts.itertuples(index=False):
        cells = "".join(f'<td class="number">{number:,}</td>' for number in numbers)
        rows.append(f'<tr><th scope="row">{html.escape(str(name))}</th>{cells}</tr>')
    return _scrolling(f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>")


def _scrolling(wide: str) -> str:
    """Wider than a phone, so that it moves alone and not the page; also by the keys of who has no mouse."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="table">{wide}</div>'


def _section(finding: Finding, shown: Sequence[Pictures]) -> str:
    rule, state = finding.rule, finding.state
    found = f'<span class="observed">Found: {html.escape(finding.observed)}.</span>'
    offenders = "".join(f"<li>{html.escape(name)}</li>" for name in finding.offenders)
    more = finding.offenders_total - len(finding.offenders)
    return "\n".join(
        [
            f'<section class="{state.lower().split()[0]}" id="{rule.name}">',
            f'<span class="state">{state}</span><h2>{rule.name}</h2>',
            f"<p>{html.escape(rule.expectation)}. {found}</p>",
            "" if finding.success else f'<p class="advice">What to do: {html.escape(rule.advice)}.</p>',
            *(_figure(group) for group in shown if group.files),
            f"<ul>{offenders}</ul>" if offenders else "",
            f"<p>and {more:,} more</p>" if more > 0 else "",
            _scrolling(finding.evidence) if finding.evidence else "",
            "</section>",
        ]
    )


def _figure(group: Pictures) -> str:
    images = "".join(
        f'<img src="{_address(file)}" width="{_SIDE_PX}" height="{_SIDE_PX}" alt="image {number} of {len(group.files)}">'
        for number, file in enumerate(group.files, 1)
    )
    return f"<figure>{images}<figcaption>{html.escape(group.caption)}</figcaption></figure>"


def _address(file: Path) -> str:
    buffer = io.BytesIO()
    Image.fromarray(decoding.resize(reading.pixels(file), _SIDE_PX)).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
