"""A network is trained by one process at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline.stages import train


def test_who_comes_second_waits_and_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training whose `dvc` was killed goes on while the next `dvc repro` begins the same."""
    order = []

    def second() -> None:
        with train._alone("NPM1-published-fold-0"):
            order.append("second")

    with train._alone("NPM1-published-fold-0"):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        with train._alone("NPM1-published-fold-1"):
            order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert capsys.readouterr().out.count("another process trains NPM1-published-fold-0") == 1
