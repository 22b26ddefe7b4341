"""Ways to damage what a user may bring: bytes, lines of text, cells of a table, values of a mapping, arrays.

All draw from the random generator that they are given and from nothing else, so a seed damages the same things in the same way.
"""

from __future__ import annotations

import copy
import random
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.bad_input.csv_cells import csv_text
from bench.bad_input.odd_values import odd_text, odd_value

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp437", "utf-7")


def bytes_of(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Flipped bits, a part cut out, put in, zeroed, doubled or exchanged; the end cut off; nothing left."""
    changed = bytearray(data)
    size = max(1, len(data))
    way = rng.choice(
        ("flip", "flip", "flip", "cut off", "without a part", "with a part", "zeros", "doubled", "exchanged", "empty")
    )
    at, length = rng.randrange(size), rng.choice((1, 2, 4, 8, 64, 1024))
    match way:
        case "flip":
            for _ in range(rng.choice((1, 1, 1, 2, 8))):
                place = rng.choice(
                    (rng.randrange(size), rng.randrange(min(size, 64)), size - 1 - rng.randrange(min(size, 256)))
                )
                if changed:
                    changed[place] ^= 1 << rng.randrange(8)
        case "cut off":
            del changed[at:]
        case "without a part":
            del changed[at : at + length]
        case "with a part":
            changed[at:at] = rng.randbytes(length)
        case "zeros":
            changed[at : at + length] = bytes(len(changed[at : at + length]))
        case "doubled":
            changed[at:at] = changed[at : at + length]
        case "exchanged":
            other = rng.randrange(size)
            changed[at : at + length], changed[other : other + length] = (
                changed[other : other + length],
                changed[at : at + length],
            )
        case _:
            changed.clear()
    return way, bytes(changed)


def text_of(rng: random.Random, text: str) -> tuple[str, bytes]:
    """A text file as another program may have left it: its encoding, its lines and their ends, its quotes."""
    lines = text.splitlines(keepends=True) or [""]
    at = rng.randrange(len(lines))
    way = rng.choice(
        (
            "encoding",
            "line ends",
            "line twice",
            "line gone",
            "lines exchanged",
            "line joined",
            "quote",
            "odd text",
            "indented",
            "bytes",
        )
    )
    match way:
        case "encoding":
            encoding = rng.choice(ENCODINGS)
            return f"{way} {encoding}", text.encode(encoding, "replace")
        case "line ends":
            return way, text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", "\n\r", "\x0b", "\u2028", "\x85"))).encode()
        case "line twice":
            lines.insert(rng.randrange(len(lines)), lines[at])
        case "line gone":
            del lines[at]
        case "lines exchanged":
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case "line joined":
            lines[at] = lines[at].rstrip("\n") + rng.choice(("", ",", ";", " ", "\t"))
        case "indented":
            lines[at] = rng.choice((" ", "  ", "\t", "\u00a0", "- ", "? ", "# ")) + lines[at]
        case "bytes":
            return bytes_of(rng, text.encode())
        case _:
            whole = "".join(lines)
            place = rng.randrange(len(whole) + 1)
            put = rng.choice("\"'") if way == "quote" else odd_text(rng)
            lines = [whole[:place] + put + whole[place:]]
    return way, "".join(lines).encode("utf-8", "surrogatepass")


def table_of(rng: random.Random, rows: Sequence[Sequence[str]]) -> tuple[str, bytes]:
    """A CSV table with other cells, columns or rows than it had; or damaged as a text."""
    table = [list(row) for row in rows]
    row, column = rng.randrange(len(table)), rng.randrange(len(table[0]))
    separator = ","
    way = rng.choice(
        (
            "cell",
            "cell",
            "cell",
            "column twice",
            "column gone",
            "cell more",
            "cell less",
            "row twice",
            "spelled",
            "separator",
            "text",
        )
    )
    match way:
        case "cell":
            for _ in range(rng.choice((1, 1, 3))):
                table[rng.randrange(len(table))][rng.randrange(len(table[0]))] = odd_text(rng)
        case "column twice":
            for cells in table:
                cells.insert(rng.randrange(len(cells) + 1) if rng.random() < 0.1 else column, cells[column])
        case "column gone":
            for cells in table:
                del cells[column]
        case "cell more":
            table[row].insert(column, odd_text(rng))
        case "cell less":
            del table[row][column]
        case "row twice":
            table.append(table[row])
        case "spelled":
            change: Callable[[str], str] = rng.choice(
                (str.upper, str.title, lambda cell: f" {cell} ", lambda cell: f"\ufeff{cell}")
            )
            table[row] = list(map(change, table[row]))
        case "separator":
            separator = rng.choice(";\t|:")
        case _:
            return text_of(rng, csv_text(table, separator))
    return way, csv_text(table, separator).encode("utf-8", "surrogatepass")


def values_of(rng: random.Random, values: Any) -> tuple[str, Any]:
    """A tree of mappings and lists, of which one place holds something else, is gone, or has another name."""
    places = list(_places(values))
    above, key = rng.choice(places)
    way = rng.choice(("value", "value", "value", "value", "gone", "new key", "renamed", "exchanged"))
    match way:
        case "value":
            above[key] = _near(rng, above[key]) if rng.random() < 0.3 else odd_value(rng)
        case "gone":
            del above[key]
        case "new key" if isinstance(above, dict):
            above[rng.choice((odd_text(rng), "".join(rng.choices(string.ascii_lowercase, k=5))))] = odd_value(rng)
        case "renamed" if isinstance(above, dict):
            above[rng.choice((odd_text(rng), f"{key}s", str(key).upper(), 1, None, True))] = above.pop(key)
        case _:
            other, there = rng.choice(places)
            above[key] = copy.deepcopy(other[there])
    return way, values


def _near(rng: random.Random, value: Any) -> Any:
    """Of the same kind."""
    if isinstance(value, bool):
        return rng.choice((not value, int(value), str(value)))
    if isinstance(value, int | float):
        return rng.choice((value + 1, value - 1, -value, value * 1000, float(value), str(value), value / 3))
    return [value] if not isinstance(value, list) else [*value, *value]


def _places(values: Any) -> list[tuple[Any, Any]]:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    found = []
    for key, value in items:
        found.append((values, key))
        found += _places(value)
    return found


def arrays_of(rng: random.Random, file: Path) -> None:
    """A file of NumPy's arrays, of which one is other than it was, or gone."""
    with np.load(file) as stored:
        known = dict(stored)
    name = rng.choice(sorted(known))
    if (values := other_numbers(rng, known.pop(name))) is not None:
        known[name] = values
    np.savez(file, allow_pickle=False, **known)


def other_numbers(rng: random.Random, values: Any) -> Any:
    """An array of another form, or one with a number that is none; None is no array."""
    changed = np.array(values)
    none = 0 if changed.dtype.kind in "iu" else rng.choice((np.nan, np.inf, -np.inf))
    changed.flat[rng.randrange(max(1, changed.size))] = none
    doubles, whole, texts = (values.astype(kind) for kind in ("f8", "i4", "S4"))
    return rng.choice((doubles, whole, np.zeros((3, 3), "f4"), values.ravel()[1:], changed, texts, None))
