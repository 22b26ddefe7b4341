"""CSV tables by the csv module alone, as a spreadsheet saves them and as another reader than pandas finds them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path


def csv_text(rows: Sequence[Sequence[str]], separator: str = ",") -> str:
    """As a spreadsheet saves it."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue()


def cells(text: str, separator: str = ",") -> list[list[str]]:
    """By the csv module, which refuses cells that pandas takes, unless told; only this reader is told."""
    usual = csv.field_size_limit(1 << 30)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    finally:
        csv.field_size_limit(usual)


def rows(file: Path) -> list[list[str]]:
    """By the csv module alone, of a text in UTF-8: cells with one kind of line end, no blanks around them; no empty lines."""
    text = file.read_bytes().decode("utf-8-sig")
    separator = ";" if ";" in text.split("\n")[0] else ","
    return [stripped for row in cells(text, separator) if any(stripped := [_plain(cell) for cell in row])]


def _plain(cell: str) -> str:
    return cell.replace("\r\n", "\n").replace("\r", "\n").strip()
