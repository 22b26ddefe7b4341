"""Addresses of servers, as they may be shown and handed to other machines."""

from __future__ import annotations

import re

_ACCOUNT = re.compile(r"(?<=://)[^/@:]*(:.*)?@")  # a password may hold any letter, as those who read it take it


def without_account(address: str) -> str:
    """The address without what may be secret in it: a user's name and password, and options."""
    return re.split("[?#]", _ACCOUNT.sub("", address, count=1), maxsplit=1)[0]
