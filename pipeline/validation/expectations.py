"""Great Expectations, and nothing else of the pipeline imports it.

Rules in, findings out, each with Great Expectations' own rendering of it as HTML, without what differs from run to run
(times, random ids).
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from pipeline.validation.rules import Rule

_MOST_OFFENDERS = 20  # listed by name; the rest is counted
NOTHING = "nothing to judge"
STATES = ("FAIL", "warn", NOTHING, "pass")


@dataclass(frozen=True)
class Finding:
    """What became of one rule."""

    rule: Rule
    success: bool  # nothing breaks it
    judged: int  # how many rows have what it looks at
    observed: str
    broken_by: list[tuple[str, Any]]  # the first offenders: name, and what is wrong with each
    offenders_total: int
    evidence: str  # HTML

    @property
    def offenders(self) -> list[str]:
        """The first of them, in words."""
        return [name if name == what else f"{name}: {_plain(what)}" for name, what in self.broken_by]

    @property
    def state(self) -> str:
        """pass, FAIL (stops the run), warn, or nothing to judge: a rule that looked at nothing has not passed."""
        if not self.success:
            return "FAIL" if self.rule.stops else "warn"
        return "pass" if self.judged else NOTHING


def check(rules: Sequence[Rule], tables: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Hold `tables` against `rules`; the findings in the rules' order.

    Raises:
        RuntimeError: an expectation could not be evaluated, which is a bug and neither a pass nor a failure.
    """
    context = _quiet_context()
    results = {
        name: _validate(context, name, table, [rule for rule in rules if rule.table == name]) for name, table in tables.items()
    }
    return [_finding(rule, tables[rule.table], results[rule.table][rule.name]) for rule in rules]


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
    broken_by = [
        (str(row[name]), row[rule.column] if rule.column != name else str(row[name]))
        for row in result.result.get("partial_unexpected_index_list") or []
    ]
    judged = int(table[rule.column].notna().sum()) if pd.api.types.is_numeric_dtype(table[rule.column]) else len(table)
    evidence = "" if table.empty else _rendered(result)
    return Finding(rule, bool(result.success), judged, _observed(rule, table, judged, total), broken_by, total, evidence)


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
