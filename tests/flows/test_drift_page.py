"""What Prefect's page says of a look at new patients."""

from __future__ import annotations

from typing import Any

import pytest

from flows import drift

VIEW = {"times": 1.824, "p_value": 0.001, "p_of_all": 0.0035}
LOOK: dict[str, Any] = {
    "of": "predicted",
    "model": "call v1",
    "words": "24 new patients against 84 of training: drift",
    "alarm": True,
    "counts": True,
    "within": "call",
    "views": {"colours": VIEW},
    "mix": {"NPM1": (0.25, 0.5)},
}


def test_an_alarm_says_so_by_which_view_and_of_whom() -> None:
    page = drift.make_page(LOOK)
    assert page.startswith("# The newest patients look unlike those of training\n\n24 new patients against 84")
    assert "Held to the cohort of call v1." in page
    assert "| colours | 1.82 | 0.0010 | 0.0035 |" in page
    assert "| call | training | newest |\n|---|---|---|\n| NPM1 | 25% | 50% |" in page
    assert "does not count" not in page


@pytest.mark.parametrize("views", [{}, {"colours": VIEW}])
def test_a_look_that_does_not_count_is_no_alarm(views: dict[str, Any]) -> None:
    page = drift.make_page({**LOOK, "alarm": False, "counts": False, "within": "", "views": views, "mix": {}})
    assert page.startswith("# New patients and those of training\n")
    assert "It does not count" in page
    assert ("| seen by |" in page) is bool(views)
    assert "Mix of classes" not in page
