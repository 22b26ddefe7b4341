"""Two folders of one patient, whose names differ as keyboards, file systems and office programs make them differ; and whether
what is asked of names takes them for one, or says that they look the same.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.bad_input import odd_values
from bench.bad_input.guarded import Kind
from pipeline.names import patient_names

_NAMES = ("ALW", "P12", "P-12", "M\u00fcller", "O'Brien", "\u5f20\u4f1f", "Yildiz 3", "007", "\u0421\u0435\u043c\u0451\u043d")
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"
_UNSEEN = ("\u200b", "\u200e", "\ufeff", "\u00ad", "\u2060")


def _wide(name: str, rng: random.Random) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" and rng.random() < 0.7 else letter for letter in name)


_WAYS: dict[str, Callable[[str, random.Random], str]] = {
    "case": lambda name, rng: rng.choice((name.upper(), name.lower(), name.swapcase())),
    "form": lambda name, rng: unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKC", "NFKD")), name),
    "blanks": lambda name, rng: rng.choice((f" {name}", f"{name} ", f"{name}\u00a0", f"{name}\u3000")),
    "unseen": lambda name, rng: name[:1] + rng.choice(_UNSEEN) + name[1:],
    "wide": _wide,
    "dash": lambda name, rng: name.replace("-", rng.choice(_DASHES)),
    "apostrophe": lambda name, rng: name.replace("'", rng.choice("\u2018\u2019\u2032\u02bc")),
    "dots": lambda name, rng: name + rng.choice((".", "..", " .", "\u2026")),
}


def _make(rng: random.Random, folder: Path) -> str:
    name = rng.choice(_NAMES) if rng.random() < 0.8 else odd_values.odd_text(rng)[:60]
    ways = rng.sample(sorted(_WAYS), rng.choice((1, 1, 2, 3)))
    other = name
    for way in ways:
        other = _WAYS[way](other, rng)
    (folder / "names.txt").write_bytes("\0".join((name.replace("\0", ""), other.replace("\0", ""))).encode(errors="replace"))
    return ", ".join(ways)


def _read(folder: Path) -> bool:
    one, other = (folder / "names.txt").read_bytes().decode().split("\0")
    return patient_names.identity(one) == patient_names.identity(other) or bool(
        patient_names.alike([one, other], patient_names.drawn)
    )


def _wrong(folder: Path, is_told: bool) -> str:
    one, other = (folder / "names.txt").read_bytes().decode().split("\0")
    nobody = not _seen(one)  # which `validate` refuses
    return "" if is_told or nobody or _seen(one) != _seen(other) else f"{one!a} and {other!a} are two patients without a word"


def _seen(name: str) -> str:
    """By letters' kinds alone: dashes are one, marks and what is neither seen nor written are none."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    dashed = "".join("-" if unicodedata.category(letter) == "Pd" else letter for letter in folded)
    return "".join(letter for letter in dashed if unicodedata.category(letter)[0] not in "CZ").rstrip(".")


def kinds() -> Iterable[Kind]:
    """The one of this module."""
    yield Kind("patient folders", _make, _read, _wrong, ("names.txt",))
