"""Great Expectations, and nothing else of the pipeline imports it.

Rules in, findings and a page (its Data Docs) out. The page is made of Great Expectations' own rendering of each result,
without what differs from run to run (times, random ids) and without its links to scripts, styles and fonts of other
hosts: the same cohort gives the same page, and a browser needs nothing but the file.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import pandas as pd

from pipeline.validation.rules import Rule

_MOST_OFFENDERS = 20  # listed by name; the rest is counted
_NOTHING = "nothing to judge"
_STATES = ("FAIL", "warn", _NOTHING, "pass")  # the order of the page
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 0; } p { margin: .3rem 0; }
section { border: 1px solid #ddd; border-left: 6px solid #2b7a3d; padding: .7rem 1rem; margin: 1rem 0; }
section.fail { border-left-color: #b3261e; }
section.warn { border-left-color: #b26a00; }
section.nothing { border-left-color: #888; }
.state { float: right; font-weight: 700; color: #2b7a3d; }
.fail .state { color: #b3261e; } .warn .state { color: #b26a00; } .nothing .state { color: #555; }
.advice { font-weight: 600; } .note, .observed { color: #555; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; font-size: .9rem; }
th, td { border: 1px solid #ddd; padding: .25rem .5rem; text-align: left; overflow-wrap: anywhere; }
th { white-space: nowrap; }
.badge { background: #eee; border-radius: 3px; padding: 0 .3rem; } .text-danger { color: #b3261e; }
i.fa-check-circle::before { content: "\\2713"; color: #2b7a3d; } i.fa-times::before { content: "\\2717"; }
i { font-style: normal; font-weight: 700; }
"""


@dataclass(frozen=True)
class Finding:
    """What became of one rule."""

    rule: Rule
    success: bool  # nothing breaks it
    judged: int  # how many rows have what it looks at
    observed: str
    offenders: list[str]  # the first of them
    offenders_total: int

    @property
    def state(self) -> str:
        """pass, FAIL (stops the run), warn, or nothing to judge: a rule that looked at nothing has not passed."""
        if not self.success:
            return "FAIL" if self.rule.stops else "warn"
        return "pass" if self.judged else _NOTHING


def check(rules: Sequence[Rule], tables: Mapping[str, pd.DataFrame]) -> tuple[list[Finding], str]:
    """Hold `tables` against `rules`; the findings in the rules' order, and the page.

    Raises:
        RuntimeError: an expectation could not be evaluated, which is a bug and neither a pass nor a failure.
    """
    context = _quiet_context()
    results = {
        name: _validate(context, name, table, [rule for rule in rules if rule.table == name]) for name, table in tables.items()
    }
    findings: list[Finding] = []
    sections: dict[str, list[str]] = {state: [] for state in _STATES}
    for rule in rules:
        result = results[rule.table][rule.name]
        finding = _finding(rule, tables[rule.table], result)
        findings.append(finding)
        sections[finding.state].append(_section(finding, "" if tables[rule.table].empty else _rendered(result)))
    return findings, _page(findings, list(chain.from_iterable(sections.values())))


def _quiet_context() -> Any:
    """A context in memory: no telemetry, no progress bars, no folder left behind."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when great_expectations is imported, which also takes seconds
    import great_expectations
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    return great_expectations.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            data_docs_sites={},
            analytics_enabled=False,
            progress_bars={"globally": False},
        ),
    )


def _validate(context: Any, name: str, table: pd.DataFrame, rules: Sequence[Rule]) -> dict[str, Any]:
    """Rule name -> Great Expectations' result."""
    import great_expectations

    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name).get_batch({"dataframe": table})
    suite = great_expectations.ExpectationSuite(name=name)
    for rule in rules:
        severity = "critical" if rule.stops else "warning"
        expectation = getattr(great_expectations.expectations, rule.check)
        suite.add_expectation(expectation(column=rule.column, meta={"rule": rule.name}, severity=severity, **rule.limits))
    outcome = batch.validate(
        suite,
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": _MOST_OFFENDERS,
            "unexpected_index_column_names": [table.columns[0]],
        },
    )
    for result in outcome.results:
        _require_evaluated(result)
    return {result.expectation_config.meta["rule"]: result for result in outcome.results}


