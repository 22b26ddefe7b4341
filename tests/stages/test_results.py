"""`results` shows what metrics.json holds, and names what is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import write_params

from pipeline.__main__ import main


def test_a_line_a_candidate_with_intervals(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(here / "params.yaml", {"subtypes": ["NPM1", "RUNX1_RUNX1T1", "CBFB_MYH11"]})
    assert main(["results"]) == 2
    assert "run `dvc repro`" in capsys.readouterr().err
    figure = {"value": 0.8333, "low": 0.1, "high": 1.0}
    for subtype, contents in {"NPM1": {"patient_auroc": figure}, "RUNX1_RUNX1T1": {"leaked_patient_auroc": figure}}.items():
        (folder := here / "reports" / subtype / "published").mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({**contents, "patients": 9}))
    assert main(["results"]) == 0
    said = capsys.readouterr().out
    assert ".83" in said
    assert "(.10–1.00)" in said
    assert "RUNX1_RUNX1T1" in said
    assert "leaked" in said, "of patients whom a search saw"
    assert max(map(len, said.splitlines())) <= 80, "no name and no number is folded on a usual terminal"
    assert "not evaluated yet: CBFB_MYH11 published" in said
    for damaged in ("{", "[]"):
        (here / "reports/NPM1/published/metrics.json").write_text(damaged)
        assert main(["results"]) == 2
        assert "NPM1/published/metrics.json: damaged" in capsys.readouterr().err
