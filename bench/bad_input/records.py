"""What the project writes down of decisions and looks, damaged; and what the json module and PyArrow find in it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

from bench.bad_input import damage
from bench.bad_input.guarded import Kind
from pipeline.registry import decisions


def _make_decisions(rng: random.Random, folder: Path) -> str:
    line = {
        "time": "2026-01-01T00:00:00Z",
        "subtype": "NPM1",
        "cohort": "demo",
        "candidate": "bags",
        "decision": "champion",
        "reason": "first",
        "tried_before": 0,
        "digest": "ab",
        "weights_sha256": {"fold-0": "cd"},
        "patients_sha256": "ef",
        "results_md5": "",
        "commit": "",
        "dirty": False,
        "replaced": None,
    }
    lines = [{**line, "digest": f"{n}", "time": f"2026-01-0{n}T00:00:00Z"} for n in range(1, 5)]
    way = "text"
    if rng.random() < 0.6:
        way, lines = damage.values_of(rng, lines)
    text = "".join(json.dumps(one, default=str, skipkeys=True) + "\n" for one in lines)
    data = text.encode("utf-8", "surrogatepass")
    if way == "text":
        way, data = damage.text_of(rng, text)
    (folder / "decisions.jsonl").write_bytes(data)
    return way


def _wrong_decisions(folder: Path, found: list[decisions.Decision]) -> str:
    seen = sorted(one.digest for one in found)
    lines = (folder / "decisions.jsonl").read_bytes().split(b"\n")
    other = sorted({json.dumps(json.loads(line), sort_keys=True) for line in lines if line.strip()})
    expected = sorted(json.loads(line)["digest"] for line in other)
    return "" if seen == expected else f"{seen} is {expected}"


def kinds() -> Iterable[Kind]:
    """All of this module."""
    yield Kind(
        "decisions.jsonl",
        _make_decisions,
        lambda folder: decisions.parse(Path("decisions.jsonl").read_bytes(), "decisions.jsonl"),
        _wrong_decisions,
        ("decisions.jsonl",),
    )
