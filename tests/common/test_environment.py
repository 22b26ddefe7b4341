from pathlib import Path

import pytest

from pipeline.common import environment
from pipeline.common.errors import ConfigError


def test_a_variable_that_can_name_no_place_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for nowhere in ("x" * 300, "a/" * 3000, "~nobody-of-this-name/x"):
        monkeypatch.setenv("COHORT_DIR", nowhere)
        with pytest.raises(ConfigError, match=r"^COHORT_DIR: names no place that can be looked at \([^x\n]+\); correct it$"):
            environment.place("COHORT_DIR")
    monkeypatch.setenv("COHORT_DIR", "~/not there")
    assert environment.place("COHORT_DIR") == Path.home() / "not there"
