"""params.yaml, damaged; and what PyYAML, with the words of YAML 1.2, makes of one that is accepted."""

from __future__ import annotations

import io
import json
import math
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import yaml
from ruamel.yaml import YAML

from bench.bad_input import ROOT, damage
from bench.bad_input.guarded import PLANTED, Kind
from pipeline.common import config

_SNIPPETS = (
    *(
        "&a [*a]",
        "*nothing",
        f"!!python/object/apply:os.system ['touch {PLANTED}']",
        "!!python/name:os.system",
        "!!binary aGk=",
    ),
    *("2026-01-01", "0o17", "0b1", "1_000", "+1", "1e3", ".5", ".inf", ".nan", "<<", "|", ">", "{a: 1, a: 2}", "!!set {a}"),
    *("!!str 1", "[" * 5000, "{a: " * 5000, "- " * 5000, "&a [" + "1," * 9 + "1]", "!!float 3", "!!int '3'", "? x", "%", "@"),
    *("`", "yes", "on"),
    "[&a [1,1,1,1,1,1,1,1,1], &b [*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b], &d [*c,*c,*c,*c,*c,*c,*c,*c], "
    "&e [*d,*d,*d,*d,*d,*d,*d,*d,*d], &f [*e,*e,*e,*e,*e,*e,*e,*e,*e], &g [*f,*f,*f,*f,*f,*f,*f,*f], [*g,*g,*g,*g,*g,*g,*g]]",
)


class _Yaml12(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """PyYAML with the words and numbers of YAML 1.2, as DVC reads params.yaml."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
):
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def make(rng: random.Random, folder: Path) -> str:
    """params.yaml."""
    source = ROOT / rng.choice(("params.yaml", "params.yaml", "params.kaggle.yaml"))
    text = source.read_text(encoding="utf-8")
    kind, target = rng.random(), folder / "params.yaml"
    if kind < 0.55:
        way, values = damage.values_of(rng, YAML(typ="safe", pure=True).load(text))
        if rng.random() < 0.3:
            way, values = damage.values_of(rng, values)
        try:
            written = io.StringIO()
            YAML(typ="safe", pure=True).dump(values, written)
            target.write_text(written.getvalue(), encoding="utf-8", errors="surrogatepass")
        except Exception:  # some cannot be written as YAML, or have keys that JSON has not
            target.write_text(json.dumps(values, default=str, skipkeys=True), encoding="utf-8")
        return way
    if kind < 0.75:
        ends = [found.start() for found in re.finditer(r"(?<=: )[^\s{\[]|(?<=\[)|(?<={)", text)]
        at = rng.choice(ends)
        stop = at + len(re.split(r"[\s,}\]]", text[at:], maxsplit=1)[0])
        target.write_bytes((text[:at] + rng.choice(_SNIPPETS) + text[stop:]).encode())
        return "snippet"
    way, data = damage.text_of(rng, text)
    target.write_bytes(data)
    return way


def _wrong(folder: Path, found: config.Config) -> str:
    try:
        values = yaml.load((folder / "params.yaml").read_bytes(), _Yaml12)
    except yaml.YAMLError as error:
        return f"the other reader refuses it: {' '.join(str(error).split())[:200]}"
    seen = found.model_dump(by_alias=True, exclude_unset=True)
    return _difference(seen, values)


def _difference(one: Any, other: Any, key: str = "") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        if set(one) != set(other):
            return f"{key}: keys {sorted(set(one) ^ set(other), key=str)[:3]}"
        return next((said for name in one if (said := _difference(one[name], other[name], f"{key}.{name}"))), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return next(
            (said for n, pair in enumerate(zip(one, other, strict=True)) if (said := _difference(*pair, f"{key}[{n}]"))), ""
        )
    if isinstance(one, float) and not math.isfinite(one):
        return f"{key}: {one} was taken"
    exact = float(other) if isinstance(one, float) and isinstance(other, int) else other  # as a number of that type
    same = one == exact and isinstance(one, bool) == isinstance(other, bool)
    return "" if same else f"{key}: {one!r:.60} is {other!r:.60}"


def kinds() -> Iterable[Kind]:
    """The one of this module."""
    yield Kind("params.yaml", make, lambda folder: config.load(Path("params.yaml")), _wrong, ("params.yaml",))
