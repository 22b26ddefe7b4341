"""Addresses of servers and databases, and errors about them, as they may be shown: never with a password."""

from __future__ import annotations

import re


def shown(address: str) -> str:
    """Without what stands before an @ in an address, and without a password among its options."""
    return re.sub(r"(password=)[^&\s]+", r"\1***", re.sub(r"//\S*@", "//***@", address))


def first_line(error: Exception) -> str:
    """What an error says, on one line: a library's own words often go on for many."""
    return shown((str(error).strip() or type(error).__name__).splitlines()[0])