def _require_evaluated(result: Any) -> None:
    raised = result.exception_info or {}
    infos = [raised] if "raised_exception" in raised else list(raised.values())
    messages = sorted({str(info["exception_message"]) for info in infos if info["raised_exception"]})
    if messages:
        raise RuntimeError(f"rule {result.expectation_config.meta['rule']} could not be checked: {'; '.join(messages)}")


def _finding(rule: Rule, table: pd.DataFrame, result: Any) -> Finding:
    name = str(table.columns[0])
    total = int(result.result.get("unexpected_count", 0))
    offenders = [
        f"{row[name]}: {_plain(row[rule.column])}" if rule.column != name else str(row[name])
        for row in result.result.get("partial_unexpected_index_list") or []
    ]
    judged = int(table[rule.column].notna().sum()) if pd.api.types.is_numeric_dtype(table[rule.column]) else len(table)
    return Finding(rule, bool(result.success), judged, _observed(rule, table, judged, total), offenders, total)


def _observed(rule: Rule, table: pd.DataFrame, judged: int, broken: int) -> str:
    column = table[rule.column]
    if table.empty:
        return f"no {rule.table}"
    if not pd.api.types.is_numeric_dtype(column):
        return f"{broken:,} of {len(table):,} {rule.table} break it"
    if not judged:
        return f"not known of any of {len(table):,} {rule.table}"
    low, high = _plain(column.min()), _plain(column.max())
    if len(column) == 1:
        return f"{low} ({table.iloc[0].iloc[0]!s})"
    of = f"{judged:,} {rule.table}" + (f", of {len(table) - judged:,} not known" if judged < len(table) else "")
    return f"{low} to {high} in {of}" if low != high else f"{low} in all {of}"


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rendered(result: Any) -> str:
    """Great Expectations' own table of a result."""
    from great_expectations.render.renderer.content_block import ValidationResultsTableContentBlockRenderer

    block = ValidationResultsTableContentBlockRenderer.render([result], include_column_name=True)
    return str(_view().render({"content_block": _escaped(block.to_json_dict())}))


@cache
def _view() -> Any:
    """Great Expectations' templates, which each new view compiles anew."""
    from great_expectations.render.view import DefaultJinjaComponentView

    return DefaultJinjaComponentView()


def _escaped(node: Any, in_cell: bool = False) -> Any:
    """The block with the text of its table cells escaped, which the templates leave out: cells hold file names."""
    if isinstance(node, str):
        return html.escape(node) if in_cell else node
    if isinstance(node, list):
        return [_escaped(part, in_cell) for part in node]
    if isinstance(node, dict):
        return {key: _escaped(part, key == "table") for key, part in node.items()}
    return node


def _section(finding: Finding, evidence: str) -> str:
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
            f"<ul>{offenders}</ul>" if offenders else "",
            f"<p>and {more:,} more</p>" if more > 0 else "",
            evidence,
            "</section>",
        ]
    )


def _page(findings: Sequence[Finding], sections: Sequence[str]) -> str:
    states = [finding.state for finding in findings]
    verdict = ", ".join(f"{states.count(state)} {state}" for state in _STATES if state in states)
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Data Docs of the cohort</title>',
        # file names come from outside: whatever they hold, the page runs no script and asks no host
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>Data Docs: {verdict}</h1>",
        '<p class="note">Checked and rendered by Great Expectations on the files of data/raw.</p>',
        *sections,
        "</body></html>",
    ]
    return "\n".join(line.rstrip() for part in lines for line in part.splitlines() if line.strip()) + "\n"
