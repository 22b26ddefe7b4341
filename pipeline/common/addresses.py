"""Addresses of servers and databases, shown without a password, and which of them no proxy is asked for."""

from __future__ import annotations

import os
import re

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")  # httpx knows no networks, requests does


def reach_loopback_directly() -> None:
    """Have this process and its children ask no proxy for what is on this machine: complete NO_PROXY where one is set.

    Only there: a NO_PROXY of our own would make Python overlook the proxy that macOS has in its settings.
    """
    named = {name.lower() for name, value in os.environ.items() if value}
    if named.isdisjoint(_PROXIES):
        return
    lower, upper = os.environ.get("no_proxy", ""), os.environ.get("NO_PROXY", "")
    for name, value in (("no_proxy", lower or upper), ("NO_PROXY", upper or lower)):
        known = [entry.strip() for entry in value.split(",") if entry.strip()]
        os.environ[name] = value if known == ["*"] else ",".join(dict.fromkeys([*known, *_LOOPBACK]))


def shown(address: str) -> str:
    """Without what stands before an @ in an address, and without a password among its options."""
    return re.sub(r"(password=)[^&\s]+", r"\1***", re.sub(r"//\S*@", "//***@", address))


def first_line(error: Exception) -> str:
    """What an error says, on one line: a library's own words often go on for many."""
    return shown((str(error).strip() or type(error).__name__).splitlines()[0])
