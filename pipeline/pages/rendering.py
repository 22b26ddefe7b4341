"""Pages that stand alone: one file each, pictures and style inside, nothing asked of any host.

Templates lie beside this file. What is shown is escaped; how numbers are written is the same on every page.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from pipeline.evaluation.figures import Interval


def template(name: str) -> jinja2.Template:
    """A template of this folder, with the filters below."""
    return _environment().get_template(name)


@cache  # with the templates it has compiled
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "score": score, "of": k_of_n, "bounds": bounds}
    return environment


def data_uri(picture: bytes, kind: str = "png") -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def number(value: float, decimals: int = 0) -> str:
    """A number with a comma every three digits, n/a where there is none."""
    return f"{value:,.{decimals}f}" if math.isfinite(value) else "n/a"


def bounds(figure: Interval, decimals: int = 2) -> str:
    """The bounds of a figure in words, empty where they are not known."""
    return figure.bounds(f".{decimals}f") if figure.known else ""


def score(value: float) -> str:
    """A score with three decimals, which never claim certainty."""
    return "<0.001" if value < 0.0005 else ">0.999" if value >= 0.9995 else f"{value:.3f}"


def settings(values: Mapping[str, Any]) -> dict[str, str]:
    """The values as text, as they stand in params.yaml."""
    return {name: json.dumps(value).strip('"') for name, value in values.items()}


def k_of_n(right: int, total: int) -> str:
    """A share as counts and in per cent."""
    return f"{right} of {total} ({right / total:.0%})" if total else "none"
