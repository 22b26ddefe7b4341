"""What Prefect's pages are given of a result: where it stands in the report, and that a demo's says nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import result_artifacts
from flows.dag import Stage

STAGE = Stage("evaluate@NPM1-published", "evaluate", "NPM1", "published", None, (), (), ())


@pytest.mark.parametrize("source", ["demo", "folder"])
def test_a_page_links_the_subtypes_section_and_says_what_is_synthetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(result_artifacts, "ROOT", tmp_path)
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_UI_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("REPORTS_URL", "http://127.0.0.1:8000")
    (folder := tmp_path / "reports/NPM1/published").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"patients": 9, "image_accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}))
    (folder / "by_class.csv").write_text("source,class,accuracy\npublished,control,0.88\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/source.json").write_text(json.dumps({"source": source}))
    page = result_artifacts._make_page(STAGE)
    assert "[NPM1 in the report](http://127.0.0.1:8000/index.html#NPM1)" in page
    assert "0.500 (0.400–0.600)" in page
    assert ("synthetic" in page) is (source == "demo")
    assert "| published accuracy | 0.88 |" in page
    (folder / "by_class.csv").write_text("source,class,accuracy\nmeasured,control,0.5\n")
    assert "published accuracy" not in result_artifacts._make_page(STAGE), "of other diseases nothing is published"
