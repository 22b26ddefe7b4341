"""What may stand where something else belongs: texts of people, programs and Hypothesis, and values of a settings file.

The same random generator draws the same.
"""

from __future__ import annotations

import math
import random
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

# What people and programs write into a cell, and what they do not.
ODD_TEXTS = (
    *(
        "",
        " ",
        "-",
        "NA",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "None",
        "null",
        "true",
        "yes",
        "~",
        "#N/A",
        "=1+1",
        "'",
        '"',
        '""',
        "\\",
    ),
    *("0", "-0", "-1", "1", "5", "007", "1.0", "0.5", "1,5", "1.234", "1,234.5", "1e3", "1e308", "1e999", "1_000", "0x10"),
    *("0o17", "99999999999999999999", "1" + "0" * 5000, "\uff11\uff12", "\u0661", "\u00bd", "\u221e", "2026-02-30"),
    *("2026-01-31", "%s", "\0", "a\0b", "\ufeff", "\u202eabc", "\u200b", "\u2028", "\x85", "\x1b[31m", "\t", "a\nb", "a\r\nb"),
    *("a\rb", "a,b", "a;b", "{0}", "../../x", "/etc/passwd", "C:\\x", "x" * 300, "x" * 200_000, "\U0001f4a5", "e\u0301"),
    *("\u00e9", "\u0130", "\ud800", "train", "test"),
)
_PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 10**6, 2**31, 2**32, 2**63, 10**30, 0.5, -0.5, 1e-320, 1e308, math.inf, -math.inf),
    *(math.nan, [], {}, [[]], [0], [1, 2], ["x"], {"x": 1}, "NPM1", "control", "published", "bags", "default", ".", "data/raw"),
)


@cache
def drawn(number: int) -> tuple[list[Any], list[str]]:
    """Values as a settings file can hold, and texts, by Hypothesis: the same for the same number."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    trees = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    )
    return _examples(trees, number), _examples(st.text(min_size=1, max_size=40), number)


def _examples(strategy: st.SearchStrategy[Any], number: int) -> list[Any]:
    found: list[Any] = []

    @seed(number)
    @settings(max_examples=300, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def keep(value: Any) -> None:
        found.append(value)

    keep()
    return found


def odd_text(rng: random.Random) -> str:
    """One of those above, or one by Hypothesis."""
    return rng.choice(ODD_TEXTS) if rng.random() < 0.7 else rng.choice(drawn(1)[1])


def odd_value(rng: random.Random) -> Any:
    """What may stand at a key of a settings file."""
    kind = rng.random()
    return rng.choice(_PLAIN) if kind < 0.5 else odd_text(rng) if kind < 0.75 else rng.choice(drawn(1)[0])
