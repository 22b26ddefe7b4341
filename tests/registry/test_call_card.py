"""The card of a call says what it was made of and how good it is, and nothing that is not known."""

from __future__ import annotations

from typing import Any

from pipeline.registry import call_card

SETTINGS = {
    "classes": ["control", "NPM1"],
    "coverage": 0.9,
    "cohort": {"source": "folder", "cohort": "ours", "files": 1200, "sha256": "ab" * 32},
}
FOUND: dict[str, Any] = {"patients": 40, "balanced_accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}
SETS = {"coverage": {"value": 0.92, "low": 0.8, "high": 0.98}, "mean_set_size": 1.25}


def test_images_left_out_are_said_and_sets_where_there_are_any() -> None:
    plain = call_card.markdown(SETTINGS, {}, FOUND, 0.95, "cd" * 32)
    assert "| balanced accuracy | 0.70 (0.60 to 0.80) |" in plain
    assert "No sets are given" in plain
    assert "left out" not in plain
    curated = call_card.markdown(SETTINGS, {"left_out": 1234, "down_weighted": 0}, FOUND | SETS, 0.95, "cd" * 32)
    assert "After review 1,234 images were left out of what it learned from." in curated
    assert "hold 1.25 of 2 classes on average" in curated
